"""A search in a stream: nothing waits, nothing is too stale, nothing is done twice."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbexp.candidate import Proposal, ProposalRequest
from kbexp.config import BudgetConfig
from kbexp.events import (
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    StepDone,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.search import Archive, RunState, best_candidate, score_named
from kbexp.search_config import AlgorithmConfig, ScoreFunction, SearchConfig
from kbexp.verdict import Verdict

KINDS = ["priority", "best_of_n", "sequential", "beam", "random_restart"]


def ps(**more: Any) -> AlgorithmConfig:
    return AlgorithmConfig(name="ps", **more)


def stream(land: SimpleNamespace, config: AlgorithmConfig, **more: Any) -> Any:
    how = more.pop("how", SearchConfig())
    return land.Run(config, how=how, **more)


def archive_of(journal: list[Event]) -> Archive:
    return Archive(journal, ordered=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_it_asks_for_as_many_as_a_search_in_steps(
    land: SimpleNamespace, kind: str, epsilon: float
) -> None:
    config = ps(kind=kind, num_steps=7, num_candidates=3, num_proposals=2, epsilon=epsilon)
    run = stream(land, config)
    outcome = run.go()
    archive = outcome.archive
    assert (outcome.state, outcome.reason) == (RunState.COMPLETE, "All 7 steps are done.")
    assert sorted(archive.asked) == sorted(archive.proposals) == list(range(42))
    steps = [event.step for event in run.journal if isinstance(event, StepDone)]
    assert steps == list(range(1, 8))
    assert land.snapshot(archive_of(run.journal)) == land.snapshot(archive)
    assert not Counter(run.evaluator.judged) - Counter(
        {k: 2 if len(v) > 1 else 1 for k, v in archive.verdicts.items()}
    )


def test_it_climbs_to_the_target(land: SimpleNamespace) -> None:
    run = stream(
        land,
        ps(num_steps=40, num_candidates=5, num_proposals=3),
        proposer=land.Mutator(faults=False),
        evaluator=land.Evaluator(faults=False),
    )
    best = best_candidate(run.go().archive, score_named("speedup"))
    assert best is not None
    assert best[0].kernel == land.kernel_of(*land.TARGET)


def test_a_call_that_hangs_holds_up_nobody(land: SimpleNamespace) -> None:
    """All others are asked, judged and built upon before the first one answers."""
    last = threading.Event()

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            if request.number == 0:
                assert last.wait(timeout=60)
            if request.number == 19:
                last.set()
            proposal: Proposal = super().propose(request)
            return proposal

    how = SearchConfig(max_staleness=100)
    run = stream(land, ps(num_steps=4, num_threads=3), how=how, proposer=Proposer(faults=False))
    archive = run.go().archive
    assert len(archive.proposals) == 20
    received = [e.proposal.number for e in run.journal if isinstance(e, ProposalReceived)]
    assert received.index(0) > 15
    parents = {archive.candidates[a.parents[0]].order for a in archive.asked.values()}
    assert len(parents) > 3


@pytest.mark.parametrize("staleness", [0, 1, 3, 9])
def test_no_answer_is_staler_than_allowed(land: SimpleNamespace, staleness: int) -> None:
    how = SearchConfig(max_staleness=staleness)
    config = ps(num_steps=12, num_candidates=5, num_threads=6)
    run = stream(land, config, how=how, evaluator=land.Evaluator(faults=False))
    assert run.go().reason == "All 12 steps are done."
    judged, at, worst = 0, {}, 0
    for event in run.journal:
        if isinstance(event, VerdictReached):
            judged += 1
        elif isinstance(event, ProposalAsked):
            at[event.number] = judged
        elif isinstance(event, ProposalReceived):
            worst = max(worst, judged - at[event.proposal.number])
    assert worst <= staleness


def test_the_evaluator_has_no_more_than_it_is_to_have(land: SimpleNamespace) -> None:
    lock, now, most = threading.Lock(), 0, 0

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel: Kernel) -> Future[Verdict]:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            future: Future[Verdict] = super().submit(kernel)
            return future

        def judge(self, kernel: Kernel) -> Verdict:
            nonlocal now
            try:
                verdict: Verdict = super().judge(kernel)
                return verdict
            finally:
                with lock:
                    now -= 1

    run = stream(
        land,
        ps(num_steps=10, num_threads=8),
        how=SearchConfig(num_evaluations=2),
        evaluator=Evaluator(),
    )
    run.go()
    assert 1 <= most <= 2


def test_of_what_waits_the_farthest_goes_first(land: SimpleNamespace) -> None:
    """While the evaluator is busy three kernels wait; the one unlike all others goes first."""
    waiting = threading.Event()
    texts = ["numbers = [1, 0, 0, 0]\n", "numbers = [1, 0, 0, 1]\n", "numbers = [1, 0, 1, 0]\n"]
    far = "def other(things):\n    return [thing for thing in things]\nnumbers = [7, 3, 8, 2]\n"

    class Proposer:
        def propose(self, request: ProposalRequest) -> Proposal:
            return Proposal(request.number, (), Kernel([*texts, far][request.number]))

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def judge(self, kernel: Kernel) -> Verdict:
            if kernel.source in texts:
                assert waiting.wait(timeout=60)
            verdict: Verdict = land.verdict_of(Kernel("numbers = [0, 0, 0, 0]"))
            return land.replace(verdict, kernel_id=kernel.id)  # type: ignore[no-any-return]

    received = set[int]()

    def record(event: Event) -> None:
        if isinstance(event, ProposalReceived):
            received.add(event.proposal.number)
        if len(received) == 4:
            waiting.set()

    run = stream(
        land,
        ps(num_steps=1, num_candidates=4, epsilon=0.01),
        how=SearchConfig(num_evaluations=1),
        proposer=Proposer(),
        evaluator=Evaluator(threads=1),
        record=record,
    )
    run.go()
    begun = [e.source for e in run.journal if isinstance(e, EvaluationBegun)]
    assert len(begun) == 5
    assert begun.index(far) <= 2  # whatever came first was handed over before anything waited


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_cut_anywhere_pays_for_nothing_twice(land: SimpleNamespace, kind: str) -> None:
    config = ps(
        kind=kind,
        num_steps=4,
        num_candidates=3,
        num_proposals=2,
        epsilon=0.05,
        num_eval_samples=2,
        test_frequency=2,
    )
    whole = stream(land, config, seed=4)
    whole.go()
    begun = Counter(e.kernel_id for e in whole.journal if isinstance(e, EvaluationBegun))
    for cut in range(0, len(whole.journal) + 1, 3):
        kept = whole.journal[:cut]
        before = archive_of(kept)
        open_kernels = set(before.unjudged)
        rest = stream(land, config, seed=4, archive=archive_of(kept))
        outcome = rest.go()
        assert outcome.reason == "All 4 steps are done.", f"cut after {cut} events"
        assert sorted(outcome.archive.proposals) == list(range(24))
        again = archive_of([*kept, *rest.journal])
        assert land.snapshot(again) == land.snapshot(outcome.archive)
        answered = {e.proposal.number for e in kept if isinstance(e, ProposalReceived)}
        assert not answered & {request.number for request in rest.proposer.requests}
        asked = {e.number: e for e in kept if isinstance(e, ProposalAsked)}
        for event in rest.journal:
            if isinstance(event, ProposalAsked) and event.number in asked:
                first = asked[event.number]
                assert (event.parents, event.seed, event.chain) == (
                    first.parents,
                    first.seed,
                    first.chain,
                )
        judged = Counter(e.verdict.kernel_id for e in kept if isinstance(e, VerdictReached))
        for kernel_id, times in rest.evaluator.judged.items():
            if kernel_id in judged and kernel_id not in open_kernels:
                # Only on purpose, and then no more often than there are verdicts to want.
                assert times + judged[kernel_id] <= 4
                assert kernel_id in {
                    e.kernel_id for e in rest.journal if isinstance(e, EvaluationBegun)
                }
    assert begun


@settings(deadline=None, max_examples=12)
@given(st.data())
def test_one_thing_at_a_time_is_one_run_wherever_it_is_cut(
    land: SimpleNamespace, data: st.DataObject
) -> None:
    """With nothing beside anything the order of all events is given, and so is the end."""
    kind = data.draw(st.sampled_from(KINDS))
    config = ps(
        kind=kind,
        num_steps=3,
        num_candidates=2,
        num_proposals=2,
        num_threads=1,
        epsilon=data.draw(st.sampled_from([0.0, 0.05])),
        score_function=data.draw(st.sampled_from(ScoreFunction)),
    )
    how = SearchConfig(max_staleness=0, num_evaluations=1)
    whole = stream(land, config, how=how, seed=data.draw(st.integers(0, 9)))
    end = land.snapshot(whole.go().archive)
    cut = data.draw(st.integers(0, len(whole.journal)))
    rest = stream(land, config, how=how, seed=whole.seed, archive=archive_of(whole.journal[:cut]))
    assert land.snapshot(rest.go().archive) == end


@pytest.mark.parametrize("limit", [1, 2, 7, 20])
def test_budgets_hold(land: SimpleNamespace, limit: int) -> None:
    config = ps(num_steps=100, num_threads=8, num_eval_samples=3)
    for limits in (
        BudgetConfig(name="", evaluations=limit),
        BudgetConfig(name="", proposals=limit),
        BudgetConfig(name="", llm_usd=(limit - 0.5) * land.COST_USD),
    ):
        run = stream(
            land,
            config,
            limits=limits,
            proposer=land.Mutator(faults=False),
            evaluator=land.Evaluator(faults=False),
        )
        outcome = run.go()
        assert outcome.state is RunState.COMPLETE
        assert outcome.reason.endswith("spent.")
        spent = outcome.archive.spending
        if limits.evaluations is not None:
            assert spent.evaluations == sum(run.evaluator.judged.values()) == limit
        else:
            assert spent.proposals == limit


def test_dollars_for_the_device_are_exceeded_by_one_evaluation_at_most(
    land: SimpleNamespace,
) -> None:
    price = 2.0**-4
    run = stream(
        land,
        ps(num_steps=100, num_threads=8, num_eval_samples=2),
        limits=BudgetConfig(name="", gpu_usd=10.5 * land.EVALUATION_S * price),
        evaluator=land.Evaluator(faults=False),
        gpu_usd_per_s=price,
    )
    assert run.go().reason.endswith("for the device is spent.")
    assert sum(run.evaluator.judged.values()) == 11


def test_luck_does_not_stay_on_top(land: SimpleNamespace) -> None:
    """The first verdict of a lucky kernel is three times what it is worth."""
    lucky = land.kernel_of(1, 0, 0, 0)

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def judge(self, kernel: Kernel) -> Verdict:
            verdict: Verdict = land.verdict_of(kernel)
            if kernel == lucky and self.judged[kernel.id] == 1:
                return land.replace(verdict, speedup=land.interval(90.0))  # type: ignore[no-any-return]
            return verdict

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            if request.number == 0:
                return Proposal(0, (), lucky)
            proposal: Proposal = super().propose(request)
            return proposal

    found = {}
    for samples in (1, 6):
        run = stream(
            land,
            ps(num_steps=3, num_eval_samples=samples, num_threads=1),
            proposer=Proposer(faults=False),
            evaluator=Evaluator(faults=False),
        )
        archive = run.go().archive
        best = best_candidate(archive, score_named("speedup"))
        assert best is not None
        found[samples] = best
        counts = {len(c.verdicts) for c in archive.in_order}
        assert max(counts) == samples
        assert archive.spending.evaluations == sum(len(c.verdicts) for c in archive.in_order)
    assert found[1][0].kernel == lucky
    assert found[1][1] == 90.0
    assert found[6][1] < 30.0


def test_a_plateau_ends_the_run(land: SimpleNamespace) -> None:
    class Proposer:
        def propose(self, request: ProposalRequest) -> Proposal:
            steps = min(request.number, 6)
            return Proposal(request.number, (), land.kernel_of(0, 0, steps, -request.number))

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def judge(self, kernel: Kernel) -> Verdict:
            value = 1.0 + float(kernel.source.split(",")[2])
            verdict: Verdict = land.verdict_of(kernel, speedup=land.interval(value))
            return verdict

    for mode in ("stream", "steps"):
        how = SearchConfig(mode=mode, plateau=10)  # type: ignore[arg-type]
        run = stream(
            land,
            ps(num_steps=50),
            how=how,
            proposer=Proposer(),
            evaluator=Evaluator(faults=False, threads=1),
        )
        outcome = run.go()
        assert outcome.state is RunState.COMPLETE
        assert outcome.reason == (
            "The best has not improved by more than 1 % over 10 judged kernels."
        )
        assert 16 <= len(outcome.archive.judged) <= 40
        assert not outcome.archive.unjudged
        assert not outcome.archive.undecided
        again = stream(
            land,
            ps(num_steps=50),
            how=how,
            archive=Archive(run.journal, ordered=mode == "steps"),
        )
        assert again.go().reason == outcome.reason
        assert again.journal == []
