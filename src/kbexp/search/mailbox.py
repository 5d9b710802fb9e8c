"""A queue of one reader, who wakes in time whatever signals come meanwhile.

`queue.SimpleQueue` will not do: up to Python 3.12 its `get(timeout=…)` waits without end where a
signal interrupts it and the time is up when the signal's handler has returned. A run that was asked
to stop then waited until a model answered. A lock's `acquire` counts the time rightly.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """`put` may be called from any thread, `take` from one."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._bell = threading.Lock()
        """Free where something came since the reader last waited."""
        self._bell.acquire()

    def put(self, item: Item) -> None:
        """Add an item and wake the reader."""
        self._items.append(item)
        # Another thread may have rung meanwhile, which is as good: the reader has not looked yet.
        with contextlib.suppress(RuntimeError):
            self._bell.release()

    def take(self, timeout_s: float) -> Item:
        """Return the oldest item; raises TimeoutError where none comes within the time."""
        deadline = time.monotonic() + timeout_s
        while not self._items:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not self._bell.acquire(timeout=left_s):
                raise TimeoutError
        return self._items.popleft()
