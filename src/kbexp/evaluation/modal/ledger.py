"""What containers cost: from their start to their end, whether they work or wait.

Modal does not tell a client when a container starts and ends. A container says its age with every
answer, and its end follows from what is known of the app. Where nothing is known it is taken to
live on for as long as it can, so that the figure errs upwards. Capacity that is waited for and
images that are built are not counted, as they are not charged for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

START_S = 1.0
"""A container is there before its process, by whose age it tells its own."""

GRACE_S = 30.0
"""What Modal gives a container to end in, and so the longest that one lives after its app."""

SILENCE_S = 60.0
"""So long after its client was heard of last, Modal ends an app; its words on this are a minute."""


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
        self._starting_s: float | None = None
        self._lives: dict[str, _Life] = {}
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds of all containers so far."""
        with self._lock:
            now = self._clock() if self._closed_s is None else self._closed_s
            self._end_idle(now)
            lived_s = sum(
                max(0.0, (now if life.end_s is None else min(now, life.end_s)) - life.start_s)
                for life in self._lives.values()
            )
            if self._starting_s is not None and not self._lives:
                lived_s += max(0.0, now - self._starting_s)
            return lived_s

    @property
    def usd(self) -> float:
        """What they cost."""
        return self.seconds * self._usd_per_s

    @property
    def usd_per_s(self) -> float:
        """What a second costs now, by the containers that are taken to live."""
        with self._lock:
            if self._closed_s is not None:
                return 0.0
            self._end_idle(self._clock())
            alive = sum(life.end_s is None for life in self._lives.values())
            if not self._lives and self._starting_s is not None:
                alive = 1
            return alive * self._usd_per_s

    @property
    def containers(self) -> int:
        """How many different containers answered."""
        return len(self._lives)

    def open(self) -> None:
        """Say that from now on containers may start: none is older."""
        with self._lock:
            self._opened_s = self._clock()

    def starting(self) -> None:
        """Say that there is a container that has not answered yet."""
        with self._lock:
            if self._starting_s is None:
                self._starting_s = max(self._clock() - START_S, self._opened_s)

    def saw(self, name: str, age_s: float, *, last: bool = False) -> list[str]:
        """Take in that a container has answered; `last` where it takes nothing more.

        Returns the names of those that must have ended, because there would be too many of them.
        """
        with self._lock:
            now = self._clock()
            life = self._lives.get(name)
            gone = []
            if life is None:
                start_s = max(now - age_s - START_S, self._opened_s)
                gone = self._make_room(start_s)
                life = self._lives[name] = _Life(start_s, now)
            life.seen_s = now
            life.end_s = now + GRACE_S if last else None
            return gone

    def close(self, later_s: float = 0.0) -> None:
        """Say that all containers end now, or are somebody else's from here on.

        Where nothing more will be known of them, they are taken to end so much `later_s`.
        """
        with self._lock:
            if self._closed_s is None:
                self._closed_s = self._clock() + later_s

    def _make_room(self, start_s: float) -> list[str]:
        """End those heard of longest ago where a new one says that there are fewer of them."""
        alive = sorted(
            ((name, life) for name, life in self._lives.items() if life.end_s is None),
            key=lambda named: named[1].seen_s,
        )
        ended = alive[: max(0, len(alive) + 1 - self._most)]
        for _, life in ended:
            life.end_s = max(life.seen_s, start_s)
        return [name for name, _ in ended]

    def _end_idle(self, now: float) -> None:
        alive = sorted(
            (life for life in self._lives.values() if life.end_s is None),
            key=lambda life: -life.seen_s,
        )
        for life in alive[self._kept :]:
            if now - life.seen_s > self._idle_s:
                life.end_s = life.seen_s + self._idle_s
