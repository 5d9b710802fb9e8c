"""What goes wrong at Modal ends in a verdict, or in one sentence; nothing is lost or left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from kernels import TASK, quick
from rented import opened, rented, softmax, soon, unguarded  # noqa: F401

from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation import open_evaluator
from kbexp.evaluation.modal import calls
from kbexp.evaluation.modal.evaluator import ModalEvaluator
from kbexp.task import Task
from kbexp.verdict import Status

if TYPE_CHECKING:
    from local_modal import LocalModal

SMALL = Task("small", TASK)
SLOW_S = 0.15
"""A kernel that waits so long in every call is judged for some seconds."""

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("unguarded")]


@pytest.fixture(scope="module")
def lasting(modal_session: LocalModal) -> Iterator[ModalEvaluator]:
    """An evaluator that everything here happens to, one after the other."""
    modal_session.reset()
    with opened() as evaluator:
        assert evaluator.evaluate(SMALL, softmax("first")).correct
        yield evaluator
    assert modal_session.containers() == []
    assert modal_session.record()["errors"] == []


@pytest.fixture
def modal(modal_session: LocalModal) -> Iterator[LocalModal]:
    """The service, with whatever runs on it; faults are taken back."""
    from local_modal.faults import Faults

    yield modal_session
    usual = Faults()
    modal_session.set_faults(
        **{name: getattr(usual, name) for name in ("timeout_s", "lost_inputs_fail", "crashes")}
    )


def alive(modal: LocalModal) -> set[str]:
    return {container["task_id"] for container in modal.containers()}


def judged_despite(
    evaluator: ModalEvaluator, modal: LocalModal, mark: str, happen: Any
) -> tuple[str, str]:
    """Judge a kernel to which something happens; the containers before and after."""
    future = evaluator.submit(SMALL, softmax(mark, SLOW_S))
    before = str(modal.wait_busy()["task_id"])
    inputs = modal.inputs()["total"]
    happen(before)
    verdict = future.result(timeout=90)
    assert verdict.correct, verdict
    assert verdict.kernel_id == softmax(mark, SLOW_S).id
    assert modal.inputs()["total"] >= inputs
    return before, verdict.environment["container"]


def test_a_container_that_is_killed(lasting: ModalEvaluator, modal: LocalModal) -> None:
    before, after = judged_despite(lasting, modal, "killed", modal.kill)
    assert before != after


def test_a_container_that_is_preempted(lasting: ModalEvaluator, modal: LocalModal) -> None:
    before, after = judged_despite(lasting, modal, "preempted", modal.preempt)
    assert before != after
    assert soon(lambda: before not in alive(modal))


def test_a_container_that_runs_out_of_memory(lasting: ModalEvaluator, modal: LocalModal) -> None:
    modal.set_faults(crashes=0)  # Modal itself does not try again.
    before, after = judged_despite(lasting, modal, "memory", modal.run_out_of_memory)
    assert before != after


def test_an_input_that_is_lost_with_its_container(
    lasting: ModalEvaluator, modal: LocalModal
) -> None:
    modal.set_faults(lost_inputs_fail=True)
    before, after = judged_despite(lasting, modal, "lost", modal.kill)
    assert before != after


def test_an_output_that_expires(lasting: ModalEvaluator, modal: LocalModal) -> None:
    judged_despite(lasting, modal, "expired", lambda _: modal.expire_outputs())


def test_a_call_that_is_forgotten(lasting: ModalEvaluator, modal: LocalModal) -> None:
    judged_despite(lasting, modal, "forgotten", lambda _: modal.forget_calls())


def test_an_evaluation_that_takes_longer_than_a_container_may(
    lasting: ModalEvaluator, modal: LocalModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAUSE_S", 0.01)
    modal.set_faults(timeout_s=0.5)
    verdict = lasting.evaluate(SMALL, softmax("endless", SLOW_S))
    assert verdict.status is Status.INFRASTRUCTURE_ERROR
    assert verdict.reasons == ("The evaluation took longer than its container may.",)
    modal.set_faults(timeout_s=0)
    assert lasting.evaluate(SMALL, softmax("after endless")).correct


def test_a_result_that_is_too_large(
    lasting: ModalEvaluator, modal: LocalModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAUSE_S", 0.01)
    monkeypatch.setattr("kbexp.evaluation.modal.messages.MAX_PACKED_BYTES", 100)
    verdict = lasting.evaluate(SMALL, softmax("large"))
    assert verdict.status is Status.INFRASTRUCTURE_ERROR
    assert "bytes, and 100 are allowed" in verdict.reasons[0]
    monkeypatch.undo()
    assert lasting.evaluate(SMALL, softmax("after large")).correct


def test_an_app_that_is_stopped_from_outside(local_modal: LocalModal) -> None:
    with opened() as evaluator:
        running = evaluator.submit(SMALL, softmax("stopped", SLOW_S))
        waiting = evaluator.submit(SMALL, softmax("waits"))
        busy = local_modal.wait_busy()
        local_modal.stop_app(busy["app_id"])
        for future in (running, waiting):
            with pytest.raises(EvaluatorUnavailable, match="stopped from outside"):
                future.result(timeout=60)
        with pytest.raises(EvaluatorUnavailable, match="stopped from outside"):
            evaluator.evaluate(SMALL, softmax("later"))
    assert local_modal.wait_containers(0) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("tokens", "modal token new"),
        ("image", "modal image logs"),
    ],
)
def test_what_keeps_an_app_from_starting_is_one_sentence(
    local_modal: LocalModal, fault: str, said: str
) -> None:
    if fault == "tokens":
        local_modal.set_faults(refuse_tokens=True)
    else:
        local_modal.fail_images("pip could not find torch==9.9")
    with opened() as evaluator:
        future = evaluator.submit(SMALL, softmax("never"))
        with pytest.raises(EvaluatorUnavailable, match=said) as caught:
            future.result(timeout=60)
        with pytest.raises(EvaluatorUnavailable, match=said):
            evaluator.wait_ready(30.0)
    assert len(str(caught.value).splitlines()) == 1
    assert local_modal.containers() == []


def test_a_container_that_may_not_use_modal(local_modal: LocalModal) -> None:
    """Nobody knows what a container of restricted access may do; with nothing it judges too."""
    from kernels import compiled_kernel

    local_modal.set_faults(refuse_untrusted=True)
    with opened(builders=1) as evaluator:
        assert evaluator.evaluate(SMALL, softmax("restricted")).correct
        verdict = evaluator.evaluate(SMALL, compiled_kernel())
        assert verdict.correct, verdict
        assert verdict.phases.build_s > 0


def test_a_fault_that_no_retry_mends_ends_with_the_limit_of_tries(
    local_modal: LocalModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PAUSE_S", 0.01)
    with open_evaluator(rented(), quick()) as evaluator:
        assert evaluator.evaluate(SMALL, softmax("once")).correct
        before = local_modal.inputs()["total"]
        local_modal.set_faults(lost_inputs_fail=True)
        future = evaluator.submit(SMALL, softmax("cursed", SLOW_S))
        for _ in range(calls.MOST_LOSSES):
            local_modal.kill(local_modal.wait_busy(60)["task_id"])
            busy = {c["task_id"] for c in local_modal.containers() if c["working_on"]}
            assert soon(
                lambda busy=busy: not busy & {c["task_id"] for c in local_modal.containers()}
            )
        verdict = future.result(timeout=60)
        assert verdict.status is Status.INFRASTRUCTURE_ERROR
        assert "lost within Modal" in verdict.reasons[0]
        assert local_modal.inputs()["total"] - before == calls.MOST_LOSSES
