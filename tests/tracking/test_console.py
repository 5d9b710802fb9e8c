"""What reaches the terminal, byte by byte."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as Terminal

from kbexp.config import BudgetConfig
from kbexp.errors import KbexpError
from kbexp.events import DeviceBilled, DeviceReady, Event, RunEnded, StepDone, VerdictReached
from kbexp.summary import RunSummary
from kbexp.tracking import Journal, RunInfo
from kbexp.tracking.board import Board
from kbexp.tracking.console import Console
from kbexp.tracking.view import render
from kbexp.verdict import Status, Verdict

HOSTILE = (
    "\x1b[2J\x1b]0;pwned\x07\x1b[31m\x9b31m[bold red]markup[/] [/nonsense]\r\x7f\u202e\u2028"
    + "y" * 100_000
)


def plain_text(run: RunInfo, events: list[Event], **more: Any) -> str:
    stream = io.StringIO()
    console = Console(run, stream=stream, **more)
    for event in events:
        console.on_event(event)
    console.close("complete")
    return stream.getvalue()


def test_plain_text_is_one_line_an_event(run_info: RunInfo, make_events: Any) -> None:
    events = make_events(start=time.time() + 5)
    lines = plain_text(run_info, events).splitlines()
    quiet = sum(event.event in ("proposal_asked", "evaluation_begun") for event in events)
    assert len(lines) == len(events) - (quiet - 1)  # The first kernel takes long: it is told of.
    assert all(re.match(r"\d\d:\d\d:\d\d  softmax-ps-3  \w", line) for line in lines)
    assert any("proposal 0  kernel" in line and "correct  1.50" in line for line in lines)
    assert any("incorrect  Output 0 differs." in line for line in lines)
    assert "run complete: All steps are done." in lines[-1]
    assert "3 evaluations, 2 correct" in lines[-1]


def test_verbose_shows_what_begins(run_info: RunInfo, make_events: Any) -> None:
    events = make_events(start=time.time() + 5)
    run = RunInfo(
        folder=run_info.folder,
        name="n",
        project="p",
        config={"verbose": True},
        launch_dir=run_info.launch_dir,
    )
    assert len(plain_text(run, events).splitlines()) == len(events)


def test_steps_are_told_as_often_as_asked(run_info: RunInfo) -> None:
    steps: list[Event] = [
        StepDone(step=step, best_kernel_id=None, best_score=None, time=time.time() + 5)
        for step in range(1, 8)
    ]
    for every, told in ((1, 7), (3, 2), (0, 7)):
        run = RunInfo(
            folder=run_info.folder,
            name="n",
            project="p",
            config={"algorithm": {"log_frequency": every}},
            launch_dir=run_info.launch_dir,
        )
        assert len(plain_text(run, steps).splitlines()) == told


def test_a_resumed_run_sums_its_past_up(run_info: RunInfo, make_events: Any) -> None:
    past = make_events(start=time.time() - 500)
    now = make_events(start=time.time() + 5)
    lines = plain_text(run_info, [*past[:-1], now[0], now[-1]]).splitlines()
    assert len(lines) == 3
    assert "resumed after 3 evaluations, best 1.50" in lines[0]
    assert len(plain_text(run_info, past, past=True).splitlines()) > 5


def test_hostile_text_reaches_a_pipe_as_harmless_lines(run_info: RunInfo, make_events: Any) -> None:
    events = make_events(HOSTILE, start=time.time() + 5)
    text = plain_text(run_info, events)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", text)
    assert max(len(line) for line in text.splitlines()) < 400
    assert "[bold red]markup[/] [/nonsense]" in text


def test_a_stream_that_knows_ascii_only(run_info: RunInfo, make_events: Any) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    console = Console(run_info, stream=stream, past=True)
    for event in make_events("\u4f60\u597d"):
        console.on_event(event)
    text = stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "1.50x [1.40, 1.60]" in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("height", [5, 24, 50])
def test_the_view_fits_every_terminal(
    run_info: RunInfo, make_events: Any, width: int, height: int
) -> None:
    board = Board(run_info)
    events = make_events(HOSTILE)
    for event in events[:-1]:
        board.apply(event)
        lines = draw(board, width, height)
        assert all(len(line) <= width for line in lines)
        if width >= 60 and height >= 24:
            assert len(lines) < height
    board.apply(events[-1])
    text = "\n".join(draw(board, width, height))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", text)
    if width >= 60:
        assert "complete" in text
        assert "1.50" in text
        assert "3 of 10" in text


def test_the_view_of_a_run_without_limits_and_verdicts(tmp_path: Path) -> None:
    run = RunInfo(folder=tmp_path, name="bare", project="p", config={}, launch_dir=tmp_path)
    text = "\n".join(draw(Board(run), 80, 24))
    assert "bare" in text
    assert "no correct kernel yet" in text


def test_the_view_of_a_run_that_failed_at_once_says_only_that(
    run_info: RunInfo, make_events: Any
) -> None:
    board = Board(run_info)
    for event in (*make_events()[:2], RunEnded(state="failed", reason="No.", time=2000.0)):
        board.apply(event)
    assert board.summary.unjudged == 1
    text = "\n".join(draw(board, 80, 24))
    assert "nothing was judged" in text
    assert "1 not judged" not in text
    assert "yet" not in text


def test_the_view_shows_every_status(run_info: RunInfo, make_verdict: Any) -> None:
    board = Board(run_info)
    for status in Status:
        board.apply(VerdictReached(verdict=make_verdict(f"k{status}", status, reasons=("why",))))
    text = "\n".join(draw(board, 100, 40))
    for word in ("correct", "incorrect", "compile error", "runtime error", "timeout", "rejected"):
        assert re.search(rf"first  {word}", text)
    assert re.search(r"first  infrastructure", text)


def test_a_reached_limit_fills_its_bar(tmp_path: Path, make_events: Any) -> None:
    budget = BudgetConfig(name="b", evaluations=3, llm_usd=0.5, wall_s=1.0, gpu_usd=0.0)
    run = RunInfo(
        folder=tmp_path, name="n", project="p", config={}, launch_dir=tmp_path, budget=budget
    )
    board = Board(run)
    for event in make_events():
        board.apply(event)
    text = "\n".join(draw(board, 100, 40))
    assert "3 of 3" in text
    assert "$1.00 of $0.5000" in text


def draw(board: Board, width: int, height: int, now: float = 2000.0) -> list[str]:
    stream = io.StringIO()
    terminal = Terminal(file=stream, width=width, height=height, markup=False, highlight=False)
    terminal.print(render(board, width, height, now))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


PROGRAM = """
import importlib.util, sys, time
from pathlib import Path
from kbexp.config import LoggerConfig
from kbexp.tracking import Journal, RunInfo, read, trackers
folder = Path(sys.argv[1])
run = RunInfo(folder=folder, name="live", project="p", config={}, launch_dir=folder)
with Journal(folder / "other.jsonl") as journal:
    for tracker in trackers(LoggerConfig(name="x", console=sys.argv[2]), run):
        journal.subscribe(tracker)
    for event in read(folder / "journal.jsonl"):
        journal.append(event)
    print("printed meanwhile", file=sys.stderr)
