"""Trackers that are slow, hang or raise, and runs that do not care."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbexp.errors import KbexpError
from kbexp.events import Event, RunEnded, StepDone
from kbexp.tracking import Journal, replay
from kbexp.tracking.lines import encode


class Recorder:
    """Keeps what it gets; `act` is called with each event before it is kept."""

    name = "recorder"

    def __init__(self, act: Callable[[Event], object] = lambda event: None) -> None:
        self.lines: list[bytes] = []
        self.closed: list[str] = []
        self.threads: set[int] = set()
        self._act = act

    def on_event(self, event: Event) -> None:
        self.threads.add(threading.get_ident())
        self._act(event)
        self.lines.append(encode(event))

    def close(self, state: str) -> None:
        self.threads.add(threading.get_ident())
        self.closed.append(state)


def fail(event: Event) -> None:
    if isinstance(event, StepDone):
        raise RuntimeError("no\x1b[31m more\n\x07" + "x" * 5000)


def test_a_tracker_gets_every_event_from_the_first_line_on(
    tmp_path: Path, make_events: Any
) -> None:
    events = make_events()
    path = tmp_path / "journal.jsonl"
    early, late, resumed = Recorder(), Recorder(), Recorder()
    with Journal(path) as journal:
        journal.subscribe(early)
        for event in events[:-3]:
            journal.append(event)
        journal.subscribe(late)
    with Journal(path) as journal:
        journal.subscribe(resumed)
        for event in events[-3:]:
            journal.append(event)
    lines = [encode(event) for event in events]
    assert early.lines == late.lines == lines[:-3]
    assert early.closed == ["interrupted"]
    assert resumed.lines == lines
    assert resumed.closed == ["complete"]
    assert len(resumed.threads) == 1
    assert threading.get_ident() not in resumed.threads


def test_a_failing_tracker_is_reported_once_and_dropped(
    tmp_path: Path, make_events: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = Recorder(fail), Recorder()
    bad.name = "bad"
    events = make_events()
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.subscribe(bad)
        journal.subscribe(good)
        for event in [*events[:-1], events[-2], events[-1]]:
            journal.append(event)
    assert len(good.lines) == len(events) + 1
    assert bad.closed == ["dropped"]
    error = capsys.readouterr().err
    assert error.count("The tracker bad failed and is off: RuntimeError: no [31m more xxx") == 1
    assert error.count("\n") == 1
    assert "\x1b" not in error
    assert "\x07" not in error
    assert len(error) < 1100


def test_a_tracker_that_fails_to_close_is_reported(
    tmp_path: Path, make_events: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Unclosing(Recorder):
        def close(self, state: str) -> None:
            raise KbexpError("the store is gone.")

    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.subscribe(Unclosing())
        journal.append(make_events()[0])
    assert "recorder failed and is off: the store is gone. The run" in capsys.readouterr().err


def test_a_hanging_tracker_holds_up_neither_the_run_nor_the_others(
    tmp_path: Path, make_events: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal.jsonl"
    go_on = threading.Event()
    hanging, good = Recorder(lambda event: go_on.wait(60)), Recorder()
    hanging.name = "hanging"
    events = make_events()
    with Journal(path, catch_up_s=0.3) as journal:
        journal.subscribe(hanging)
        journal.subscribe(good)
        for event in events:
            journal.append(event)
    assert len(good.lines) == len(events)
    assert hanging.lines == []
    error = capsys.readouterr().err
    assert error.count("hanging was not done 0.3 s after the run's end") == 1
    assert str(path) in error
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "tracker-hanging":
            thread.join(60)
    assert hanging.closed == ["dropped"]
    assert len(hanging.lines) == 1  # It was left behind for good,
    completed = Recorder()
    replay(path, completed)  # and the journal completes it.
    assert completed.lines == [encode(event) for event in events]
    assert completed.closed == ["complete"]


def test_a_slow_tracker_loses_nothing(tmp_path: Path) -> None:
    started = threading.Event()
    slow = Recorder(lambda event: started.wait(60))
    large = "r" * 300_000  # Together more than is read in one go.
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.subscribe(slow)
        for number in range(12):
            journal.append(RunEnded(state=f"s{number}", reason=large))
        started.set()
    assert len(slow.lines) == 12
    assert slow.closed == ["s11"]


def test_replay_of_a_torn_journal_ends_as_interrupted(tmp_path: Path, make_events: Any) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [encode(event) for event in make_events()]
    path.write_bytes(b"".join(lines)[:-5])
    recorder = Recorder()
    replay(path, recorder)
    assert recorder.lines == lines[:-1]
    assert recorder.closed == ["interrupted"]


def test_replay_closes_a_tracker_that_raises(tmp_path: Path, make_events: Any) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"".join(encode(event) for event in make_events()))
    recorder = Recorder(fail)
    with pytest.raises(RuntimeError):
        replay(path, recorder)
    assert recorder.closed == ["dropped"]
