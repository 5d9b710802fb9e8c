"""Summaries and vectors: asked beside everything else, and their failures end nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
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


class Paid:
    """Embeds by trigrams, keeps what it has embedded, and has a price."""

    model = "made-up"

    def __init__(self, kept: set[str], cost_usd: float | None = 2.0**-9) -> None:
        self.kept, self.cost_usd = kept, cost_usd
        self.lock = threading.Lock()
        self.unsaid = self.asked = 0

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        with self.lock:
            new = set(texts) - self.kept
            self.kept |= new
            self.unsaid += len(new)
            self.asked += len(new)
        return Trigrams().embed(texts)

    def spent(self) -> tuple[int, Usage]:
        with self.lock:
            texts, self.unsaid = self.unsaid, 0
        cost_usd = None if self.cost_usd is None else texts * self.cost_usd
        return texts, Usage(input_tokens=7 * texts, cost_usd=cost_usd)


@pytest.mark.parametrize("mode", SearchMode)
def test_what_embeddings_cost_is_counted_once(land: SimpleNamespace, mode: SearchMode) -> None:
    config = AlgorithmConfig(name="ps", num_steps=5, epsilon=0.05)
    how, ordered = SearchConfig(mode=mode), mode is SearchMode.steps
    kept: set[str] = set()
    embedder = Paid(kept)
    run = land.Run(config, how=how, embedder=embedder, proposer=land.Mutator(faults=False))
    spending = run.go().archive.spending
    answers = spending.proposals
    assert embedder.asked > 5
    assert spending.llm_usd == answers * land.COST_USD + embedder.asked * embedder.cost_usd
    assert spending.input_tokens == 10 * answers + 7 * embedder.asked
    for cut in range(1, len(run.journal), 3):  # What was kept is not paid for again.
        again = Paid(set(kept))
        archive = Archive(run.journal[:cut], ordered=ordered)
        before, had = archive.spending.llm_usd, archive.spending.proposals
        proposer = land.Mutator(faults=False)
        late = land.Run(config, how=how, embedder=again, archive=archive, proposer=proposer)
        after = late.go().archive.spending
        paid = (after.proposals - had) * land.COST_USD
        assert after.llm_usd - before == paid + again.asked * 2.0**-9
        assert not ordered or again.asked == 0


@pytest.mark.parametrize("mode", SearchMode)
def test_a_limit_in_dollars_holds_for_embeddings(land: SimpleNamespace, mode: SearchMode) -> None:
    config = AlgorithmConfig(name="ps", num_steps=50, epsilon=0.01, num_threads=1)
    limits = BudgetConfig(name="money", llm_usd=0.25)
    how = SearchConfig(mode=mode)

    def go(embedder: Paid, limits: BudgetConfig) -> Any:
        proposer = land.Mutator(faults=False, cost_usd=0.0)
        return land.Run(config, limits, proposer=proposer, how=how, embedder=embedder).go()

    outcome = go(Paid(set(), cost_usd=2.0**-5), limits)
    assert outcome.reason.endswith("for the model is spent.")
    assert 0.25 <= outcome.archive.spending.llm_usd <= 0.25 + 2.0**-5
    outcome = go(Paid(set(), cost_usd=None), limits)
    assert outcome.state is RunState.FAILED
    assert "algorithm.embedding_usd_per_mtok" in outcome.reason
    assert outcome.archive.spending.proposals == 0
    allowed = replace(limits, allow_unknown_price=True, proposals=6)
    outcome = go(Paid(set(), cost_usd=None), allowed)
    assert outcome.reason == "The budget of 6 proposals is spent."
    assert outcome.archive.spending.unpriced_embeddings > 0


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


@pytest.mark.parametrize("mode", SearchMode)
@pytest.mark.parametrize("resumed", [False, True])
def test_a_stopped_search_does_not_wait_for_where_kernels_lie(
    land: SimpleNamespace, mode: SearchMode, resumed: bool
) -> None:
    stop, release = threading.Event(), threading.Event()

    class Embedder:
        def embed(self, texts: Sequence[str]) -> list[Vector]:
            stop.set()
            if not release.wait(20):
                raise TimeoutError
            return Trigrams().embed(texts)

    config, how = AlgorithmConfig(name="ps", num_steps=1, epsilon=0.05), SearchConfig(mode=mode)
    archive = Archive(ordered=mode is SearchMode.steps)
    if resumed:
        archive = land.Run(config, how=how, archive=archive).go().archive
    began = len(archive.held)
    run = land.Run(config, how=how, archive=archive, embedder=Embedder(), stop=stop)
    outcome = run.go()
    release.set()
    assert outcome.state is RunState.STOPPED
    assert len(outcome.archive.held) == began
    assert run.journal == []  # Had it waited, it would have noted why the vectors did not come.
