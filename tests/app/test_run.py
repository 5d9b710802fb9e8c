"""Whole runs, as a person starts them, with a real evaluator and a model server on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kbexp.app.standalone import kernel_text
from kbexp.kernel import text_id

KEY = "sk-that-must-appear-nowhere"
SMALL = [
    "debug=default",
    "task=softmax",
    "task.sizes.rows=64",
    "task.sizes.cols=128",
    "evaluator.timing_s=0.2",
    "logger=none",
]


def result_of(folder: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return record


def events_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def test_a_run_leaves_a_result_and_a_kernel_that_runs_alone(
    command_line, model_server, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [*SMALL, *model_server.settings(), "seed=7", f"hydra.run.dir={run}"]
    arguments.append("logger=mlflow")
    done = command_line("run.py", *arguments, env={"SCRIPTED_KEY": KEY})
    assert done.returncode == 0, done.stderr
    result = result_of(run)
    assert (result["schema"], result["state"], result["seed"]) == (1, "complete", 7)
    assert (result["task"], result["gpu"], result["algorithm"]) == ("softmax", "cpu", "ps")
    counts = result["counts"]
    assert counts["evaluations"] == counts["correct"] == 4
    assert counts["proposals"] == 3
    assert result["cost"]["llm_usd"] == pytest.approx(3 * (1000 + 2 * 100) / 1e6)
    assert result["cost"]["input_tokens"] == 3000
    assert 0 < result["wall_s"] < 120
    assert {"python", "torch", "kbexp", "platform", "cpu"} <= set(result["environment"])

    best = result["best"]
    assert best["speedup_low"] <= best["speedup"] <= best["speedup_high"]
    source = kernel_text((run / "best_kernel.py").read_text())
    assert text_id(source) == best["kernel_id"]
    verdicts = [e for e in events_of(run) if e["event"] == "verdict"]
    assert best["speedup"] == max(v["speedup"] for v in verdicts)

    assert "run" in done.stdout
    assert "best_kernel.py" in done.stdout
    alone = subprocess.run(
        [sys.executable, "best_kernel.py"],
        cwd=run,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.startswith("correct")

    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in written if KEY in path.read_text(errors="replace")]
    assert KEY not in done.stdout + done.stderr


def test_one_bad_run_of_a_sweep_leaves_the_others_alone(
    command_line, model_server, tmp_path: Path
) -> None:
    arguments = ["-m", *SMALL, *model_server.settings(), "budget.evaluations=1"]
    arguments.append("algorithm.kind=none,priority")
    done = command_line("run.py", *arguments, env={"SCRIPTED_KEY": KEY})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    found = {
        path.parent.name: result_of(path.parent)
        for path in (tmp_path / "outputs" / "sweeps").rglob("result.json")
    }
    assert len(found) == 2
    states = {name.partition("_")[0]: result["state"] for name, result in found.items()}
    assert states == {"0": "failed", "1": "complete"}


def test_ctrl_c_stops_a_run_that_can_go_on_later(
    model_server, command_line, repository: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    arguments = [*SMALL, *model_server.settings(), f"hydra.run.dir={run}"]
    assert interrupted(repository, tmp_path, arguments, model_server, signal.SIGINT) == 130
    before = result_of(run)
    assert (before["state"], before["counts"]["evaluations"]) == ("stopped", 1)
    assert events_of(run)[-1]["event"] == "run_ended"

    # Nothing is written into the folder of a run with other settings.
    files = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    for other in ("seed=5", "task.sizes.rows=32", "llm.api_key_env=NOT_THERE"):
        done = command_line("run.py", *arguments, other, env={"SCRIPTED_KEY": KEY})
        assert done.returncode in (2, 3)
        assert len(done.stderr.strip().splitlines()) == 1
    assert files == {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}

    model_server.gate.set()
    done = command_line("run.py", *arguments, env={"SCRIPTED_KEY": KEY})
    assert done.returncode == 0, done.stderr
    after = result_of(run)
    assert (after["state"], after["counts"]["evaluations"]) == ("complete", 4)
    assert after["wall_s"] > before["wall_s"]
    begun = [e["kernel_id"] for e in events_of(run) if e["event"] == "evaluation_begun"]
    assert len(begun) == len(set(begun))


def test_sigterm_stops_a_run_in_order(model_server, repository: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, *model_server.settings(), f"hydra.run.dir={tmp_path}/r"]
    assert interrupted(repository, tmp_path, arguments, model_server, signal.SIGTERM) == 143
    assert result_of(tmp_path / "r")["state"] == "stopped"


def interrupted(
    repository: Path, folder: Path, arguments: list[str], model_server, number: int
) -> int:
    """Signal a run while its first call to the model hangs; return its exit code."""
    model_server.gate.clear()
    command = [sys.executable, str(repository / "run.py"), *arguments]
    environment = os.environ | {"SCRIPTED_KEY": KEY}
    output = (folder / "output").open("w")
    with (
        output,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        wait_for(lambda: model_server.requests or process.poll() is not None)
        process.send_signal(number)
        return process.wait(60)


def wait_for(condition, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_missing_key_costs_nothing_and_is_named(command_line, model_server, tmp_path) -> None:
    done = command_line("run.py", *SMALL, *model_server.settings(), f"hydra.run.dir={tmp_path}/r")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert "SCRIPTED_KEY" in done.stderr
    assert not model_server.requests
    result = result_of(tmp_path / "r")
    assert (result["state"], result["best"]) == ("failed", None)
    assert "SCRIPTED_KEY" in result["reason"]


def test_a_key_that_is_refused_ends_the_run_with_what_it_has(
    command_line, model_server, tmp_path: Path
) -> None:
    model_server.answer = lambda _: (401, "Incorrect API key provided")
    arguments = [*SMALL, *model_server.settings(), f"hydra.run.dir={tmp_path}/r"]
    done = command_line("run.py", *arguments, env={"SCRIPTED_KEY": KEY})
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    result = result_of(tmp_path / "r")
    assert result["state"] == "failed"
    assert result["counts"]["evaluations"] == 1
    assert result["best"] is not None


@pytest.mark.parametrize(
    ("setting", "code"),
    [("gpu=h100", 4), ("llm.language=cuda_inline", 2), ("algorithm.num_steps=-1", 2)],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    command_line, tmp_path: Path, setting: str, code: int
) -> None:
    done = command_line("run.py", setting, f"hydra.run.dir={tmp_path}/r")
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
    assert result_of(tmp_path / "r")["state"] == "failed"
    assert not (tmp_path / "r" / "journal.jsonl").exists()


@pytest.mark.parametrize("setting", ["+llm.extra.api_key=sk-1", "+llm.extra.access_token=x"])
def test_a_key_on_the_command_line_is_refused_and_not_written_down(
    command_line, tmp_path: Path, setting: str
) -> None:
    done = command_line("run.py", setting)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert list(tmp_path.iterdir()) == []
