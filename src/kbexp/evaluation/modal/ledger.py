"""What containers cost: from their start to their end, whether they work or wait.

Modal does not tell a client when a container starts and ends. A container says its age with every
answer, and its end follows from what is known of the app. Where nothing is known it is taken to
live on, so that the figure errs upwards. Capacity that is waited for and images that are built are
not counted, as they are not charged for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Life:
    """One container, in seconds of the ledger's clock; `end_s` is None while it lives."""

    start_s: float
    seen_s: float
    end_s: float | None = None


class Ledger:
    """Counts the seconds of one kind of container; safe to be used from several threads.

    `usd_per_s` is the price, `idle_s` how long an idle container lives, `most` how many there are
    at the same time, `kept` how many are kept whether they are idle or not.
    """

    def __init__(
        self,
        usd_per_s: float,
        *,
        idle_s: float,
        most: int,
        kept: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._usd_per_s = usd_per_s
        self._idle_s = idle_s
        self._most = most
        self._kept = kept
        self._clock = clock
        self._opened_s = clock()
        self._closed_s: float | None = None
        self._lives: dict[str, _Life] = {}
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds of all containers so far."""
        with self._lock:
            now = self._clock() if self._closed_s is None else self._closed_s
            self._end_idle(now)
            return sum(
                max(0.0, (now if life.end_s is None else min(now, life.end_s)) - life.start_s)
                for life in self._lives.values()
            )

    @property
    def usd(self) -> float:
        """What they cost."""
        return self.seconds * self._usd_per_s

    @property
    def containers(self) -> int:
        """How many different containers answered."""
        return len(self._lives)

    def open(self) -> None:
        """Say that from now on containers may start: none is older."""
        with self._lock:
            self._opened_s = self._clock()

    def saw(self, name: str, age_s: float, *, last: bool = False) -> None:
        """Take in that a container has answered; `last` where it takes nothing more."""
        with self._lock:
            now = self._clock()
            life = self._lives.get(name)
            if life is None:
                start_s = max(now - age_s, self._opened_s)
                self._make_room(start_s)
                life = self._lives[name] = _Life(start_s, now)
            life.seen_s = now
            life.end_s = now if last else None

    def close(self) -> None:
        """Say that all containers end now, or are somebody else's from here on."""
        with self._lock:
            if self._closed_s is None:
                self._closed_s = self._clock()

    def _make_room(self, start_s: float) -> None:
        """End those heard of longest ago where a new one says that there are fewer of them."""
        alive = sorted(
            (life for life in self._lives.values() if life.end_s is None),
            key=lambda life: life.seen_s,
        )
        for life in alive[: max(0, len(alive) + 1 - self._most)]:
            life.end_s = max(life.seen_s, start_s)

    def _end_idle(self, now: float) -> None:
        alive = sorted(
            (life for life in self._lives.values() if life.end_s is None),
            key=lambda life: -life.seen_s,
        )
        for life in alive[self._kept :]:
            if now - life.seen_s > self._idle_s:
                life.end_s = life.seen_s + self._idle_s
