"""Judging in containers: warm, paid for by their life, and gone with the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kernels import TASK, compiled_kernel, quick
from rented import opened, rented, softmax, unguarded  # noqa: F401

from kbexp.config import EvaluatorConfig
from kbexp.errors import EvaluatorUnavailable, TaskError
from kbexp.evaluation import open_evaluator
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
    assert modal_session.containers() == []


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
    judge = next(f for f in modal_session.functions() if "Judge" in f["function_name"])
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
    longer = quick(min_pairs=9, max_pairs=9)
    verdict = shared.submit(SMALL, softmax("settings"), longer).result()
    assert verdict.metrics["pairs"] == 9


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


def test_the_bill_runs_from_the_first_container_to_the_last(local_modal: LocalModal) -> None:
    evaluator = opened(idle_timeout_s=2)
    assert evaluator.billed_usd == 0
    with evaluator:
        evaluator.evaluate(SMALL, softmax("bill"))
        during = evaluator.billed_usd
    assert local_modal.wait_containers(0) == []
    (container,) = local_modal.containers(live=False)[-1:]
    lived_s = container["ended_at"] - container["started_at"]
    assert 0 < during < evaluator.billed_usd == evaluator.billed_usd
    # At one cent a second: within what the way there and back takes.
    assert evaluator.billed_usd == pytest.approx(0.01 * lived_s, abs=0.03)


def test_several_containers_are_all_fed(local_modal: LocalModal) -> None:
    with opened(count=2) as evaluator:
        assert evaluator.parallel == 2
        futures = [evaluator.submit(SMALL, softmax(n, wait_s=0.05)) for n in range(6)]
        verdicts = [future.result() for future in futures]
    assert all(verdict.correct for verdict in verdicts)
    assert len({verdict.environment["container"] for verdict in verdicts}) == 2


def test_closing_cancels_what_waits_and_leaves_no_container(local_modal: LocalModal) -> None:
    with opened() as evaluator:
        evaluator.evaluate(SMALL, softmax("first"))
        running = evaluator.submit(SMALL, softmax("running", wait_s=0.3))
        waiting = evaluator.submit(SMALL, softmax("waiting"))
        local_modal.wait_busy()
    assert waiting.cancelled()
    with pytest.raises(EvaluatorUnavailable, match="closed"):
        running.result(timeout=30)
    assert local_modal.wait_containers(0) == []


def test_a_deployed_app_stays_warm_between_evaluators(
    local_modal: LocalModal, command_line: Any
) -> None:
    env = local_modal.environment
    made = command_line("scripts/deploy.py", "gpu=modal_cpu", env=env)
    assert (made.returncode, made.stderr) == (0, "")
    assert "kbexp-modal-cpu" in made.stdout
    settings = rented(deployed=True)
    seen = []
    for _ in range(2):
        with open_evaluator(settings, quick()) as evaluator:
            verdict = evaluator.evaluate(SMALL, softmax("deployed"))
            seen.append(verdict.environment["container"])
    assert len(set(seen)) == 1
    assert [c["task_id"] for c in local_modal.containers()] == seen[:1]

    # What nobody waits for is dropped, and the container judges on.
    with open_evaluator(settings, quick()) as evaluator:
        evaluator.submit(SMALL, softmax("dropped", wait_s=0.5))
        local_modal.wait_busy()
    with open_evaluator(settings, quick()) as evaluator:
        assert evaluator.evaluate(SMALL, softmax("next")).environment["container"] == seen[0]

    listed = command_line("scripts/deploy.py", "action=list", env=env)
    assert "gpu=modal_cpu: kbexp-modal-cpu" in listed.stdout
    assert "1 containers" in listed.stdout
    stopped = command_line("scripts/deploy.py", "gpu=modal_cpu", "action=stop", env=env)
    assert stopped.returncode == 0
    assert local_modal.wait_containers(0) == []
    with (
        open_evaluator(settings, quick()) as evaluator,
        pytest.raises(EvaluatorUnavailable, match=r"scripts/deploy\.py gpu=modal_cpu"),
    ):
        evaluator.evaluate(SMALL, softmax("gone"))


def test_an_app_of_another_version_is_refused(
    local_modal: LocalModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kbexp.evaluation.modal.deployed import deploy, stop

    deploy(rented(), EvaluatorConfig(name="standard"))
    monkeypatch.setattr("kbexp.evaluation.modal.arguments.sources_fingerprint", lambda: "another")
    with (
        open_evaluator(rented(deployed=True), quick()) as evaluator,
        pytest.raises(EvaluatorUnavailable, match=r"another version .* scripts/deploy\.py"),
    ):
        evaluator.evaluate(SMALL, softmax("old"))
    assert stop(rented())


def test_keys_stay_with_the_client(
    local_modal: LocalModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-that-must-appear-nowhere")
    looks = softmax("looks").source.replace(
        "time.sleep(0.0)", "assert 'MODAL' not in str(__import__('os').environ)"
    )
    with opened() as evaluator:
        verdict = evaluator.evaluate(SMALL, Kernel(looks))
        (container,) = local_modal.containers()
        environ = Path(f"/proc/{container['pid']}/environ").read_text()
    assert verdict.correct, verdict
    assert "sk-that-must-appear-nowhere" not in environ
    assert local_modal.environment["MODAL_TOKEN_SECRET"] not in environ
    assert "KBEXP_BUILDS=/builds" in environ
