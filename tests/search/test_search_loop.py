"""Whole searches of the landscape: what they find, and that they always find the same."""

from __future__ import annotations

import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from kbexp.candidate import Proposal, ProposalRequest
from kbexp.config import BudgetConfig
from kbexp.events import (
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    StepDone,
    SummaryWritten,
    VerdictReached,
)
from kbexp.search import Archive, RunState, best_candidate, score_named
from kbexp.search.algorithm import request_seed
from kbexp.search_config import AlgorithmConfig, ScoreFunction, SearchConfig, SearchMode
from kbexp.verdict import Status


def settings(**more: object) -> AlgorithmConfig:
    return AlgorithmConfig(name="ps", **more)  # type: ignore[arg-type]


def test_it_climbs_to_the_target(land: SimpleNamespace) -> None:
    run = land.Run(
        settings(num_steps=40, num_candidates=5, num_proposals=3),
        proposer=land.Mutator(faults=False),
        evaluator=land.Evaluator(faults=False),
    )
    outcome = run.go()
    assert (outcome.state, outcome.reason) == (RunState.COMPLETE, "All 40 steps are done.")
    best = best_candidate(outcome.archive, score_named("speedup"))
    assert best is not None
    assert best[1] == 21.0
    assert best[0].kernel == land.kernel_of(*land.TARGET)


def test_thousands_of_candidates_none_judged_twice(land: SimpleNamespace) -> None:
    run = land.Run(
        settings(num_steps=40, num_candidates=50, num_proposals=2, num_threads=16),
        evaluator=land.Evaluator(faults=False),
    )
    archive = run.go().archive
    assert len(archive.proposals) == 4000
    kernels = Counter(p.kernel.id for p in archive.proposals.values() if p.kernel)
    assert set(run.evaluator.judged.values()) == {1}
    assert set(run.evaluator.judged) == set(kernels) | {run.seed_kernel.id}
    assert len(archive.candidates) > 800
    brought = {c.proposal.number for c in archive.candidates.values() if c.proposal}
    with_kernel = {n for n, p in archive.proposals.items() if p.kernel}
    assert set(archive.duplicates) == with_kernel - brought
    assert [c.order for c in archive.candidates.values()] == list(range(len(archive.candidates)))
    assert sum(isinstance(event, StepDone) for event in run.journal) == 40


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"score_function": ScoreFunction.ucb, "test_frequency": 3},
        {"score_function": ScoreFunction.newest},
        {"epsilon": 0.05},
        {"kind": "best_of_n"},
        {"kind": "sequential"},
        {"kind": "beam"},
        {"kind": "random_restart"},
        {"summarizer": True},
        {"num_eval_samples": 3, "score_function": ScoreFunction.ucb},
    ],
    ids=lambda more: "-".join(map(str, more.values())) or "mean",
)
def test_one_seed_gives_one_run_whatever_the_threads_do(
    land: SimpleNamespace, more: dict[str, object]
) -> None:
    seen = []
    for threads in (1, 4, 4, 16):
        run = land.Run(
            settings(num_steps=8, num_candidates=5, num_proposals=3, num_threads=threads, **more),
            evaluator=land.Evaluator(threads=threads),
            summarizer=land.Summarizer(),
            seed=5,
        )
        seen.append(land.snapshot(run.go().archive))
    assert seen[1:] == seen[:-1]
    assert len(seen[0]["candidates"]) > (5 if "kind" in more else 15)
    other = land.Run(
        settings(num_steps=8, num_candidates=5, num_proposals=3, **more),
        summarizer=land.Summarizer(),
        seed=6,
    )
    assert land.snapshot(other.go().archive) != seen[0]


def test_a_step_yields_its_proposals_although_there_is_one_candidate(land: SimpleNamespace) -> None:
    run = land.Run(settings(num_steps=1, num_candidates=5, num_proposals=2))
    archive = run.go().archive
    assert sorted(archive.asked) == list(range(10))
    assert {asked.parents for asked in archive.asked.values()} == {(run.seed_kernel.id,)}
    assert len({asked.seed for asked in archive.asked.values()}) == 10
    assert run.evaluator.judged[run.seed_kernel.id] == 1


def test_best_of_n_asks_from_the_first_kernel_alone(land: SimpleNamespace) -> None:
    run = land.Run(settings(kind="best_of_n", num_steps=4))
    archive = run.go().archive
    assert len(archive.asked) == 20
    assert {asked.parents for asked in archive.asked.values()} == {(run.seed_kernel.id,)}


