"""What goes wrong at Modal ends in a verdict; none is lost, and none counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from kernels import TASK
from rented import SLOW_S, alive, busy, opened, softmax, soon, unguarded  # noqa: F401

from kbexp.evaluation.modal import calls
from kbexp.evaluation.modal.evaluator import ModalEvaluator
from kbexp.task import Task
from kbexp.verdict import Status

if TYPE_CHECKING:
    from local_modal import LocalModal

SMALL = Task("small", TASK)
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("unguarded")]


@pytest.fixture(scope="module")
def lasting(modal_session: LocalModal) -> Iterator[ModalEvaluator]:
    """An evaluator that everything here happens to, one after the other."""
    modal_session.reset()
    with opened() as evaluator:
        assert evaluator.evaluate(SMALL, softmax("first")).correct
        yield evaluator
    assert modal_session.wait_containers(0) == []
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


def judged_despite(
    evaluator: ModalEvaluator,
    modal: LocalModal,
    mark: str,
    happen: Any,
    slow_s: float = SLOW_S,
) -> tuple[str, str]:
    """Judge a kernel to which something happens; the containers before and after."""
    future = evaluator.submit(SMALL, softmax(mark, slow_s))
    before = str(busy(modal)["task_id"])
    inputs = modal.inputs()["total"]
    happen(before)
    verdict = future.result(timeout=90)
    assert verdict.correct, verdict
    assert verdict.kernel_id == softmax(mark, slow_s).id
    assert modal.inputs()["total"] >= inputs
    return before, verdict.environment["container"]


def test_a_container_that_is_killed(lasting: ModalEvaluator, modal: LocalModal) -> None:
    before, after = judged_despite(lasting, modal, "killed", modal.kill)
    assert before != after


def test_a_container_that_is_preempted(lasting: ModalEvaluator, modal: LocalModal) -> None:
    # Slow enough to be under way when a busy machine gets round to the signal.
    before, after = judged_despite(lasting, modal, "preempted", modal.preempt, 4 * SLOW_S)
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
