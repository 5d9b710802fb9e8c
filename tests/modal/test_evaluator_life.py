"""Containers are paid for by their life, stay where that is asked for, and end with the run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kernels import TASK, quick
from rented import busy, opened, rented, softmax, unguarded  # noqa: F401

from kbexp.config import EvaluatorConfig
from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation import open_evaluator
from kbexp.evaluation.modal.evaluator import BETWEEN_BILLS_S
from kbexp.evaluation.modal.ledger import GRACE_S, SILENCE_S
from kbexp.kernel import Kernel
from kbexp.task import Task

if TYPE_CHECKING:
    from local_modal import LocalModal

SMALL = Task("small", TASK)
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("unguarded")]


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
    # At one cent a second: no less than it lived, with what is not known counted for it.
    assert evaluator.billed_usd >= 0.01 * lived_s
    assert evaluator.left_usd == 0


def test_a_bill_says_what_would_be_left_if_the_client_died(local_modal: LocalModal) -> None:
    with opened() as evaluator:
        evaluator.evaluate(SMALL, softmax("left"))
        assert evaluator.left_usd == pytest.approx(0.01 * (BETWEEN_BILLS_S + SILENCE_S + GRACE_S))


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
        busy(local_modal)
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
    settings = rented(deployed=True, count=3)
    seen, said = [], list[str]()
    for _ in range(2):
        with open_evaluator(settings, quick(), said.append) as evaluator:
            verdict = evaluator.evaluate(SMALL, softmax("deployed"))
            seen.append(verdict.environment["container"])
    assert "has gpu.count=1" in said[0]
    assert "and not gpu.count=3" in said[0]
    assert "stay warm for 600 s" in said[-1]
    assert len(set(seen)) == 1
    assert [c["task_id"] for c in local_modal.containers()] == seen[:1]

    # What nobody waits for is dropped, and the container judges on.
    with open_evaluator(settings, quick()) as evaluator:
        evaluator.submit(SMALL, softmax("dropped", wait_s=0.5))
        busy(local_modal)
    with open_evaluator(settings, quick()) as evaluator:
        assert evaluator.evaluate(SMALL, softmax("next")).environment["container"] == seen[0]

    listed = command_line("scripts/deploy.py", "action=list", env=env)
    assert "gpu=modal_cpu: kbexp-modal-cpu" in listed.stdout
    assert "1 container\n" in listed.stdout
    more = command_line("scripts/deploy.py", "gpu=modal_cpu", "gpu.count=2", env=env)
    assert "gpu.count was 1 and is 2 now." in more.stdout
    unnamed = command_line("scripts/deploy.py", env=env)
    assert (unnamed.returncode, unnamed.stdout) == (2, "")
    assert "No device is named" in unnamed.stderr
    stopped = command_line("scripts/deploy.py", "gpu=modal_cpu", "action=stop", env=env)
    assert stopped.returncode == 0
    listed = command_line("scripts/deploy.py", "action=list", env=env)
    assert listed.stdout == "Nothing is deployed.\n"
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
