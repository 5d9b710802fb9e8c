"""A run on the terminal: a live view, or one line an event where there is no terminal."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from kbexp.events import Event, RunEnded, StepDone
from kbexp.tracking.figures import TIMES
from kbexp.tracking.plain import best_words, event_line, quiet
from kbexp.tracking.run_info import RunInfo
from kbexp.tracking.text import one_line

if TYPE_CHECKING:
    from kbexp.tracking.live import LiveView


class Console:
    """Shows a run on `stream`, which is stderr unless given.

    `mode` is live, plain, or auto: live on a terminal that can move its cursor. What a journal
    holds from before this moment, on resuming, is summed up in one line; with `past` it is shown
    in full.
    """

    name = "console"

    def __init__(
        self,
        run: RunInfo,
        mode: str = "auto",
        stream: TextIO | None = None,
        *,
        past: bool = False,
    ) -> None:
        self._run = run
        self._stream = sys.stderr if stream is None else stream
        self._live = mode == "live" or (mode == "auto" and _can_draw(self._stream))
        self._summary = run.summary()
        self._verbose = run.setting("verbose") is True
        self._every = _step_count(run.setting("algorithm.log_frequency"))
        self._view: LiveView | None = None
        self._doing: list[tuple[str, float]] = []
        self._began = False
        self._order = threading.Lock()
        self._opened_at = -math.inf if past else time.time()
        self._past = False

    def on_event(self, event: Event) -> None:
        """Show the event."""
        if self._live:
            if self._view is None:
                from kbexp.tracking.live import LiveView

                with self._order:
                    self._view = LiveView(self._run, self._stream)
                    for text, at in self._doing:
                        self._view.doing(text, at)
            self._view.on_event(event)
            return
        if event.time < self._opened_at:
            self._past = True
            self._summary.apply(event)
            return
        if self._past:
            self._past = False
            self._print(
                f"resumed after {self._summary.evaluations} evaluations, "
                f"{best_words(self._summary)}"
            )
        self._summary.apply(event)
        with self._order:
            if self._verbose or not self._passed_over(event):
                self._write(event_line(self._shortened(event), self._summary, self._run.name))
            while self._doing:
                self._print(self._doing.pop(0)[0])
            self._began = True

    def doing(self, text: str) -> None:
        """Say what the run does while it starts, after the line that it has started."""
        at = time.time()
        with self._order:
            if self._view is not None:
                self._view.doing(text, at)
            elif self._began:
                self._print(text)
            else:
                self._doing.append((text, at))

    def notice(self, text: str) -> bool:
        """Show a sentence in the live view; False where there is none on the terminal.

        Signal handlers may call this, from any point of the program.
        """
        view = self._view
        return view is not None and view.notice(text)

    def close(self, state: str) -> None:
        """Leave the last view standing."""
        if self._view is not None:
            self._view.close(state)

    def _shortened(self, event: Event) -> Event:
        """Leave out why a run has just failed: the program says so itself, with its last words."""
        if isinstance(event, RunEnded) and event.state == "failed" and self._opened_at > 0:
            return replace(event, reason="")
        return event

    def _passed_over(self, event: Event) -> bool:
        if isinstance(event, StepDone):
            return event.step % self._every != 0
        return quiet(event, self._summary)

    def _print(self, words: str) -> None:
        at = time.strftime("%H:%M:%S")
        self._write(f"{at}  {one_line(self._run.name, 60)}  {words}")

    def _write(self, line: str) -> None:
        if not _speaks_utf8(self._stream):
            line = line.replace(TIMES, "x").replace("µ", "u").encode("ascii", "replace").decode()
        self._stream.write(line + "\n")
        self._stream.flush()


def _step_count(setting: object) -> int:
    return setting if isinstance(setting, int) and setting > 0 else 1


def _can_draw(stream: TextIO) -> bool:
    moves = os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
    return moves and stream.isatty() and _speaks_utf8(stream)


def _speaks_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "utf-8").lower().replace("-", "") == "utf8"