@pytest.mark.parametrize("mode", ["steps", "stream"])
def test_nothing_leaves_before_it_is_kept(land: SimpleNamespace, mode: str) -> None:
    recorded: list[Event] = []
    kept: list[Event] = []
    groups: list[int] = []
    faults: list[str] = []

    def check(truth: bool, what: str) -> None:
        if not truth:
            faults.append(what)

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            seen = list(kept)
            asked = [e for e in seen if isinstance(e, ProposalAsked) and e.number == request.number]
            check(len(asked) == 1 and asked[0].seed == request.seed, "asked before recorded")
            verdicts = {e.verdict.kernel_id for e in seen if isinstance(e, VerdictReached)}
            received = {e.proposal.number for e in seen if isinstance(e, ProposalReceived)}
            for parent in request.parents:
                check(parent.kernel.id in verdicts, "verdict used before recorded")
                check(
                    parent.proposal is None or parent.proposal.number in received,
                    "proposal used before recorded",
                )
            proposal: Proposal = super().propose(request)
            return proposal

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel):  # type: ignore[no-untyped-def]
            seen = list(kept)
            begun = [e for e in seen if isinstance(e, EvaluationBegun)]
            last = [e for e in begun if e.kernel_id == kernel.id][-1:]
            check(bool(last), "judged before recorded")
            number = last[0].number if last else None
            check(
                number is None
                or any(
                    isinstance(e, ProposalReceived) and e.proposal.number == number for e in seen
                ),
                "judged before its proposal was recorded",
            )
            return super().submit(kernel)

    def commit() -> None:
        groups.append(len(recorded) - len(kept))
        kept.extend(recorded[len(kept) :])

    run = land.Run(
        settings(num_steps=6),
        how=SearchConfig(mode=SearchMode(mode)),
        record=recorded.append,
        commit=commit,
        proposer=Proposer(),
        evaluator=Evaluator(),
    )
    run.go()
    assert len(recorded) > 60
    assert faults == []
    assert kept == recorded
    assert max(groups) > 1


def test_the_journal_folds_to_the_live_state(land: SimpleNamespace) -> None:
    run = land.Run(settings(num_steps=6, epsilon=0.05, test_frequency=2))
    archive = run.go().archive
    folded = Archive(run.journal)
    assert land.snapshot(folded) == land.snapshot(archive)
    assert list(folded.candidates) == list(archive.candidates)
    assert vars(folded)["verdicts"] == vars(archive)["verdicts"]


@pytest.mark.parametrize(
    "more",
    [
        {"epsilon": 0.0, "test_frequency": 2},
        {"epsilon": 0.05, "test_frequency": 2},
        {"kind": "beam"},
        {"kind": "random_restart", "restart_after": 2},
        {"kind": "sequential"},
        {"epsilon": 0.05, "summarizer": True, "num_eval_samples": 2},
    ],
    ids=lambda more: "-".join(map(str, more.values())),
)
@pytest.mark.parametrize("evaluations", [None, 14])
def test_a_run_cut_anywhere_goes_on_as_if_it_had_not_been(
    land: SimpleNamespace, more: dict[str, object], evaluations: int | None
) -> None:
    config = settings(num_steps=4, num_candidates=3, num_proposals=2, **more)
    limits = BudgetConfig(name="", evaluations=evaluations)
    whole = land.Run(config, limits, seed=4, summarizer=land.Summarizer())
    end = land.snapshot(whole.go().archive)
    kinds = {type(event) for event in whole.journal}
    assert kinds >= {DuplicateFound, StepDone, VerdictReached, ProposalReceived}
    statuses = {e.verdict.status for e in whole.journal if isinstance(e, VerdictReached)}
    assert Status.CORRECT in statuses
    assert "kind" in more or Status.INFRASTRUCTURE_ERROR in statuses or "summarizer" in more
    begun = Counter(e.kernel_id for e in whole.journal if isinstance(e, EvaluationBegun))
    for cut in range(len(whole.journal) + 1):
        kept = whole.journal[:cut]
        rest = land.Run(config, limits, seed=4, archive=Archive(kept), summarizer=land.Summarizer())
        assert land.snapshot(rest.go().archive) == end, f"cut after {cut} events"
        assert land.snapshot(Archive([*kept, *rest.journal])) == end
        answered = {e.proposal.number for e in kept if isinstance(e, ProposalReceived)}
        assert not answered & {request.number for request in rest.proposer.requests}
        judged = Counter(e.verdict.kernel_id for e in kept if isinstance(e, VerdictReached))
        assert not (judged + rest.evaluator.judged) - begun  # nothing is judged once more
        written = {e.number for e in kept if isinstance(e, SummaryWritten)}
        seeds = {request_seed(4, f"summary {number}") for number in written}
        assert not seeds & set(rest.summarizer.seeds)


def test_a_run_continues_with_a_larger_budget(land: SimpleNamespace) -> None:
    config = settings(num_steps=6)
    whole = land.Run(config, BudgetConfig(name="large", evaluations=20))
    end = land.snapshot(whole.go().archive)
    small = land.Run(config, BudgetConfig(name="small", evaluations=9))
    small.go()
    rest = land.Run(
        config, BudgetConfig(name="large", evaluations=20), archive=Archive(small.journal)
    )
    outcome = rest.go()
    assert outcome.reason == "The budget of 20 evaluations is spent."
    assert land.snapshot(outcome.archive) == end


