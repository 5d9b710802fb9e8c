"""What goes wrong costs a candidate, or ends the run with all that was found."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from kbexp.candidate import Proposal, ProposalRequest, Usage
from kbexp.config import BudgetConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError, ModelUnavailable, TaskError
from kbexp.events import EvaluationBegun, ProposalAsked, ProposalReceived, VerdictReached
from kbexp.kernel import Kernel
from kbexp.search import Archive, RunState
from kbexp.search_config import AlgorithmConfig, SearchConfig, SearchMode
from kbexp.verdict import Status, Verdict


def settings(**more: object) -> AlgorithmConfig:
    return AlgorithmConfig(name="ps", **more)  # type: ignore[arg-type]


def failed(error: Exception) -> Future[Verdict]:
    future: Future[Verdict] = Future()
    future.set_exception(error)
    return future


def test_every_kind_of_failure_costs_its_candidate_only(land: SimpleNamespace) -> None:
    """Calls that raise, answers without a kernel, answers of a wrong type, exits."""

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            match request.number:
                case 0:
                    raise ConnectionError("key=secret")
                case 1:
                    return Proposal(1, (), None, error="The answer held no kernel.")
                case 2:
                    return None  # type: ignore[return-value]
                case 3:
                    raise SystemExit(9)
                case _:
                    proposal: Proposal = super().propose(request)
                    return proposal

    run = land.Run(settings(num_steps=3), proposer=Proposer(faults=False))
    outcome = run.go()
    assert outcome.state is RunState.COMPLETE
    errors = {n: p.error for n, p in outcome.archive.proposals.items() if p.error}
    assert sorted(errors) == [0, 1, 2, 3]
    assert "ConnectionError (test_search_failures.py" in errors[0]
    assert "secret" not in repr(run.journal)
    assert outcome.archive.spending.proposals == 15


def test_a_proposal_keeps_its_request(land: SimpleNamespace) -> None:
    class Proposer:
        def propose(self, request: ProposalRequest) -> Proposal:
            return Proposal(99, ("someone else",), land.kernel_of(request.number, 0, 0, 0))

    run = land.Run(settings(num_steps=1, num_candidates=2), proposer=Proposer())
    archive = run.go().archive
    assert sorted(archive.proposals) == [0, 1]
    assert archive.proposals[1].parents == (run.seed_kernel.id,)


@pytest.mark.parametrize("how", ["raised", "future", "verdict", "cancelled", "another"])
def test_an_infrastructure_error_is_tried_again_once_and_not_held_against_a_kernel(
    land: SimpleNamespace, how: str
) -> None:
    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel: Kernel) -> Future[Verdict]:
            if not self.judged or kernel == land.kernel_of(0, 0, 0, 0):
                future: Future[Verdict] = super().submit(kernel)
                return future
            self.judged[kernel.id] += 1
            if how == "raised":
                raise OSError("key=secret")
            if how == "future":
                return failed(OSError("key=secret"))
            future = Future()
            if how == "cancelled":
                future.cancel()
            elif how == "verdict":
                future.set_result(land.verdict_of(kernel, Status.INFRASTRUCTURE_ERROR))
            else:
                future.set_result(land.verdict_of(land.kernel_of(9, 9, 9, 9)))
            return future

    run = land.Run(
        settings(num_steps=2, num_candidates=2),
        proposer=land.Mutator(faults=False),
        evaluator=Evaluator(),
    )
    outcome = run.go()
    assert outcome.state is RunState.COMPLETE
    _, *others = outcome.archive.candidates.values()
    assert others
    for candidate in others:
        assert run.evaluator.judged[candidate.kernel.id] == 2
        assert [v.status for v in candidate.verdicts] == [Status.INFRASTRUCTURE_ERROR] * 2
    parents = {asked.parents for asked in outcome.archive.asked.values()}
    assert parents == {(run.seed_kernel.id,)}  # what has no score is not improved
    assert "secret" not in repr(run.journal)


def test_one_infrastructure_error_is_mended_by_the_second_try(land: SimpleNamespace) -> None:
    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel: Kernel) -> Future[Verdict]:
            if not self.judged[kernel.id]:
                self.judged[kernel.id] += 1
                return failed(ConnectionResetError())
            future: Future[Verdict] = super().submit(kernel)
            return future

    run = land.Run(
        settings(num_steps=2, num_candidates=2),
        BudgetConfig(name="", evaluations=4),
        proposer=land.Mutator(faults=False),
        evaluator=Evaluator(faults=False),
    )
    archive = run.go().archive
    assert set(run.evaluator.judged.values()) == {2}
    assert all(c.verdict is not None and c.verdict.correct for c in archive.candidates.values())
    assert archive.spending.evaluations == len(archive.candidates) <= 4


def test_a_first_kernel_that_cannot_be_judged_is_improved_all_the_same(
    land: SimpleNamespace,
) -> None:
    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel: Kernel) -> Future[Verdict]:
            if kernel == land.kernel_of(0, 0, 0, 0):
                return failed(OSError())
            future: Future[Verdict] = super().submit(kernel)
            return future

    run = land.Run(settings(num_steps=2), evaluator=Evaluator())
    outcome = run.go()
    assert outcome.state is RunState.COMPLETE
    assert len(outcome.archive.candidates) > 2


def test_an_evaluator_that_only_errs_pauses_the_run(land: SimpleNamespace) -> None:
    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel: Kernel) -> Future[Verdict]:
            return failed(OSError("the cable is out"))

    run = land.Run(settings(num_steps=1000), evaluator=Evaluator())
    outcome = run.go()
    assert outcome.state is RunState.STOPPED
    assert isinstance(outcome.error, EvaluatorUnavailable)
    assert outcome.reason == str(outcome.error)
    assert "10 evaluations in a row" in outcome.reason
    assert "OSError" in outcome.reason
    assert len(outcome.archive.proposals) < 20
    mended = land.Run(settings(num_steps=3), archive=Archive(run.journal))
    assert mended.go().state is RunState.COMPLETE


@pytest.mark.parametrize("room", ["model", "task", "evaluator raised", "evaluator future"])
def test_what_is_unavailable_fails_the_run_and_all_so_far_is_kept(
    land: SimpleNamespace, room: str
) -> None:
    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            if room == "model" and request.number >= 12:
                raise ModelUnavailable("There is no key: set KEY.")
            proposal: Proposal = super().propose(request)
            return proposal

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel: Kernel) -> Future[Verdict]:
            if room != "model" and len(self.judged) >= 8:
                error = EvaluatorUnavailable("There is no such device: choose gpu=cpu.")
                if room == "evaluator raised":
                    raise error
                return failed(TaskError("There is no input.") if room == "task" else error)
            future: Future[Verdict] = super().submit(kernel)
            return future

    run = land.Run(settings(), proposer=Proposer(faults=False), evaluator=Evaluator(faults=False))
    outcome = run.go()
    assert outcome.state is RunState.FAILED
    assert isinstance(outcome.error, KbexpError)
    assert outcome.reason.startswith("There is no ")
    assert land.snapshot(Archive(run.journal)) == land.snapshot(outcome.archive)
    assert sum(len(c.verdicts) for c in outcome.archive.candidates.values()) >= 5
    again = land.Run(settings(num_steps=4), archive=Archive(run.journal))
    assert again.go().state is RunState.COMPLETE


def test_a_kernel_that_fails_may_be_repaired(land: SimpleNamespace) -> None:
    """With one correct candidate and five places, failures are improved too."""

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def judge(self, kernel: Kernel) -> Verdict:
            seed = kernel == land.kernel_of(0, 0, 0, 0)
            verdict: Verdict = land.verdict_of(kernel, Status.CORRECT if seed else Status.INCORRECT)
            return verdict

    run = land.Run(settings(num_steps=4), evaluator=Evaluator())
    archive = run.go().archive
    first = run.seed_kernel.id
    asked = [archive.asked[number].parents[0] for number in range(5, 20)]
    assert asked[0::5] == [first] * 3  # the correct one comes first
    assert len(set(asked)) > 5  # the failures take turns


def test_a_stopped_run_leaves_hanging_calls_behind(land: SimpleNamespace) -> None:
    stop, hanging, release = threading.Event(), threading.Semaphore(0), threading.Event()

    class Proposer:
        def propose(self, request: ProposalRequest) -> Proposal:
            hanging.release()
            release.wait(timeout=60)
            return Proposal(request.number, (), None, error="too late")

    def stopper() -> None:
        for _ in range(4):
            hanging.acquire()
        stop.set()

    threading.Thread(target=stopper, daemon=True).start()
    run = land.Run(settings(num_threads=4), proposer=Proposer(), stop=stop, grace_s=0.05)
    outcome = run.go()
    assert (outcome.state, outcome.reason) == (RunState.STOPPED, "The run was asked to stop.")
    length = len(run.journal)
    release.set()
    assert outcome.archive.proposals == {}
    assert [e.number for e in run.journal if isinstance(e, ProposalAsked)] == [0, 1, 2, 3]
    rest = land.Run(settings(num_steps=1), archive=Archive(run.journal))
    assert sorted(rest.go().archive.proposals) == [0, 1, 2, 3, 4]
    assert len(run.journal) == length  # what came late was not recorded


def test_a_stopped_run_keeps_answers_that_come_soon(land: SimpleNamespace) -> None:
    stop = threading.Event()

    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            stop.set()
            proposal: Proposal = super().propose(request)
            return proposal

    run = land.Run(
        settings(num_threads=3), proposer=Proposer(faults=False), stop=stop, grace_s=60.0
    )
    outcome = run.go()
    assert outcome.state is RunState.STOPPED
    asked = [e for e in run.journal if isinstance(e, ProposalAsked)]
    received = [e for e in run.journal if isinstance(e, ProposalReceived)]
    assert len(asked) == len(received) > 0


def test_a_stopped_run_cancels_evaluations(land: SimpleNamespace) -> None:
    stop, futures = threading.Event(), list[Future[Verdict]]()

    class Evaluator(land.Evaluator):  # type: ignore[name-defined, misc]
        def submit(self, kernel: Kernel) -> Future[Verdict]:
            if not futures and not self.judged:
                future: Future[Verdict] = super().submit(kernel)
                return future
            futures.append(Future())
            if len(futures) == 3:
                stop.set()
            return futures[-1]

    run = land.Run(
        settings(), proposer=land.Mutator(faults=False), evaluator=Evaluator(), stop=stop
    )
    outcome = run.go()
    assert outcome.state is RunState.STOPPED
    assert all(future.cancelled() for future in futures)
    begun = [e for e in run.journal if isinstance(e, EvaluationBegun)]
    judged = [e for e in run.journal if isinstance(e, VerdictReached)]
    assert len(begun) >= 4
    assert len(judged) == 1  # a cancelled evaluation has no verdict
    assert len(outcome.archive.unjudged) == len(begun) - 1


def test_a_run_stopped_before_it_began_does_nothing(land: SimpleNamespace) -> None:
    stop = threading.Event()
    stop.set()
    run = land.Run(stop=stop)
    assert run.go().state is RunState.STOPPED
    assert run.journal == []


def test_a_journal_that_cannot_be_written_ends_the_search(land: SimpleNamespace) -> None:
    count = 0

    def record(event: object) -> None:
        nonlocal count
        count += 1
        if count == 12:
            raise OSError("disk full")

    run = land.Run(settings(), record=record)
    with pytest.raises(OSError, match="disk full"):
        run.go()
    assert len(run.journal) == 11


def test_an_unknown_price_breaks_a_limit_in_dollars(land: SimpleNamespace) -> None:
    limits = BudgetConfig(name="", llm_usd=1.0)
    run = land.Run(settings(), limits, proposer=land.Mutator(faults=False, cost_usd=None))
    outcome = run.go()
    assert outcome.state is RunState.FAILED
    assert "price" in outcome.reason
    assert outcome.archive.spending.proposals == 1
    again = land.Run(settings(), limits, archive=Archive(run.journal))
    assert again.go().state is RunState.FAILED
    assert again.journal == []
    limits.allow_unknown_price = True
    allowed = land.Run(
        settings(num_steps=2), limits, proposer=land.Mutator(faults=False, cost_usd=None)
    )
    assert allowed.go().reason == "All 2 steps are done."


def test_a_failed_call_without_a_price_is_free(land: SimpleNamespace) -> None:
    class Proposer:
        def propose(self, request: ProposalRequest) -> Proposal:
            nothing = Usage(cost_usd=None)
            return Proposal(request.number, (), None, error="no route to host", usage=nothing)

    run = land.Run(settings(num_steps=1), BudgetConfig(name="", llm_usd=1.0), proposer=Proposer())
    assert run.go().state is RunState.COMPLETE


@pytest.mark.parametrize("mode", SearchMode)
def test_a_model_that_only_fails_pauses_the_run_and_it_goes_on_when_it_is_back(
    land: SimpleNamespace, mode: SearchMode
) -> None:
    class Proposer(land.Mutator):  # type: ignore[name-defined, misc]
        def propose(self, request: ProposalRequest) -> Proposal:
            if 4 <= request.number < 40:
                return Proposal(request.number, (), None, error="no route to host")
            proposal: Proposal = super().propose(request)
            return proposal

    how = SearchConfig(mode=mode)
    run = land.Run(settings(num_steps=20), proposer=Proposer(faults=False), how=how)
    outcome = run.go()
    assert outcome.state is RunState.STOPPED
    assert isinstance(outcome.error, ModelUnavailable)
    assert "10 calls to the model in a row failed" in outcome.reason
    assert "no route to host" in outcome.reason
    assert len(outcome.archive.proposals) < 20
    archive = Archive(run.journal, ordered=mode is SearchMode.steps)
    mended = land.Run(
        settings(num_steps=20), proposer=land.Mutator(faults=False), how=how, archive=archive
    )
    assert mended.go().reason == "All 20 steps are done."
    assert len(archive.proposals) == 100


def test_an_unusable_answer_is_no_outage(land: SimpleNamespace) -> None:
    class Proposer:
        def propose(self, request: ProposalRequest) -> Proposal:
            usage = Usage(output_tokens=9)
            return Proposal(request.number, (), None, error="no kernel in it", usage=usage)

    assert land.Run(settings(num_steps=9), proposer=Proposer()).go().state is RunState.COMPLETE
