"""From the settings to trackers, and what importing them costs."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kbexp.config import LoggerConfig
from kbexp.errors import KbexpError
from kbexp.events import RunStarted
from kbexp.tracking import RunInfo, trackers
from kbexp.tracking.__main__ import main
from kbexp.tracking.build import resolve_uri
from kbexp.tracking.lines import encode
from kbexp.tracking.run_info import flatten

CONF = Path(__file__).parents[2] / "conf" / "logger"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", ["console"]),
        ("mlflow", ["console", "mlflow"]),
        ("wandb", ["console", "wandb"]),
        ("both", ["console", "mlflow", "wandb"]),
    ],
)
def test_every_choice_of_the_logger_group(
    name: str, expected: list[str], run_info: RunInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    loaded = OmegaConf.load(CONF / f"{name}.yaml")
    assert loaded.pop("defaults") == ["_logger", "_self_"]
    config = OmegaConf.merge(OmegaConf.structured(LoggerConfig), loaded)
    typed = OmegaConf.to_object(config)
    assert isinstance(typed, LoggerConfig)
    assert typed.name == name
    assert typed.wandb_mode == "offline"
    assert [tracker.name for tracker in trackers(typed, run_info)] == expected
    quiet = dataclasses.replace(typed, console="off", wandb_mode="disabled")
    assert [tracker.name for tracker in trackers(quiet, run_info)] == [
        tracker for tracker in expected if tracker == "mlflow"
    ]


def test_there_is_no_other_choice() -> None:
    assert {path.stem for path in CONF.iterdir()} == {"none", "mlflow", "wandb", "both"}


def test_a_setting_that_means_nothing(run_info: RunInfo) -> None:
    with pytest.raises(KbexpError, match=r"no logger.console=loud: choose one of auto,"):
        trackers(LoggerConfig(name="x", console="loud"), run_info)
    with pytest.raises(KbexpError, match=r"no logger.wandb_mode=on:"):
        trackers(LoggerConfig(name="x", wandb_mode="on"), run_info)


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        ("sqlite:///outputs/mlflow.db", "sqlite:////launch/outputs/mlflow.db"),
        ("sqlite:////elsewhere/mlflow.db", "sqlite:////elsewhere/mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
    ],
)
def test_relative_stores_lie_where_the_program_was_started(uri: str, resolved: str) -> None:
    assert resolve_uri(uri, Path("/launch")) == resolved


def test_importing_the_room_loads_no_tracker() -> None:
    program = (
        "import sys, kbexp.tracking\n"
        "heavy = {'rich', 'mlflow', 'wandb', 'torch', 'hydra', 'omegaconf', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_config_is_flattened() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [1, None], "e": "x", "f": None, "g": True}) == {
        "a.b": "1",
        "a.c": "{}",
        "d": "[1, null]",
        "e": "x",
        "f": "null",
        "g": "true",
    }


def test_the_journal_tells_what_the_run_was(run_info: RunInfo, make_events: Any) -> None:
    first = make_events()[0]
    assert isinstance(first, RunStarted)
    told = RunInfo.of_journal(run_info.journal, first.about, run_info.launch_dir)
    assert told.name == "softmax-ps-3"
    assert told.project == "kbexp-tests"
    assert told.config == run_info.config
    assert told.budget.evaluations == 10
    assert told.summary().gpu_usd_per_s == 0.001


def test_a_journal_is_printed_again(
    run_info: RunInfo, make_events: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run_info.journal.write_bytes(b"".join(encode(event) for event in make_events()))
    assert main([str(run_info.folder)]) == 0
    captured = capsys.readouterr()
    assert "run complete: All steps are done." in captured.out
    assert captured.err == ""


def test_a_journal_that_cannot_be_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "journal.jsonl").write_bytes(b"")
    assert main([str(tmp_path)]) == 2
    assert main([str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "is empty; there is nothing to replay" in error
    assert "cannot be read: No such file" in error
