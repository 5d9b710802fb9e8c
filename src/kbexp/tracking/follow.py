"""Trackers read the journal, each from the file and behind a thread of its own.

What a tracker has not read yet waits in the file and not in memory: a slow one loses nothing and
costs the run nothing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from kbexp.errors import KbexpError
from kbexp.events import Event, RunEnded, RunStarted
from kbexp.tracking.lines import decode, read
from kbexp.tracking.text import one_line

INTERRUPTED = "interrupted"
"""The state of a run whose journal has no end."""

DROPPED = "dropped"
"""What a tracker is closed with after it failed or fell behind."""

CHUNK_BYTES = 1 << 20


class Tracker(Protocol):
    """A reader of a run's events; all calls come from one thread.

    It may be slow, hang or raise: the run does not wait for it. After an exception it gets no
    more events, only `close("dropped")`. Events come from the journal's first line on, also when
    a run is resumed or replayed: a tracker that stores them must then store the same again
    rather than twice.
    """

    @property
    def name(self) -> str:
        """What people know it by."""
        ...

    def on_event(self, event: Event) -> None:
        """Take in the next event."""
        ...

    def close(self, state: str) -> None:
        """Finish; `state` is RunEnded's, `interrupted` where there was none, or `dropped`."""
        ...


class Follower:
    """One tracker's thread; it reads the journal at `path` as far as it is told to."""

    def __init__(self, path: Path, tracker: Tracker, size: int) -> None:
        self._path = path
        self._tracker = tracker
        self._size = size
        self._state: str | None = None
        self._given_up = False
        self._news = threading.Condition()
        self._thread = threading.Thread(
            target=self._run, name=f"tracker-{tracker.name}", daemon=True
        )
        self._thread.start()

    def extend(self, size: int) -> None:
        """Say that the journal's first `size` bytes are whole lines."""
        with self._news:
            self._size = size
            self._news.notify()

    @staticmethod
    def finish_all(followers: Sequence[Follower], state: str, timeout_s: float) -> None:
        """Let the trackers read what is left and close, all of them within `timeout_s`.

        One that is not done by then is left behind, and reported. It is not killed: a tracker
        that hangs goes with the process.
        """
        for follower in followers:
            with follower._news:
                follower._state = state
                follower._news.notify()
        deadline = time.monotonic() + timeout_s
        for follower in followers:
            follower._thread.join(max(0.0, deadline - time.monotonic()))
            if follower._thread.is_alive():
                follower._given_up = True
                report(
                    f"The tracker {follower._tracker.name} was not done {timeout_s:g} s after the "
                    f"run's end and was left behind; {follower._path} has all of it and can be "
                    "replayed."
                )

    def _run(self) -> None:
        tracker = self._tracker
        try:
            for line in self._lines():
                tracker.on_event(decode(line))
            tracker.close(DROPPED if self._given_up else self._state or INTERRUPTED)
        except BaseException as error:
            if not self._given_up:
                report(
                    f"The tracker {tracker.name} failed and is off: {describe(error)}. The "
                    f"run goes on, and {self._path} can be replayed later."
                )
            with contextlib.suppress(BaseException):
                tracker.close(DROPPED)

    def _lines(self) -> Iterator[bytes]:
        """Yield the journal's lines as they come, until it is closed or the run gave up waiting."""
        offset, rest = 0, b""
        with self._path.open("rb", buffering=0) as file:
            while True:
                with self._news:
                    while self._size == offset and self._state is None:
                        self._news.wait()
                    available = self._size - offset
                if not available:
                    return
                # Bytes past what was announced may still be taken back.
                chunk = file.read(min(available, CHUNK_BYTES))
                if not chunk:
                    raise EOFError("the journal is shorter than it was")
                offset += len(chunk)
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if self._given_up:
                        return
                    yield line


def replay(path: Path | str, tracker: Tracker) -> None:
    """Give a tracker a whole journal from its file, in this thread, and close it.

    Raises KbexpError where the journal cannot be read, and whatever the tracker raises.
    """
    state = INTERRUPTED
    try:
        for event in read(path):
            if isinstance(event, RunStarted):
                state = INTERRUPTED
            elif isinstance(event, RunEnded):
                state = event.state
            tracker.on_event(event)
    except BaseException:
        with contextlib.suppress(Exception):
            tracker.close(DROPPED)
        raise
    tracker.close(state)


def describe(error: BaseException) -> str:
    """Return an error's text for a person: its own where it was written for one."""
    text = one_line(str(error), 300).rstrip(".")
    return text if isinstance(error, KbexpError) else f"{type(error).__name__}: {text}"


def report(sentence: str) -> None:
    """Say something on stderr; that nobody can hear it is no reason to stop."""
    with contextlib.suppress(Exception):
        print(f"kbexp: {one_line(sentence, 1000)}", file=sys.stderr, flush=True)
