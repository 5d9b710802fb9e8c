"""Ctrl-C on a terminal with a live view: what is on the screen afterwards."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from kbexp.tracking import Journal

ROWS = 40

PROGRAM = """
import fcntl, sys, termios, time
from pathlib import Path
from kbexp.app.stop import StopFlag
from kbexp.config import LoggerConfig
from kbexp.events import RunEnded
from kbexp.tracking import Journal, RunInfo, console_of, live, read, trackers
live.TICK_S = 30.0  # Nothing is drawn while ^C is echoed.
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C there is for this process.
folder = Path(sys.argv[1])
run = RunInfo(folder=folder, name="live", project="p", config={}, launch_dir=folder)
chosen = trackers(LoggerConfig(name="x", console="live"), run)
with StopFlag() as stop, Journal(folder / "other.jsonl") as journal:
    stop.shows = console_of(chosen).notice
    for tracker in chosen:
        journal.subscribe(tracker)
    for event in list(read(folder / "journal.jsonl"))[:-1]:
        journal.append(event)
    assert stop.flag.wait(30)
    for _ in range(300):
        if (folder / "seen").exists():
            break
        time.sleep(0.1)
    journal.append(RunEnded(state="stopped", reason="Asked to stop."))
print("the summary")
"""


class Screen:
    """As much of a terminal as rich's live view needs: it wraps, and moves up, and erases lines."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.lines = [""]
        self.row = self.column = 0

    def take(self, text: str) -> None:
        for part in re.findall(r"\x1b\[\??[0-9;]*[A-Za-z]|.", text, re.DOTALL):
            if part == "\r":
                self.column = 0
            elif part == "\n":
                self._down()
            elif part == "\x1b[1A":
                self.row -= 1
            elif part == "\x1b[2K":
                self.lines[self.row] = ""
            elif not part.startswith("\x1b"):
                if self.column == self.columns:  # Only now: a full line is not left at once.
                    self.column = 0
                    self._down()
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + part + line[self.column + 1 :]
                self.column += 1

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")


@pytest.mark.parametrize("columns", [60, 104, 120])
def test_ctrl_c_leaves_nothing_of_the_old_view(
    tmp_path: Path, make_events: Any, columns: int
) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        for event in make_events(start=time.time()):
            journal.append(event)
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    told, data, pressed = "", b"", False
    # The terminal's own size is to count, not what whoever runs the tests says of theirs.
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    env["TERM"] = "xterm-256color"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=env,
        start_new_session=True,
    ) as process:
        os.close(follower)
        while True:
            if not select.select([leader], [], [], 60 if pressed else 1)[0]:
                assert not pressed, told
                if "duplicate" in told:
                    pressed = True
                    os.write(leader, b"\x03")
                continue
            try:
                data += os.read(leader, 65536)
            except OSError:  # The other end is closed.
                break
            told = data.decode("utf-8", "ignore")
            if "Stopping when" in told:
                (tmp_path / "seen").touch()
        assert process.wait(60) == 0, told
    os.close(leader)

    assert "^C" in told
    screen = Screen(columns)
    screen.take(told)
    shown = "\n".join(screen.lines)
    assert "stopped" in shown
    assert "the summary" in shown
    assert shown.count("╭") == shown.count("╰") == 1
    assert "running" not in shown
    assert "Ctrl-C" not in shown