"""


def run_on_terminal(folder: Path, mode: str, **environment: str) -> str:
    """Run the program above on a pseudo-terminal of 70 columns; return what it wrote there."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 70, 0, 0))
    told: list[bytes] = []

    def listen() -> None:
        with open(leader, "rb", buffering=0) as file:  # noqa: PTH123
            while True:
                try:
                    told.append(file.read(65536))
                except OSError:  # The other end is closed.
                    return
                if not told[-1]:
                    return

    listener = threading.Thread(target=listen)
    listener.start()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), mode],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        env=os.environ | {"TERM": "xterm-256color"} | environment,
        timeout=60,
        check=False,
    )
    os.close(follower)
    listener.join(60)
    text = b"".join(told).decode("utf-8")
    assert done.returncode == 0, text
    assert done.stdout == b""
    return text


@pytest.fixture
def written(tmp_path: Path, make_events: Any) -> Path:
    with Journal(tmp_path / "journal.jsonl") as journal:
        for event in make_events(HOSTILE, start=time.time() + 30):
            journal.append(event)
    return tmp_path


def test_the_live_view_on_a_terminal(written: Path) -> None:
    text = run_on_terminal(written, "auto")
    assert "╭" in text
    assert "complete" in text
    assert "printed meanwhile" in text
    # What rich itself sends: colours, cursor up, erase line, show and hide the cursor.
    rest = re.sub(r"\x1b\[[0-9;]*m|\x1b\[1A|\x1b\[2K|\x1b\[\?25[hl]|\r|\n", "", text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e\u2028]", rest)
    assert "[bold red]markup" in rest
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # The cursor is back.


