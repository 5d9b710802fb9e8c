"""The table of a sweep: also of runs that were refused, and of those that never began."""

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

from kbexp.app.folders import Before


def test_only_what_was_written_since_is_taken_back(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    before = Before.of(folder)
    (folder / ".hydra").mkdir(parents=True)
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (folder / ".hydra" / name).touch()
    (folder / "run.log").touch()
    (folder / "result.json").touch()
    before.take_back()
    assert len(list(folder.rglob("*"))) == 6  # A run was here.
    (folder / "result.json").unlink()
    (tmp_path / "a" / "other").touch()
    before.take_back()
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "other"]

    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "mine").touch()
    (folder / "run.log").touch()
    before.take_back()
    assert [path.name for path in folder.rglob("*")] == [".hydra", "mine"]


def test_a_run_of_a_sweep_takes_no_folder_of_another_with_it(tmp_path: Path) -> None:
    sweep = Before.of(tmp_path)
    assert sweep.within(tmp_path) is None
    assert sweep.within(tmp_path.parent / "other") is None
    one = sweep.within(tmp_path / "a" / "0")
    assert one is not None
    assert one.missing == (tmp_path / "a" / "0", tmp_path / "a")


@pytest.fixture(scope="module")
def interrupted(
    tmp_path_factory: pytest.TempPathFactory, repository: Path, small_run: list[str]
) -> subprocess.CompletedProcess[str]:
    """A sweep of which the first run is refused and the second is told to stop once it began."""
    folder = tmp_path_factory.mktemp("interrupted")
    settings = [*small_run, "algorithm.num_steps=-1,1000", "seed=range(5,7)", "budget=none"]
    command = [sys.executable, str(repository / "run.py"), "-m", *settings, "hydra.sweep.dir=S"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while not any(folder.glob("S/2_*/journal.jsonl")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    return subprocess.CompletedProcess([str(folder)], process.returncode, output, errors)


def test_a_sweep_that_was_interrupted_names_what_never_began(interrupted: Any) -> None:
    assert interrupted.returncode == 130
    sweep = Path(interrupted.args[0]) / "S"
    runs = json.loads((sweep / "comparison.json").read_text())["runs"]
    assert [run["state"] for run in runs] == ["refused", "refused", "stopped", "not begun"]
    assert [run["seed"] for run in runs] == [5, 6, 5, 6]
    assert {(run["task"], run["gpu"], run["llm"]) for run in runs} == {
        ("softmax", "cpu", "offline")
    }
    assert [bool(run["folder"]) for run in runs] == [False, False, True, False]
    assert "num_steps is -1" in runs[0]["reason"]
    lines = interrupted.stdout.splitlines()
    (never,) = (line for line in lines if " not begun " in line)
    assert never.endswith("3 algorithm.num_steps=1000 seed=6")
    assert [path.name[0] for path in sweep.iterdir() if path.is_dir()] == ["2"]


def test_the_line_for_going_on_with_a_run_of_a_sweep_works(interrupted: Any) -> None:
    (line,) = (one for one in interrupted.stdout.splitlines() if one.startswith("go on:"))
    command = line.removeprefix("go on:").split()
    assert command[1] == "run.py"
    folder = Path(interrupted.args[0])
    repository = Path(__file__).parents[2]
    with subprocess.Popen(
        [command[0], str(repository / "run.py"), *command[2:]],
        cwd=folder, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        journal = next(folder.glob("S/2_*/journal.jsonl"))
        deadline = time.monotonic() + 120
        while journal.read_text().count('"event": "run_started"') < 2 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert journal.read_text().count('"event": "run_started"') == 2
