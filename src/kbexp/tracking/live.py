"""The live view: state, a thread that draws it, and nothing that could stop the run."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO

from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.text import Text

from kbexp.events import Event
from kbexp.tracking.board import Board
from kbexp.tracking.follow import INTERRUPTED
from kbexp.tracking.run_info import RunInfo
from kbexp.tracking.text import one_line
from kbexp.tracking.view import render

DRAW_S = 0.15
"""The least time between two drawings."""

ECHO_COLUMNS = 8
"""Room behind the last line for what the terminal itself writes there, such as ^C."""

TICK_S = 1.0
"""The time after which the clock is drawn again though nothing happened."""


class LiveView:
    """Draws a run on a terminal until it is closed."""

    def __init__(self, run: RunInfo, stream: TextIO) -> None:
        self._board = Board(run)
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._closed = False
        self._notice = ""
        self._failure: BaseException | None = None
        self._terminal = Terminal(file=stream, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._terminal,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=stream is sys.stderr,
        )
        self._live.start()
        # A process that is killed leaves the terminal as it is: the cursor stays in sight.
        self._terminal.show_cursor(True)
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def on_event(self, event: Event) -> None:
        """Take the event in; it is drawn soon. Raises what drawing raised."""
        with self._lock:
            self._board.apply(event)
        self._news.set()
        if self._failure is not None:
            raise self._failure

    def doing(self, text: str, at: float) -> None:
        """Show what the run does from the time `at` on; the next event takes its place."""
        with self._lock:
            self._board.doing, self._board.doing_since = text, at
        self._news.set()

    def notice(self, text: str) -> bool:
        """Show a sentence below the view until it is closed; False where it is closed already.

        Takes no lock that another thread may hold for long: signal handlers call it.
        """
        if self._closed or self._failure is not None:
            return False
        self._notice = one_line(text)
        self._news.set()
        return True

    def close(self, state: str) -> None:
        """Draw once more and leave the view standing."""
        self._closed = True
        self._news.set()
        self._thread.join()
        if self._board.summary.state == "running":
            self._board.summary.state = state if state != "dropped" else INTERRUPTED
        try:
            self._draw()
        finally:
            self._live.stop()

    def _run(self) -> None:
        try:
            while not self._closed:
                self._news.wait(TICK_S)
                self._news.clear()
                self._draw()
                time.sleep(DRAW_S)
        except BaseException as error:
            self._failure = error

    def _draw(self) -> None:
        """Draw the view, and while the run goes on a line below it in which the cursor rests.

        A terminal writes ^C where the cursor is. Behind a line that is full it would move the
        cursor one down, and rich would erase the wrong lines.
        """
        width, height = self._terminal.size
        with self._lock:
            view = render(self._board, width, height - 1, time.time())
        if not self._closed:
            rest = Text(self._notice, no_wrap=True, style="bold yellow")
            rest.truncate(max(1, width - ECHO_COLUMNS), overflow="ellipsis")
            view = Group(view, rest)
        self._live.update(view, refresh=True)
