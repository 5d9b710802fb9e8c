"""Ctrl-C and SIGTERM: the first asks a run to stop in order, the second ends it at once."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from kbexp.app.explain import Stopped

GRACE_S = 5.0
"""Seconds after a second signal until the process is ended from inside, whatever it waits for."""


class StopFlag:
    """Set by the first SIGINT or SIGTERM; a context manager that puts the old handlers back.

    `flag` is what the run looks at. Outside the main thread no handler can be set and it stays
    down. `shows` is given what there is to say; where it returns False, stderr gets it.
    """

    def __init__(self) -> None:
        self.flag = threading.Event()
        self.shows: Callable[[str], bool] = lambda text: False
        self._before: dict[int, Any] = {}
        self._signal = signal.SIGINT

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended: 128 and its number."""
        return 128 + self._signal

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number)
        if self.flag.is_set():
            timer = threading.Timer(GRACE_S, os._exit, [self.exit_code])
            timer.daemon = True
            timer.start()
            raise Stopped(self.exit_code)
        self.flag.set()
        text = "Stopping when what is under way is done; press Ctrl-C again to end at once."
        if not self.shows(text):
            _say(text)


def _say(text: str) -> None:
    """Write past Python's buffers, which the interrupted code may be holding.

    Where nobody takes what is written (a pager that is not read on, a terminal that was halted),
    this is left unsaid: the run would wait here instead of stopping.
    """
    fd = sys.__stderr__.fileno() if sys.__stderr__ else 2
    ready = select.poll()
    ready.register(fd, select.POLLOUT)
    if ready.poll(0):
        with contextlib.suppress(OSError):
            os.write(fd, f"\n{text}\n".encode())
