"""Whole runs on the local Modal, as a person starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rented import busy, soon

if TYPE_CHECKING:
    from local_modal import LocalModal

pytestmark = pytest.mark.timeout(240)

SMALL = [
    "gpu=modal_cpu", "debug=default", "task=softmax", "task.sizes.rows=64", "task.sizes.cols=128",
    "evaluator.timing_s=0.2", "budget.wall_s=null", "logger=none", "verbose=false",
]  # fmt: skip


def events_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def result_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return record


@pytest.fixture
def start(start_program: Any, tmp_path: Path) -> Any:
    """Start a small run in this folder, as a person does."""

    def run(folder: Path, env: dict[str, str], *more: str) -> Any:
        return start_program(
            "run.py", *SMALL, *more, f"hydra.run.dir={folder}", cwd=tmp_path, env=env, run=True
        )

    return run


def test_a_search_runs_in_one_warm_container_and_says_what_it_cost(
    local_modal: LocalModal, command_line: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = command_line(
        "run.py", *SMALL, f"hydra.run.dir={run}", env=local_modal.environment, run=True
    )
    assert done.returncode == 0, done.stderr
    assert "gpu=modal_cpu costs $" in done.stderr
    events = events_of(run)
    kinds = [event["event"] for event in events]
    assert kinds.index("device_ready") < kinds.index("evaluation_begun")
    judged = [e for e in events if e["event"] in ("verdict", "confirmed")]
    builders = {
        f["function_id"] for f in local_modal.functions()
        if f["function_name"].startswith("Builder")
    }  # fmt: skip
    judges = {
        c["task_id"] for c in local_modal.containers(live=False)
        if c["function_id"] not in builders
    }  # fmt: skip
    containers = {e["environment"]["container"] for e in judged if e["status"] == "correct"}
    assert len(containers) == 1
    assert containers <= judges

    result = result_of(run)
    assert (result["state"], result["gpu"]) == ("complete", "modal_cpu")
    assert result["counts"]["evaluations"] == 4
    assert result["best"]["confirmed"]["status"] == "correct"
    billed = sum(e["usd"] for e in events if e["event"] == "device_billed")
    assert result["cost"]["gpu_usd"] == pytest.approx(billed)
    assert billed > 0
    assert "device $0.00" in done.stdout
    assert local_modal.wait_containers(0) == []


def test_a_sweep_over_devices_is_one_command(
    local_modal: LocalModal, command_line: Any, tmp_path: Path
) -> None:
    arguments = ["-m", *SMALL[1:], "gpu=modal_cpu,cpu", "budget.evaluations=1", "confirm.kernels=0"]
    done = command_line("run.py", *arguments, env=local_modal.environment, timeout_s=200, run=True)
    assert done.returncode == 0, done.stderr
    results = [json.loads(p.read_text()) for p in tmp_path.glob("outputs/sweeps/*/*/result.json")]
    assert {(r["gpu"], r["state"]) for r in results} == {
        ("modal_cpu", "complete"), ("cpu", "complete"),
    }  # fmt: skip
    assert {r["gpu"]: r["cost"]["gpu_usd"] > 0 for r in results} == {
        "modal_cpu": True,
        "cpu": False,
    }
    assert local_modal.wait_containers(0) == []


def test_a_run_that_is_stopped_leaves_no_container_and_goes_on(
    local_modal: LocalModal, start: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    env = local_modal.environment
    process = start(run, env, "budget.evaluations=3", "evaluator.timing_s=1")
    journal = run / "journal.jsonl"
    assert soon(lambda: journal.exists() and '"verdict"' in journal.read_text(), 90)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert local_modal.wait_containers(0) == []
    stopped = result_of(run)
    assert stopped["state"] == "stopped"
    assert stopped["cost"]["gpu_usd"] > 0

    again = start(run, env, "budget.evaluations=3", "confirm.kernels=0")
    _, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    finished = result_of(run)
    assert finished["state"] == "complete"
    assert finished["cost"]["gpu_usd"] > stopped["cost"]["gpu_usd"]
    kernels = [e["kernel_id"] for e in events_of(run) if e["event"] == "verdict"]
    assert len(kernels) == len(set(kernels))


def test_a_client_that_is_killed_leaves_no_container(
    local_modal: LocalModal, start: Any, tmp_path: Path
) -> None:
    local_modal.set_faults(heartbeat_timeout_s=3.0, grace_s=0.5)
    env = local_modal.environment | {"MODAL_HEARTBEAT_INTERVAL": "1"}
    process = start(tmp_path / "run", env, "budget.evaluations=50")
    busy(local_modal)
    process.kill()
    process.communicate()
    assert soon(lambda: local_modal.containers() == [], 60)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""}, "modal token new"),
        (
            {"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": "", "MODAL_PROFILE": "nowhere"},
            "MODAL_PROFILE",
        ),
    ],
)
def test_no_token_or_profile_is_one_sentence(
    local_modal: LocalModal, command_line: Any, env: dict[str, str], said: str
) -> None:
    done = command_line(
        "scripts/check_evaluator.py", "gpu=modal_cpu", env=local_modal.environment | env
    )
    assert done.returncode == 4
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_failed_start_is_exit_code_4(local_modal: LocalModal, command_line: Any) -> None:
    local_modal.fail_images("pip could not find torch==9.9")
    done = command_line("scripts/check_evaluator.py", "gpu=modal_cpu", env=local_modal.environment)
    assert done.returncode == 4
    assert "torch==9.9" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_it_is_said_that_a_connection_is_being_tried(
    local_modal: LocalModal, repository: Path, tmp_path: Path
) -> None:
    env = local_modal.environment | {"MODAL_SERVER_URL": "http://127.0.0.1:9"}
    command = [sys.executable, str(repository / "scripts/check_evaluator.py"), "gpu=modal_cpu"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | env, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stderr is not None
    first = process.stderr.readline()
    process.kill()
    process.communicate()
    assert "has not answered yet" in first


def test_the_next_session_counts_what_a_killed_one_left_running(
    local_modal: LocalModal, start: Any, tmp_path: Path
) -> None:
    local_modal.set_faults(heartbeat_timeout_s=3.0, grace_s=0.5)
    run = tmp_path / "run"
    env = local_modal.environment | {"MODAL_HEARTBEAT_INTERVAL": "1"}
    process = start(run, env, "budget.evaluations=3", "evaluator.timing_s=1")
    journal = run / "journal.jsonl"
    assert soon(lambda: journal.exists() and '"verdict"' in journal.read_text(), 90)
    process.kill()
    process.communicate()
    billed = [e for e in events_of(run) if e["event"] == "device_billed"]
    left = billed[-1]["left_usd"]
    assert left > 0
    assert soon(lambda: local_modal.containers() == [], 60)
    again = start(run, env, "budget.evaluations=3", "confirm.kernels=0")
    _, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    events = events_of(run)
    began = [number for number, e in enumerate(events) if e["event"] == "run_started"][1]
    assert events[began + 1]["event"] == "device_billed"
    assert events[began + 1]["usd"] == pytest.approx(left)
    assert [e["left_usd"] for e in events if e["event"] == "device_billed"][-1] == 0
    lived_s = sum(c["ended_at"] - c["started_at"] for c in local_modal.containers(live=False))
    usd_per_s = 2 * 0.0000131 + 8 * 0.00000222
    assert result_of(run)["cost"]["gpu_usd"] >= lived_s * usd_per_s * 0.99


def test_settings_of_modal_that_cannot_be_read_are_one_sentence(
    command_line: Any, tmp_path: Path
) -> None:
    settings = tmp_path / "modal.toml"
    settings.write_text("[default\ntoken_id = ")
    for script, action in (("check_evaluator", []), ("deploy", ["action=stop"])):
        done = command_line(
            f"scripts/{script}.py",
            "gpu=modal_cpu",
            *action,
            env={"MODAL_CONFIG_PATH": str(settings)},
        )
        assert done.returncode == 4
        assert str(settings) in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_what_the_budget_does_not_pay_for_is_refused_before_anything_is_rented(
    local_modal: LocalModal, command_line: Any, tmp_path: Path
) -> None:
    done = command_line(
        "run.py", *SMALL, "budget.gpu_usd=0", f"hydra.run.dir={tmp_path / 'run'}",
        env=local_modal.environment,
    )  # fmt: skip
    assert done.returncode == 2
    assert "does not pay for a start" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert local_modal.record()["requests"] == {}


@pytest.mark.parametrize("setting", ["gpu.count=2", "gpu.deployed=true"])
def test_what_is_for_rented_devices_only_is_refused_elsewhere(
    command_line: Any, setting: str
) -> None:
    done = command_line("run.py", "gpu=cpu", setting, "logger=none")
    assert done.returncode == 2
    assert setting in done.stderr
    assert len(done.stderr.splitlines()) == 1
