"""Baselines kept between runs: found again where all is the same, and never believed blindly."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbexp.app import baseline_cache
from kbexp.app.baseline_cache import BaselineCache, default_folder
from kbexp.config import EvaluatorConfig
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Interval, Phase, Status, Verdict

TASK, KERNEL, SETTINGS = Task("t", "x = 1"), Kernel("k"), EvaluatorConfig(name="e")
VERDICT = Verdict(
    kernel_id=KERNEL.id,
    task_id=TASK.id,
    status=Status.CORRECT,
    phase=Phase.TIMING,
    device="a device",
    isolation="process",
    speedup=Interval(2.0, 1.5, 2.5),
    time_ms=Interval(1.0, 0.9, 1.1),
    reference_ms=Interval(2.0, 1.9, 2.1),
    environment={"torch": "2.13", "temperature": "71"},
)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    BaselineCache(tmp_path / "new" / "folder").keep(TASK, KERNEL, VERDICT, SETTINGS)
    (file,) = (tmp_path / "new" / "folder").iterdir()
    return file


def found(file: Path, **more: Any) -> Verdict | None:
    values = {"task": TASK, "kernel": KERNEL, "like": VERDICT, "settings": SETTINGS} | more
    return BaselineCache(file.parent).find(**values)


def test_what_was_kept_is_found_again(kept: Path) -> None:
    again = found(kept, like=replace(VERDICT, environment={"torch": "2.13", "temperature": "40"}))
    assert again is not None
    assert (again.speedup, again.time_ms) == (VERDICT.speedup, VERDICT.time_ms)
    assert (again.status, again.kernel_id, again.device) == (Status.CORRECT, KERNEL.id, "a device")
    assert found(kept, settings=replace(SETTINGS, run_timeout_s=1.0, cache=False)) is not None


@pytest.mark.parametrize(
    "other",
    [
        {"task": Task("t", "x = 2")},
        {"kernel": Kernel("another")},
        {"like": replace(VERDICT, device="another")},
        {"like": replace(VERDICT, environment={"torch": "2.14"})},
        {"settings": replace(SETTINGS, max_pairs=99)},
    ],
)
def test_anything_else_is_judged_anew(kept: Path, other: dict[str, Any]) -> None:
    assert found(kept, **other) is None


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 0},
        {"speedup": [1e9, 2.0, 3.0]},
        {"speedup": [2.0, 1.0]},
        {"speedup": [True, True, True]},
        {"speedup": ["2", "1", "3"]},
        {"speedup": "123"},
        {"speedup": [float("nan"), 1.0, 2.0]},
        {"speedup": [2.0, 1.0, float("inf")]},
        {"speedup": [10**400, 10**400, 10**400]},
        {"time_ms": [0.0, 0.0, 0.0]},
        {"reference_ms": [-1.0, -2.0, -0.5]},
        {"key": {}},
        {"padding": "x" * baseline_cache.MAX_BYTES},
    ],
)
def test_a_record_that_was_tampered_with_is_passed_over(kept: Path, change: dict[str, Any]) -> None:
    record = json.loads(kept.read_text())
    kept.write_text(json.dumps(record | change))
    assert found(kept) is None
    kept.write_text(json.dumps(record))
    assert found(kept) is not None


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"{", b"[" * 9000, b"null"])
def test_a_file_that_is_no_record_is_passed_over(kept: Path, data: bytes) -> None:
    kept.write_bytes(data)
    assert found(kept) is None


def test_what_is_no_file_of_ones_own_is_passed_over(kept: Path) -> None:
    elsewhere = kept.with_name("elsewhere")
    kept.rename(elsewhere)
    kept.symlink_to(elsewhere)
    assert found(kept) is None
    kept.unlink()
    os.mkfifo(kept)
    assert found(kept) is None
    kept.unlink()
    kept.mkdir()
    assert found(kept) is None


def test_a_folder_that_cannot_be_made_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = BaselineCache(tmp_path / "file" / "below")
    cache.keep(TASK, KERNEL, VERDICT, SETTINGS)
    assert cache.find(TASK, KERNEL, VERDICT, SETTINGS) is None


def test_an_interval_with_an_open_end_is_not_kept(tmp_path: Path) -> None:
    open_ended = replace(VERDICT, speedup=Interval(2.0, 1.0, float("inf")))
    BaselineCache(tmp_path).keep(TASK, KERNEL, open_ended, SETTINGS)
    BaselineCache(tmp_path).keep(TASK, KERNEL, replace(VERDICT, speedup=None), SETTINGS)
    assert not list(tmp_path.iterdir())


def test_old_files_go_when_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline_cache, "MAX_FILES", 3)
    cache = BaselineCache(tmp_path)
    for number in range(6):
        cache.keep(Task("t", f"x = {number}"), KERNEL, VERDICT, SETTINGS)
        (newest,) = set(tmp_path.iterdir()) - {
            p for p in tmp_path.iterdir() if p.stat().st_mtime < 1e9
        }
        os.utime(newest, (number, number))
    assert len(list(tmp_path.iterdir())) == 3


def test_it_lies_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "kbexp" / "baselines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "kbexp" / "baselines"
