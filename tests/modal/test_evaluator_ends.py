"""What ends an evaluator at Modal ends it in one sentence, and leaves no container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kernels import TASK, compiled_kernel, quick
from rented import SLOW_S, alive, busy, opened, rented, softmax, soon, unguarded  # noqa: F401

from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation import open_evaluator
from kbexp.evaluation.modal import calls
from kbexp.task import Task
from kbexp.verdict import Status

if TYPE_CHECKING:
    from local_modal import LocalModal

SMALL = Task("small", TASK)
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("unguarded")]


def test_an_app_that_is_stopped_from_outside(local_modal: LocalModal) -> None:
    with opened() as evaluator:
        running = evaluator.submit(SMALL, softmax("stopped", SLOW_S))
        waiting = evaluator.submit(SMALL, softmax("waits"))
        local_modal.stop_app(busy(local_modal)["app_id"])
        for future in (running, waiting):
            with pytest.raises(EvaluatorUnavailable, match=r"from outside .* resume=FOLDER"):
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
    monkeypatch.setattr(calls, "MOST_LOSSES", 2)
    with open_evaluator(rented(), quick()) as evaluator:
        assert evaluator.evaluate(SMALL, softmax("once")).correct
        before = local_modal.inputs()["total"]
        local_modal.set_faults(lost_inputs_fail=True)
        future = evaluator.submit(SMALL, softmax("cursed", SLOW_S))
        for _ in range(2):
            name = busy(local_modal)["task_id"]
            local_modal.kill(name)
            assert soon(lambda name=name: name not in alive(local_modal))
        verdict = future.result(timeout=60)
        assert verdict.status is Status.INFRASTRUCTURE_ERROR
        assert "lost within Modal" in verdict.reasons[0]
        assert local_modal.inputs()["total"] - before == 2


def test_it_is_said_when_a_container_is_replaced_or_an_evaluation_tried_again(
    local_modal: LocalModal,
) -> None:
    said: list[str] = []
    with open_evaluator(rented(), quick(), said.append) as evaluator:
        evaluator.evaluate(SMALL, softmax("before"))
        future = evaluator.submit(SMALL, softmax("moved", SLOW_S))
        first = busy(local_modal)["task_id"]
        local_modal.kill(first)
        second = future.result(timeout=90).environment["container"]
        assert said == [f"Container {first} is gone; {second} has taken its place."]
        local_modal.set_faults(lost_inputs_fail=True)
        future = evaluator.submit(SMALL, softmax("again", SLOW_S))
        local_modal.kill(busy(local_modal)["task_id"])
        assert future.result(timeout=90).correct
    assert "It is tried again (2 of 4)." in said[1]


def test_a_result_that_the_service_does_not_take(
    local_modal: LocalModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Modal's client raises in the container then, and what of it reaches this side."""
    monkeypatch.setattr(calls, "PAUSE_S", 0.01)
    monkeypatch.setattr(calls, "MOST_LOSSES", 2)
    with open_evaluator(rented(), quick()) as evaluator:
        assert evaluator.evaluate(SMALL, softmax("small")).correct
        local_modal.set_faults(max_result_bytes=64)
        verdict = evaluator.evaluate(SMALL, softmax("large"))
        assert verdict.status is Status.INFRASTRUCTURE_ERROR
        assert "larger than the limit" in verdict.reasons[0]
        local_modal.set_faults(max_result_bytes=1 << 30)
        assert evaluator.evaluate(SMALL, softmax("small again")).correct
