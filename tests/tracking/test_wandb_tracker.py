"""Runs in W&B's offline mode, read back with its own inspector."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbexp.config import LoggerConfig
from kbexp.tracking import Journal, RunInfo, Tracker, trackers
from kbexp.tracking.lines import encode

pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B as on a new machine: no key, no settings, nothing of ours in the home folder."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home"))


def tracker(run: RunInfo, mode: str = "offline") -> Tracker:
    (only,) = trackers(LoggerConfig(name="w", console="off", wandb=True, wandb_mode=mode), run)
    return only


def records(run: RunInfo) -> list[dict[str, Any]]:
    (log,) = (run.folder / "wandb").glob("offline-run-*/*.wandb")
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", "--json", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_offline_run_lies_in_the_runs_folder(
    run_info: RunInfo, make_events: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    events = make_events()
    for part in (events[:8], events[8:]):  # Interrupted, then resumed.
        with Journal(run_info.journal, catch_up_s=60) as journal:
            journal.subscribe(tracker(run_info))
            for event in part:
                journal.append(event)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    found = records(run_info)  # One folder: the resumed run has replaced the first.
    history = [record["history"]["item"] for record in found if record["type"] == "history"]
    assert [item["_step"] for item in history] == [1, 2, 3]
    assert [item["best_speedup"] for item in history] == [1.0, 1.5, 1.5]
    assert history[1]["best_speedup_low"] == pytest.approx(1.4)
    assert history[-1]["llm_usd"] == 1.0
    text = json.dumps(found)
    assert "softmax" in text
    assert "NVIDIA H100" in text
    (files,) = (run_info.folder / "wandb").glob("offline-run-*/files")
    assert (files / "best_kernel.py").read_text() == "better"
    assert json.loads((files / "result.json").read_text())["state"] == "complete"
    assert (files / "journal.jsonl").read_bytes() == run_info.journal.read_bytes()


def test_no_key_reaches_wandb(run_info: RunInfo, make_events: Any) -> None:
    with Journal(run_info.journal, catch_up_s=60) as journal:
        journal.subscribe(tracker(run_info))
        journal.append(replace(make_events()[0], about={}))
    for path in (run_info.folder / "wandb").rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


def test_online_without_a_key_is_one_sentence_and_off(
    run_info: RunInfo, make_events: Any, tmp_path: Path
) -> None:
    (tmp_path / "source.jsonl").write_bytes(b"".join(encode(event) for event in make_events()))
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from kbexp.config import LoggerConfig\n"
        "from kbexp.tracking import Journal, RunInfo, read, trackers\n"
        "folder = Path(sys.argv[1])\n"
        "run = RunInfo(folder=folder, name='n', project='p', config={}, launch_dir=folder)\n"
        "logger = LoggerConfig(name='w', console='off', wandb=True, wandb_mode='online')\n"
        "with Journal(run.journal) as journal:\n"
        "    for tracker in trackers(logger, run):\n"
        "        journal.subscribe(tracker)\n"
        "    for event in read(folder / 'source.jsonl'):\n"
        "        journal.append(event)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "The tracker wandb failed and is off: W&B has no key that it can use;" in done.stderr
    assert not list((tmp_path / "wandb").glob("*run-*"))
