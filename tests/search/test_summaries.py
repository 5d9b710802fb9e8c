"""Summaries and vectors: asked beside everything else, and their failures end nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from kbexp.candidate import Candidate, Proposal, ProposalRequest, Summary, Usage, Vector
from kbexp.config import BudgetConfig
from kbexp.errors import KbexpError
from kbexp.events import Noted, ProposalAsked, SummaryWritten
from kbexp.search import Archive, RunState
from kbexp.search.trigrams import Trigrams
from kbexp.search_config import AlgorithmConfig, SearchConfig, SearchMode


def ps(**more: Any) -> AlgorithmConfig:
    return AlgorithmConfig(name="ps", summarizer=True, **more)


def summaries(run: Any) -> list[SummaryWritten]:
    return [event for event in run.journal if isinstance(event, SummaryWritten)]


@pytest.mark.parametrize("mode", SearchMode)
def test_what_was_learned_joins_the_requests(land: SimpleNamespace, mode: SearchMode) -> None:
    run = land.Run(
        ps(num_steps=12),
        how=SearchConfig(mode=mode),
        summarizer=land.Summarizer(faults=False),
        seed=2,
    )
    outcome = run.go()
    assert outcome.state is RunState.COMPLETE
    written = {e.number: e for e in summaries(run)}
    assert list(written) == list(range(len(written)))
    assert written
    covered: set[str] = set()
    for event in written.values():
        if event.summary.text:
            assert not covered & set(event.covers)  # no kernel is shown twice
            covered |= set(event.covers)
            assert 1 <= len(event.covers) <= 6
    told = {request.number: request.summary for request in run.proposer.requests}
    asked = {e.number: e.summary for e in run.journal if isinstance(e, ProposalAsked)}
    assert any(number is not None for number in asked.values())
    for number, text in told.items():
        summary = asked[number]
        assert text == ("" if summary is None else written[summary].summary.text)
    spent = outcome.archive.spending
    calls = sum(p.usage.output_tokens > 0 for p in outcome.archive.proposals.values())
    texts = sum(bool(event.summary.text) for event in written.values())
    assert spent.llm_usd == land.COST_USD * (calls + texts)


@pytest.mark.parametrize("mode", SearchMode)
def test_a_summarizer_that_only_fails_costs_the_run_nothing_but_its_calls(
    land: SimpleNamespace, mode: SearchMode
) -> None:
    class Broken:
        def summarize(self, previous: str, fresh: Sequence[Candidate], seed: int) -> Summary:
            raise KbexpError("no route to host; key=secret")

    run = land.Run(ps(num_steps=5), how=SearchConfig(mode=mode), summarizer=Broken())
    outcome = run.go()
    assert outcome.reason == "All 5 steps are done."
    assert summaries(run)
    for event in summaries(run):
        assert event.summary.text == ""
        assert "KbexpError" in event.summary.error
        assert "secret" not in event.summary.error
    assert {request.summary for request in run.proposer.requests} == {""}


def test_a_stream_does_not_wait_for_a_summary(land: SimpleNamespace) -> None:
    last = threading.Event()

    class Slow:
        def summarize(self, previous: str, fresh: Sequence[Candidate], seed: int) -> Summary:
            assert last.wait(timeout=60)
            return Summary("late", usage=Usage(cost_usd=1.0))

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            if request.number == 29:
                last.set()
            proposal: Proposal = super().propose(request)
            return proposal

    run = land.Run(
        ps(num_steps=6), how=SearchConfig(), summarizer=Slow(), proposer=Proposer(faults=False)
    )
    outcome = run.go()
    assert outcome.reason == "All 6 steps are done."
    assert [event.summary.text for event in summaries(run)][:1] == ["late"]


@pytest.mark.parametrize("mode", SearchMode)
def test_a_summary_is_in_the_budget(land: SimpleNamespace, mode: SearchMode) -> None:
    limits = BudgetConfig(name="", llm_usd=20.5 * land.COST_USD)
    run = land.Run(
        ps(num_steps=100, num_threads=2),
        limits,
        how=SearchConfig(mode=mode),
        summarizer=land.Summarizer(faults=False),
        proposer=land.Mutator(faults=False),
        seed=2,
    )
    outcome = run.go()
    assert outcome.reason.endswith("for the model is spent.")
    assert outcome.archive.spending.llm_usd == 21 * land.COST_USD
    assert any(event.summary.text for event in summaries(run))


@pytest.mark.parametrize("mode", SearchMode)
def test_an_embedder_that_fails_at_times_ends_nothing(
    land: SimpleNamespace, mode: SearchMode
) -> None:
    class Embedder:
        def __init__(self) -> None:
            self.calls = 0

        def embed(self, texts: Sequence[str]) -> list[Vector]:
            self.calls += 1
            if self.calls % 3 == 0:
                raise ConnectionError("key=secret")
            if self.calls % 7 == 0:
                return [[1.0, 2.0]]
            return Trigrams().embed(texts)

    config = AlgorithmConfig(name="ps", num_steps=6, epsilon=0.05)
    run = land.Run(
        config, how=SearchConfig(mode=mode), embedder=Embedder(), proposer=land.Mutator()
    )
    outcome = run.go()
    assert outcome.reason == "All 6 steps are done."
    notes = [event for event in run.journal if isinstance(event, Noted)]
    assert len(notes) >= 2
    for note in notes:
        assert note.text.startswith(f"No embedding of proposal {note.number}:")
        assert "secret" not in note.text
    admitted = {c.proposal.number for c in outcome.archive.in_order if c.proposal}
    dropped = {n for n, d in outcome.archive.duplicates.items() if d.distance}
    assert not {note.number for note in notes} & dropped
    assert admitted
    ordered = mode is SearchMode.steps
    again = land.Run(
        config,
        how=SearchConfig(mode=mode),
        embedder=Embedder(),
        archive=Archive(run.journal, ordered=ordered),
    )
    assert again.go().reason == outcome.reason
