"""Judging in a warm container: the same worker, verdicts and walls as anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kernels import TASK, compiled_kernel, quick
from rented import opened, rented, softmax, unguarded  # noqa: F401

from kbexp.config import Policy
from kbexp.errors import TaskError
from kbexp.evaluation.modal.arguments import sources_fingerprint
from kbexp.evaluation.modal.evaluator import ModalEvaluator
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Status

if TYPE_CHECKING:
    from local_modal import LocalModal

SMALL = Task("small", TASK)
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("unguarded")]


@pytest.fixture(scope="module")
def shared(modal_session: LocalModal) -> Iterator[ModalEvaluator]:
    """An evaluator with a builder, for tests that leave it as it is."""
    modal_session.reset()
    with opened(builders=1) as evaluator:
        yield evaluator
    assert modal_session.wait_containers(0) == []


def test_one_container_is_warm_for_all_evaluations(
    shared: ModalEvaluator, modal_session: LocalModal
) -> None:
    verdicts = shared.evaluate_batch(SMALL, [softmax(number) for number in range(3)])
    assert all(verdict.correct for verdict in verdicts)
    assert [verdict.kernel_id for verdict in verdicts] == [softmax(n).id for n in range(3)]
    assert len({verdict.environment["container"] for verdict in verdicts}) == 1
    starts = [float(v.environment.get("container_start_s", 0)) for v in verdicts]
    assert starts[0] > 0 == starts[1] == starts[2]
    assert shared.device == verdicts[0].device
    assert verdicts[0].isolation
    assert verdicts[0].metrics["bytes"] > 0
    (container,) = modal_session.containers()
    assert container["task_id"] == verdicts[0].environment["container"]
    (report,) = shared.reports
    assert (report.judged, report.sources) == (3, sources_fingerprint())


def test_the_container_holds_what_was_shipped_and_no_more(
    shared: ModalEvaluator, modal_session: LocalModal
) -> None:
    shared.evaluate(SMALL, softmax("shipped"))
    commands = [line for layer in modal_session.images() for line in layer]
    text = "\n".join(commands)
    assert "torch==2.13.0" in text
    assert "build-essential" in text
    for function in modal_session.functions():
        assert function.get("secret_ids", []) == []
        assert not function.get("gpu_config", function.get("resources", {}).get("gpu_config"))
    (report,) = shared.reports  # Its fingerprint is that of files in the mount.
    assert report.sources == sources_fingerprint()


def test_what_is_asked_of_modal_is_what_the_settings_say(
    shared: ModalEvaluator, modal_session: LocalModal
) -> None:
    shared.evaluate(SMALL, softmax("asked"))
    alive = {container["function_id"] for container in modal_session.containers()}
    (judge,) = (
        function
        for function in modal_session.functions()
        if "Judge" in function["function_name"] and function["function_id"] in alive
    )
    assert judge["block_network"] is True
    assert judge["untrusted"] is True
    scaling = judge["autoscaler_settings"]
    assert (scaling["min_containers"], scaling["max_containers"]) == (1, 1)
    assert scaling["scaledown_window"] == 600
    assert judge["volume_mounts"][0]["read_only"] is True


def test_verdicts_are_those_of_any_other_evaluator(shared: ModalEvaluator) -> None:
    broken = softmax(0).source.replace("torch.softmax(x", "torch.softmax(2 * x")
    verdict = shared.evaluate(SMALL, Kernel(broken))
    assert verdict.status is Status.INCORRECT
    assert verdict.reasons
    with pytest.raises(TaskError, match="broken"):
        shared.evaluate(Task("broken", "raise SystemExit"), softmax(0))


def test_settings_of_one_evaluation_reach_the_container(shared: ModalEvaluator) -> None:
    strict = quick(policy=Policy.no_library)
    verdict = shared.submit(SMALL, softmax("settings"), strict).result()
    assert verdict.status is Status.REJECTED
    assert shared.evaluate(SMALL, softmax("settings")).correct


def test_an_extension_is_compiled_where_no_device_waits(
    shared: ModalEvaluator, modal_session: LocalModal
) -> None:
    verdict = shared.evaluate(SMALL, compiled_kernel())
    assert verdict.correct, verdict
    functions = {f["function_id"]: f["function_name"] for f in modal_session.functions()}
    builders = [
        c for c in modal_session.containers(live=False)
        if functions[c["function_id"]].startswith("Builder") and c["live"]
    ]  # fmt: skip
    assert len(builders) == 1
    (volume,) = modal_session.volumes()
    assert volume["commits"] >= 1
    assert [p.name for p in Path(volume["folder"]).iterdir()] == [f"{compiled_kernel().id}.cpu"]
    judge = modal_session.output(verdict.environment["container"])
    assert "cannot be read again" not in judge

    broken = shared.evaluate(SMALL, compiled_kernel("this is no C;", "broken"))
    assert broken.status is Status.COMPILE_ERROR
    assert broken.device == shared.device
    assert broken.environment["container"] == builders[0]["task_id"]
