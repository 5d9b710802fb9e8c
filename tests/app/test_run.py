"""Whole runs, as a person starts them, with a real evaluator and a model server on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kbexp.app.standalone import kernel_text
from kbexp.kernel import text_id

KEY = "sk-that-must-appear-nowhere"

BAD_TASK = """
import torch


class Model(torch.nn.Module):
    def forward(self, x):
        return torch.no_such_function(x)


def get_inputs():
    return [torch.rand(4, 4)]


def get_init_inputs():
    return []
"""


def test_a_run_leaves_a_result(sweep: Any, result_of: Any, events_of: Any) -> None:
    run = sweep.run(1)
    result = result_of(run)
    assert (result["schema"], result["state"], result["seed"]) == (2, "complete", 7)
    assert (result["task"], result["gpu"], result["algorithm"]) == ("softmax", "cpu", "ps")
    counts = result["counts"]
    assert counts["evaluations"] == counts["correct"] == 4
    assert counts["proposals"] == 3
    assert result["cost"]["llm_usd"] == pytest.approx(3 * (1000 + 2 * 100) / 1e6)
    assert result["cost"]["input_tokens"] == 3000
    assert 0 < result["wall_s"] < 120
    assert {"python", "torch", "kbexp", "platform", "cpu"} <= set(result["environment"])
    assert result["notes"] == []

    best = result["best"]
    assert best["speedup_low"] <= best["speedup"] <= best["speedup_high"]
    source = kernel_text((run / "best_kernel.py").read_text())
    assert text_id(source) == best["kernel_id"]
    verdicts = [e for e in events_of(run) if e["event"] == "verdict"]
    assert best["speedup"] in [v["speedup"] for v in verdicts]
    # The clock of the budget starts when kernels can be judged.
    assert [e["event"] for e in events_of(run)][:3] == [
        "run_started", "device_ready", "evaluation_begun"
    ]  # fmt: skip
    assert "best_kernel.py" in sweep.stdout


def test_the_best_kernels_of_a_run_are_judged_again(
    sweep: Any, result_of: Any, events_of: Any
) -> None:
    events = events_of(sweep.run(1))
    searched = {e["kernel_id"]: e["speedup"] for e in events if e["event"] == "verdict"}
    again = [e for e in events if e["event"] == "confirmed"]
    own = {e["kernel_id"]: e for e in again if not e["sizes"]}
    assert len(own) == 2
    assert sorted(searched.values())[-2:] == sorted(searched[kernel_id] for kernel_id in own)
    assert {e["kernel_id"] for e in again if e["sizes"] == {"rows": 32}} == set(own)
    assert len(again) == 4
    order = [e["event"] for e in events]
    assert order.index("confirmation_begun") > max(
        place for place, kind in enumerate(order) if kind == "verdict"
    )
    assert order[-1] == "run_ended"

    result = result_of(sweep.run(1))
    best = result["best"]
    confirmed = own[best["kernel_id"]]
    assert confirmed["speedup"] == max(e["speedup"] for e in own.values())
    for name in ("speedup", "speedup_low", "speedup_high", "time_ms", "reference_ms", "status"):
        assert best["confirmed"][name] == confirmed[name]
    assert best["speedup"] == searched[best["kernel_id"]]
    assert best["shrunk"] == pytest.approx(1 - confirmed["speedup"] / best["speedup"])
    assert best["score"] == confirmed["speedup"]
    told = [(c["kernel_id"], c["sizes"], c["speedup"]) for c in result["confirmations"]]
    assert told == [(e["kernel_id"], e["sizes"], e["speedup"]) for e in again]
    assert result["baselines"] == {"eager": {"time_ms": confirmed["reference_ms"]}}
    assert result["counts"]["evaluations"] == 4

    assert f"{confirmed['speedup']:.3g}x" in sweep.stdout
    assert "confirmed" in sweep.stdout
    assert f"{best['speedup']:.3g}x when searched" in sweep.stdout
    assert "with rows=32: " in sweep.stdout


def test_kernels_whose_turn_never_came_are_counted_and_noted(
    sweep: Any,
    command_line: Any,
    small_run: list[str],
    events_of: Any,
    result_of: Any,
    tmp_path: Path,
) -> None:
    # The journal ends where the first proposal has come, and no time is left.
    lines = (sweep.run(1) / "journal.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["event"] for line in lines]
    run = tmp_path / "run"
    run.mkdir()
    until = kinds.index("proposal_received") + 1
    (run / "journal.jsonl").write_text("\n".join(lines[:until]) + "\n")
    settings = [*small_run, "seed=7", "confirm.kernels=0", "budget.wall_s=0"]
    done = command_line("run.py", *settings, f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stderr
    result = result_of(run)
    assert (result["state"], result["counts"]["unjudged"]) == ("complete", 1)
    note = "1 kernel was not judged: the search ended before its turn."
    assert result["notes"] == [note]
    assert f"note:   {note}" in done.stdout
    assert note in [e["text"] for e in events_of(run) if e["event"] == "noted"]


def test_a_task_that_does_not_run_is_the_only_thing_that_is_said(
    command_line: Any, tmp_path: Path, small_run: list[str], result_of: Any
) -> None:
    (tmp_path / "bad.py").write_text(BAD_TASK)
    own = [word for word in small_run if not word.startswith("task")]
    task = ["task=file", "task.path=bad.py", "hydra.run.dir=run"]
    done = command_line("run.py", *own, *task)
    assert (done.returncode, done.stdout) == (2, "")
    *before, last = done.stderr.splitlines()
    assert last.startswith("Task bad: The task's reference does not run")
    assert not [line for line in before if "not judged" in line or "kernel yet" in line]
    assert "nothing was judged" in before[-1]
    result = result_of(tmp_path / "run")
    assert (result["state"], result["reason"], result["notes"]) == ("failed", last, [])


def test_the_best_kernel_runs_alone(sweep: Any) -> None:
    alone = subprocess.run(
        [sys.executable, "-I", "best_kernel.py"],
        cwd=sweep.run(1),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout.startswith("correct")


def test_one_bad_run_of_a_sweep_leaves_the_others_alone(sweep: Any, result_of: Any) -> None:
    assert sweep.returncode == 3
    assert "Traceback" not in sweep.stderr
    assert sweep.stderr.count("Run 0: ") == 1
    assert "Error executing job" not in sweep.stderr
    assert [result_of(sweep.run(number))["state"] for number in (0, 1)] == ["failed", "complete"]
    assert len(list(sweep.folder.glob("outputs/sweeps/*/*/result.json"))) == 2


def test_a_sweep_ends_with_a_table_of_its_runs(
    sweep: Any, result_of: Any, command_line: Any
) -> None:
    (folder,) = sweep.folder.glob("outputs/sweeps/*")
    runs = json.loads((folder / "comparison.json").read_text())["runs"]
    assert [run["state"] for run in runs] == ["failed", "complete"]
    best = result_of(sweep.run(1))["best"]
    assert runs[1]["speedup"] == best["confirmed"]["speedup"]
    assert (runs[1]["evaluations"], runs[1]["seed"], runs[1]["confirmed"]) == (4, 7, True)
    assert "comparison.md" in sweep.stdout.splitlines()[-1]
    page = (folder / "comparison.md").read_text()
    assert page.count("| softmax | cpu | ps |") >= 2
    again = command_line("scripts/compare.py", str(folder))
    assert again.returncode == 0
    assert re.search(r"softmax +cpu +ps +7 .* failed ", again.stdout)
    assert re.search(r"softmax +cpu +ps +7 .* complete ", again.stdout)


def test_a_key_that_is_refused_ends_the_run_with_what_it_has(sweep: Any, result_of: Any) -> None:
    result = result_of(sweep.run(0))
    assert result["state"] == "failed"
    assert result["counts"]["evaluations"] == 1
    assert result["best"]["confirmed"]["status"] == "correct"


def test_the_key_is_nowhere(sweep: Any) -> None:
    written = [path for path in sweep.folder.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in written)
    assert not [path for path in written if KEY in path.read_text(errors="replace")]
    assert KEY not in sweep.stdout + sweep.stderr


def test_a_missing_key_costs_nothing_and_is_named(
    command_line: Any, model_server: Any, small_run: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "r"
    done = command_line("run.py", *small_run, *model_server.settings(), f"hydra.run.dir={run}")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert "SCRIPTED_KEY" in done.stderr
    assert not model_server.requests
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("gpu=h100", 4),
        ("llm.language=cuda_inline", 2),
        ("algorithm.num_steps=-1", 2),
        ("confirm.kernels=-1", 2),
        ("task.confirm_sizes=[{nothing: 1}]", 2),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    command_line: Any, tmp_path: Path, setting: str, code: int
) -> None:
    # Whoever has a token of Modal's is not to use it here.
    none = {"MODAL_CONFIG_PATH": str(tmp_path / "none"), "MODAL_TOKEN_ID": "", "MODAL_PROFILE": ""}
    for folder in ([], [f"hydra.run.dir={tmp_path}/deep/r"]):
        done = command_line("run.py", setting, *folder, env=none)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, 1)
        assert list(tmp_path.iterdir()) == []


def test_what_lay_in_the_folder_of_a_refused_run_still_lies_there(
    command_line: Any, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    (mine / ".hydra").mkdir(parents=True)
    for path in (mine / "notes.txt", mine / ".hydra" / "config.yaml"):
        path.write_text("seed: 3\n")
    for setting in ("algorithm.num_steps=-1", "confirm.kernels=-1"):
        done = command_line("run.py", setting, f"hydra.run.dir={mine}")
        assert done.returncode == 2
        kept = sorted(str(p.relative_to(mine)) for p in mine.rglob("*") if p.is_file())
        assert kept == [".hydra/config.yaml", "notes.txt"]


def test_a_refused_run_of_a_sweep_is_one_sentence_and_no_folder(
    command_line: Any, tmp_path: Path
) -> None:
    done = command_line("run.py", "-m", "algorithm.num_steps=-1,-2", "seed=4", "gpu=cpu")
    told = [line for line in done.stderr.splitlines() if line.startswith("Run ")]
    assert (done.returncode, len(told)) == (2, 2)
    assert "Traceback" not in done.stderr
    assert "Error executing job" not in done.stderr
    assert "num_steps is -1" in told[0]
    assert "num_steps" not in done.stderr.splitlines()[-1].partition("num_steps is -2")[2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["+llm.extra.api_key=sk-1", "+llm.extra.access_token=x"])
def test_a_key_on_the_command_line_is_refused_and_not_written_down(
    command_line: Any, tmp_path: Path, setting: str
) -> None:
    done = command_line("run.py", setting)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert list(tmp_path.iterdir()) == []
