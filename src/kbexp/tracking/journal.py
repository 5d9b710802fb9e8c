"""The append-only record of a run: one JSON object a line, on the disk before it is used.

A line is handed to the system before anything acts on it: that outlives this process, however it is
killed. `commit` has it outlive the machine too. One `commit` serves every line written before it,
and comes before anything that follows from them leaves this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import threading
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from kbexp.errors import KbexpError
from kbexp.events import Event, RunEnded, RunStarted
from kbexp.tracking.follow import Follower, Tracker
from kbexp.tracking.lines import GROUP_BYTES, encode, first_zero, read, torn

__all__ = ["Journal", "read"]


class Journal:
    """A run's journal, open for writing by this process alone; a context manager.

    An existing file is carried on with, and a torn last line cut off. `append`, `write` and
    `commit` may be called from several threads. A child that this process forks does not keep the
    journal.
    Raises KbexpError where the file cannot be opened or another process writes it.
    """

    def __init__(self, path: Path | str, *, catch_up_s: float = 20.0) -> None:
        self.path = Path(path)
        self._catch_up_s = catch_up_s
        self._lock = threading.Lock()
        self._followers: list[Follower] = []
        self._state = "interrupted"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise self._error("cannot be opened", error) from error
        try:
            _claim(self._fd, self.path)
            self._size = self._committed = _mend(self._fd, self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            os.close(self._fd)
            raise self._error("cannot be opened", error) from error
        except BaseException:
            os.close(self._fd)
            raise
        _open_journals.add(self)

    def append(self, event: Event) -> None:
        """Write the event; when this returns it is on the disk.

        Raises KbexpError where it could not be written, or not kept.
        """
        self.write(event)
        self.commit()

    def write(self, event: Event) -> None:
        """Write the event; when this returns it outlives this process, but not yet the machine.

        Raises KbexpError where it could not be written: the file is then as it was before.
        """
        line = encode(event)
        with self._lock:
            if self._fd < 0:
                raise KbexpError(f"The journal {self.path} is closed; nothing can be added to it.")
            try:
                waiting = self._size - self._committed
                if waiting and waiting + len(line) > GROUP_BYTES:
                    self._sync()
                self._write(line)
            except OSError as error:
                raise self._error("cannot be written", error) from error
            self._size += len(line)
            if isinstance(event, RunStarted):
                self._state = "interrupted"
            elif isinstance(event, RunEnded):
                self._state = event.state

    def commit(self) -> None:
        """Put all that was written on the disk, and let the trackers have it.

        Raises KbexpError where the disk does not take it: what was written since the last commit
        may then not outlive the machine.
        """
        with self._lock:
            if self._fd < 0 or self._committed == self._size:
                return
            try:
                self._sync()
            except OSError as error:
                raise self._error("cannot be written", error) from error

    def subscribe(self, tracker: Tracker) -> None:
        """Let the tracker read this journal from its first line on, in a thread of its own."""
        with self._lock:
            follower = Follower(self.path, tracker, self._committed)
            self._followers.append(follower)

    def close(self) -> None:
        """Give the trackers `catch_up_s` in all to finish, and the file to others."""
        with self._lock:
            if self._fd < 0:
                return
            with contextlib.suppress(OSError):
                self._sync()
            fd, self._fd = self._fd, -1
            followers, self._followers = self._followers, []
        _open_journals.discard(self)
        os.close(fd)
        Follower.finish_all(followers, self._state, self._catch_up_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        """Hand the line to the system whole, or leave the file as it was."""
        if os.fstat(self._fd).st_nlink == 0:
            raise FileNotFoundError(2, "it was deleted while the run was going on")
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise

    def _sync(self) -> None:
        """Have the disk keep what was written; the trackers see nothing that could be lost yet."""
        os.fsync(self._fd)
        self._committed = self._size
        for follower in self._followers:
            follower.extend(self._size)

    def _error(self, what: str, error: OSError) -> KbexpError:
        why = error.strerror or str(error)
        return KbexpError(f"The journal {self.path} {what}: {why}.")

    def _forget(self) -> None:
        """Let go of the file in a forked child, which would keep it locked otherwise."""
        fd, self._fd = self._fd, -1
        self._followers = []
        self._lock = threading.Lock()
        if fd >= 0:
            os.close(fd)


_open_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _forget_journals() -> None:
    for journal in list(_open_journals):
        journal._forget()
    _open_journals.clear()


os.register_at_fork(after_in_child=_forget_journals)


def _claim(fd: int, path: Path) -> None:
    """Lock the file; the kernel lets go of it when the process ends, however it ends."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise KbexpError(
            f"The journal {path} is being written by another run; wait for it to end or choose "
            "another folder."
        ) from error


def _mend(fd: int, path: Path) -> int:
    """Cut off what was not written whole and return the size in bytes; the rest is not touched."""
    size = os.fstat(fd).st_size
    if size == 0:
        return 0
    with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as view:
        if (zero := first_zero(view)) is not None:
            end = view.rfind(b"\n", 0, zero) + 1
            return _cut(fd, end)
        start = view.rfind(b"\n", 0, size - 1) + 1
        line = view[start:]
    if torn(line):
        return _cut(fd, start)
    if not line.endswith(b"\n"):
        os.write(fd, b"\n")
        os.fsync(fd)
        return size + 1
    return size


def _cut(fd: int, size: int) -> int:
    os.ftruncate(fd, size)
    os.fsync(fd)
    return size


def _sync_folder(folder: Path) -> None:
    """Make a new file's name as durable as its content."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
