"""Budgets in a whole search: what is in flight is reserved, and the clock is ours."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from kbexp.candidate import Proposal, ProposalRequest
from kbexp.config import BudgetConfig
from kbexp.events import ProposalAsked
from kbexp.kernel import Kernel
from kbexp.search import RunState
from kbexp.search_config import AlgorithmConfig
from kbexp.verdict import Verdict


def settings(**more: object) -> AlgorithmConfig:
    return AlgorithmConfig(name="ps", num_steps=1000, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 23])
@pytest.mark.parametrize("epsilon", [0.0, 0.05])
def test_evaluations_are_never_exceeded(land: SimpleNamespace, limit: int, epsilon: float) -> None:
    seen = []
    for threads in (1, 4, 16):
        run = land.Run(
            settings(num_threads=threads, epsilon=epsilon),
            BudgetConfig(name="", evaluations=limit),
            evaluator=land.Evaluator(threads=threads),
            seed=1,
        )
        outcome = run.go()
        assert outcome.state is RunState.COMPLETE
        assert outcome.reason == f"The budget of {limit} evaluation{'s' * (limit != 1)} is spent."
        assert len(run.evaluator.judged) == limit == outcome.archive.spending.evaluations
        seen.append(land.snapshot(outcome.archive))
    assert seen[1:] == seen[:-1]


@pytest.mark.parametrize("limit", [0, 1, 7, 23])
def test_proposals_are_never_exceeded(land: SimpleNamespace, limit: int) -> None:
    run = land.Run(settings(num_threads=8), BudgetConfig(name="", proposals=limit))
    outcome = run.go()
    assert outcome.reason == f"The budget of {limit} proposal{'s' * (limit != 1)} is spent."
    assert len(run.proposer.requests) == limit
    assert not outcome.archive.unjudged  # what came was judged


@pytest.mark.parametrize("calls", [0.5, 1, 5.5, 20])
def test_dollars_for_the_model_are_exceeded_by_one_call_at_most(
    land: SimpleNamespace, calls: float
) -> None:
    run = land.Run(
        settings(num_threads=8),
        BudgetConfig(name="", llm_usd=calls * land.COST_USD),
        proposer=land.Mutator(faults=False),
    )
    outcome = run.go()
    assert outcome.reason.endswith("for the model is spent.")
    spent = outcome.archive.spending.llm_usd / land.COST_USD
    assert calls <= spent < calls + 1


def test_dollars_for_the_device_are_exceeded_by_one_evaluation_at_most(
    land: SimpleNamespace,
) -> None:
    price = 2.0**-4
    limit = 10.5 * land.EVALUATION_S * price
    run = land.Run(
        settings(num_threads=8),
        BudgetConfig(name="", gpu_usd=limit),
        evaluator=land.Evaluator(faults=False),
        gpu_usd_per_s=price,
    )
    outcome = run.go()
    assert outcome.reason.endswith("for the device is spent.")
    assert sum(run.evaluator.judged.values()) == 11


def test_a_device_without_a_price_spends_nothing(land: SimpleNamespace) -> None:
    run = land.Run(AlgorithmConfig(name="ps", num_steps=2), BudgetConfig(name="", gpu_usd=0.01))
    assert run.go().reason == "All 2 steps are done."


def test_wall_time_ends_a_run(land: SimpleNamespace) -> None:
    now = 0.0

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            nonlocal now
            now += 2.0
            proposal: Proposal = super().propose(request)
            return proposal

    run = land.Run(
        settings(num_threads=1),
        BudgetConfig(name="", wall_s=21.0),
        proposer=Proposer(faults=False),
        clock=lambda: now,
    )
    outcome = run.go()
    assert outcome.state is RunState.COMPLETE
    assert outcome.reason == "The budget of 21 s of wall time is spent."
    assert len([e for e in run.journal if isinstance(e, ProposalAsked)]) == 11
    assert len(outcome.archive.proposals) == 11


def test_when_time_is_up_what_runs_is_kept_and_what_waits_is_not_begun(
    land: SimpleNamespace,
) -> None:
    now, waiting = 0.0, list[Future[Verdict]]()
    begun, running = threading.Event(), threading.Event()

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel: Kernel) -> Future[Verdict]:
            if len(self.judged) < 2:
                future: Future[Verdict] = super().submit(kernel)
                return future
            waiting.append(Future())  # the device is taken
            return waiting[-1]

        def judge(self, kernel: Kernel) -> Verdict:
            nonlocal now
            if len(self.judged) == 2:
                begun.set()
                running.wait(timeout=30)
            now = 100.0 if len(self.judged) == 2 else now
            verdict: Verdict = super().judge(kernel)
            return verdict

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            nonlocal now
            if request.number == 2:
                begun.wait(timeout=30)
                now = 50.0
                running.set()
            proposal: Proposal = super().propose(request)
            return proposal

    run = land.Run(
        settings(num_threads=1, num_candidates=3),
        BudgetConfig(name="", wall_s=40.0),
        proposer=Proposer(faults=False),
        evaluator=Evaluator(faults=False),
        clock=lambda: now,
    )
    outcome = run.go()
    assert "wall time" in outcome.reason
    judged = [c for c in outcome.archive.candidates.values() if c.verdicts]
    assert len(judged) == 2  # the first kernel, and the one that was running
    assert all(future.cancelled() for future in waiting)
    assert len(outcome.archive.proposals) == 3  # all that was paid for


def test_the_steps_may_come_first(land: SimpleNamespace) -> None:
    run = land.Run(
        AlgorithmConfig(name="ps", num_steps=1),
        BudgetConfig(name="", evaluations=1000, wall_s=1e6, proposals=1000, llm_usd=1e6),
    )
    assert run.go().reason == "The one step is done."