def test_a_finished_run_has_nothing_to_continue(land: SimpleNamespace) -> None:
    run = land.Run(settings(num_steps=2))
    run.go()
    again = land.Run(settings(num_steps=2), archive=Archive(run.journal))
    assert again.go().reason == "All 2 steps are done."
    assert again.journal == []
    assert not again.evaluator.judged


def test_an_archive_of_another_first_kernel_is_refused(land: SimpleNamespace) -> None:
    run = land.Run(settings(num_steps=1))
    run.go()
    other = land.Run(archive=Archive(run.journal), seed_kernel=land.kernel_of(1, 1, 1, 1))
    with pytest.raises(ValueError, match="another first kernel"):
        other.go()


def test_calls_are_made_at_once(land: SimpleNamespace) -> None:
    together = threading.Barrier(4)

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            together.wait(timeout=30)  # passes only when four calls are in flight
            proposal: Proposal = super().propose(request)
            return proposal

    run = land.Run(
        settings(num_steps=2, num_candidates=4, num_threads=4), proposer=Proposer(faults=False)
    )
    archive = run.go().archive
    assert [p.error for p in archive.proposals.values()] == [""] * 8


def test_no_more_calls_than_threads(land: SimpleNamespace) -> None:
    lock, now, most = threading.Lock(), 0, 0

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            proposal: Proposal = super().propose(request)
            with lock:
                now -= 1
            return proposal

    land.Run(
        settings(num_steps=5, num_candidates=10, num_threads=3), proposer=Proposer(faults=False)
    ).go()
    assert 1 <= most <= 3


def test_a_kernel_is_judged_while_an_earlier_call_still_runs(land: SimpleNamespace) -> None:
    begun = threading.Event()

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            if request.number == 0:
                assert begun.wait(timeout=30)
            proposal: Proposal = super().propose(request)
            return proposal

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel):  # type: ignore[no-untyped-def]
            if self.judged:
                begun.set()
            return super().submit(kernel)

    run = land.Run(settings(num_steps=1), proposer=Proposer(faults=False), evaluator=Evaluator())
    archive = run.go().archive
    assert not archive.proposals[0].error
    numbers = [e.number for e in run.journal if isinstance(e, EvaluationBegun)]
    assert numbers[0] is None
    assert numbers[1] != 0


def test_of_two_equal_proposals_the_lower_number_is_the_candidate(land: SimpleNamespace) -> None:
    begun = threading.Event()

    class Proposer:
        def propose(self, request: ProposalRequest) -> Proposal:
            if request.number == 0:
                assert begun.wait(timeout=30)  # number 1 is being judged before number 0 answers
            return Proposal(request.number, (), land.kernel_of(1, 0, 0, 0))

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel):  # type: ignore[no-untyped-def]
            if self.judged:
                begun.set()
            return super().submit(kernel)

    run = land.Run(
        settings(num_steps=1, num_candidates=2), proposer=Proposer(), evaluator=Evaluator()
    )
    archive = run.go().archive
    first, second = archive.candidates.values()
    assert first.kernel == run.seed_kernel
    assert second.proposal is not None
    assert second.proposal.number == 0
    assert list(archive.duplicates) == [1]
    assert run.evaluator.judged[second.kernel.id] == 1


def test_the_net_drops_what_is_near(land: SimpleNamespace) -> None:
    class Proposer:
        def propose(self, request: ProposalRequest) -> Proposal:
            texts = ("# other words\nnumbers = [0, 0, 0, 0]\n", "numbers = [4, 5, 6, 7]\n")
            kernel = type(land.kernel_of())(texts[request.number % 2])
            return Proposal(request.number, (), kernel)

    run = land.Run(settings(num_steps=1, num_candidates=2, epsilon=0.1), proposer=Proposer())
    archive = run.go().archive
    assert len(archive.candidates) == 2
    drop = archive.duplicates[0]
    assert drop.kernel_id == run.seed_kernel.id
    assert drop.distance == 0.0


def test_the_best_is_judged_again_on_purpose(land: SimpleNamespace) -> None:
    fresh = land.Evaluator(faults=False)
    run = land.Run(
        settings(num_steps=4, test_frequency=2),
        evaluator=land.Evaluator(faults=False),
        retest=fresh.submit,
    )
    archive = run.go().archive
    assert sum(fresh.judged.values()) == 2
    assert set(run.evaluator.judged.values()) == {1}
    counts = Counter(len(c.verdicts) for c in archive.candidates.values())
    assert counts[2] + 2 * counts[3] == 2
    assert archive.spending.evaluations == len(archive.candidates) + 2
