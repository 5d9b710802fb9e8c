"""The talk between a rival's package, on a thread of its own, and the search that answers it.

A rival wants two things: a model that answers a question, and a score for a text. It has one wish
at a time and blocks until that is granted; the search grants it out of the archive.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from kbexp.candidate import Question


class Closed(Exception):
    """The search is over: whatever the rival is doing, it should end."""


class NoKernel(Exception):
    """The call to the model failed, or its answer holds no kernel; the text says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a rival is told of a text: its score from 0 up, the feedback, the speedup if correct."""

    score: float
    feedback: str
    speedup: float | None = None


@dataclass(slots=True, eq=False)
class Asking:
    """The wish for an answer of the model; it is granted with a kernel's source."""

    question: Question
    granted: Future[str] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class Judging:
    """The wish for a verdict on a text."""

    text: str
    granted: Future[Told] = field(default_factory=Future)


Wish = Asking | Judging


class Talk:
    """One rival's wishes: `ask` and `judge` are the rival's side, the rest is the search's.

    `wake` is called from the rival's thread whenever there is something new to look at.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()
        self._wish: Wish | None = None
        self._closed = False
        self.over = False
        """True once the rival has ended by itself."""
        self.error: Exception | None = None
        """What it ended in, where that was an error."""
        self.last_granted = time.monotonic()
        """When the last wish was granted, or this was made."""

    def ask(self, system: str, user: str) -> str:
        """Ask the model and return its kernel's source; raises NoKernel, Closed."""
        wish = Asking(Question(user=user, system=system))
        self._put(wish)
        return wish.granted.result()

    def judge(self, text: str) -> Told:
        """Return what is known of a text, once it is judged; raises Closed."""
        wish = Judging(text)
        self._put(wish)
        return wish.granted.result()

    @property
    def closed(self) -> bool:
        """True once the search is over."""
        return self._closed

    def wish(self) -> Wish | None:
        """Return the wish that is not granted yet; None while the rival thinks."""
        if self._wish is None or self._wish.granted.done():
            if self._wish is not None:
                self.last_granted = time.monotonic()
            try:
                self._wish = self._wishes.get_nowait()
            except queue.Empty:
                self._wish = None
        return self._wish

    def end(self, error: Exception | None) -> None:
        """Say that the rival has ended; called on its thread."""
        self.error = error
        self.over = True  # last: whoever sees it sees the error too
        self._wake()

    def close(self) -> None:
        """Have every wish end in Closed, now and from now on."""
        with self._lock:
            self._closed = True
        while (wish := self.wish()) is not None:
            wish.granted.set_exception(Closed())

    def _put(self, wish: Wish) -> None:
        with self._lock:
            if self._closed:
                raise Closed
            self._wishes.put(wish)
        self._wake()