def test_plain_and_off_on_a_terminal(written: Path) -> None:
    plain = run_on_terminal(written, "plain")
    assert "\x1b" not in plain
    assert "softmax" not in plain
    assert "live  run complete" in plain
    assert run_on_terminal(written, "off") == "printed meanwhile\r\n"
    assert "\x1b" not in run_on_terminal(written, "auto", TERM="dumb")


def test_what_a_run_does_while_it_starts_is_said(run_info: RunInfo, make_events: Any) -> None:
    stream = io.StringIO()
    console = Console(run_info, stream=stream)
    events = make_events(start=time.time() + 5)
    console.doing("warming up")
    assert stream.getvalue() == ""
    for event in events[:2]:
        console.on_event(event)
    told = [line.split("  ", 2)[2] for line in stream.getvalue().splitlines()]
    assert told[:2] == ["run started", "warming up"]
    assert "first kernel" in told[2]

    board = Board(run_info, doing="warming up", doing_since=events[0].time + 0.5)
    past = make_events(start=time.time() - 500)
    for event in [*past[:5], events[0]]:
        board.apply(event)
    assert "warming up" in "\n".join(draw(board, 100, 40))
    board.apply(events[1])
    assert "warming up" not in "\n".join(draw(board, 100, 40))


def test_the_clock_of_the_view_stands_until_the_evaluator_is_ready(
    run_info: RunInfo, make_events: Any
) -> None:
    started, begun, *_ = make_events()
    ready = DeviceReady(device="cpu", seconds=29.0, time=started.time + 29.0)
    board = Board(run_info)

    def time_shown(event: Event, after_s: float) -> str:
        board.apply(event)
        return next(line for line in draw(board, 80, 40, event.time + after_s) if " time " in line)

    assert "0:00:00" in time_shown(started, 20.0)
    board.doing, board.doing_since = "waiting for a container", started.time
    bill = DeviceBilled(usd=0.1, time=started.time + 10.0)
    assert "0:00:00" in time_shown(bill, 20.0)
    assert "waiting for a container" in "\n".join(draw(board, 80, 40))
    assert "0:00:05" in time_shown(ready, 5.0)
    assert "0:00:07" in time_shown(replace(begun, time=ready.time + 4.0), 3.0)


def test_the_view_of_a_first_kernel_says_what_takes_so_long(
    run_info: RunInfo, make_events: Any
) -> None:
    board = Board(run_info)
    begun, judged = make_events()[:2], make_events()[2]
    for event in begun:
        board.apply(event)
    assert "loading the task" in "\n".join(draw(board, 100, 40))
    board.apply(judged)
    assert "loading the task" not in "\n".join(draw(board, 100, 40))


def raising(verdict: Verdict) -> float:
    raise ValueError(verdict.status)


def test_a_metric_that_raises_is_not_the_consoles_to_report(
    run_info: RunInfo, make_events: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = replace(run_info, config={**run_info.config, "metric": f"{__name__}.raising"})
    *events, _ = make_events(start=time.time() + 5)
    sentence = "The metric failed."
    failed = RunEnded(state="failed", reason=sentence, time=time.time() + 99)
    stream = io.StringIO()
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.subscribe(Console(run, stream=stream))
        for event in [*events, failed]:
            journal.append(event)
    assert capsys.readouterr().err == ""
    lines = stream.getvalue().splitlines()
    assert "no correct kernel yet" in lines[2]
    # The program itself says why, below this.
    assert "run failed  " in lines[-1]
    assert sentence not in stream.getvalue()
    assert sentence in plain_text(run, [*events, failed], past=True)
    with pytest.raises(KbexpError, match="metric="):
        RunSummary.of(events, metric=f"{__name__}.raising")


def test_what_is_maximised_is_named(run_info: RunInfo, make_events: Any) -> None:
    run = replace(run_info, config={**run_info.config, "metric": "inverse_runtime"})
    events = make_events(start=time.time() + 5)
    assert "best inverse_runtime 750 calls/s, 1.50" in plain_text(run, events).splitlines()[-1]
    board = Board(run)
    for event in events:
        board.apply(event)
    text = "\n".join(draw(board, 104, 40))
    assert re.search(r"best inverse_runtime 750 calls/s  1\.50", text)
    assert re.search(r" 0  correct .*inverse_runtime 750 calls/s", text)
