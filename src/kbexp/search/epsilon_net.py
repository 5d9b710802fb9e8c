"""The ε-net: admits only proposals that lie far enough from everything held, farthest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kbexp.candidate import Embedder, Vector
from kbexp.errors import KbexpError
from kbexp.kernel import Kernel
from kbexp.search.points import Points

BATCH = 64
"""How many texts go to the embedder at once when a run is read back."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A proposal that is not admitted: the held kernel nearest to it, and how far it lies."""

    number: int
    nearest_id: str
    distance: float


@dataclass(slots=True)
class _Waiting:
    """What lies nearest to a kernel that waits, among the first `seen` of the points held."""

    distance: float = float("inf")
    nearest_id: str = ""
    seen: int = 0


class EpsilonNet:
    """What is held as points, and where the kernels that wait lie.

    A kernel whose vector cannot be had is compared with none: it is admitted, and admits all.
    The choice depends on nothing but what is held, so that one cut off halfway goes on as it
    would have.
    """

    def __init__(self, epsilon: float, embedder: Embedder) -> None:
        self.embedder = embedder
        self._epsilon = epsilon
        self._points = Points()
        self._vectors: dict[str, Vector] = {}
        self._waiting: dict[str, _Waiting] = {}

    def place(self, kernel: Kernel, vector: Vector) -> None:
        """Keep where a kernel lies until it is held or dropped.

        Raises ValueError for a vector that is none, or of another length than those before.
        """
        if not self._points.fits(vector):
            raise ValueError("what came is no vector, or of another length than those before")
        self._vectors[kernel.id] = vector

    def hold(self, kernel: Kernel) -> None:
        """Take a kernel in: what waits is compared with it from now on."""
        vector = self._vectors.pop(kernel.id, None)
        self._waiting.pop(kernel.id, None)
        if vector is not None:
            self._points.add(kernel.id, vector)

    def recall(self, held: Iterable[Kernel], waiting: Iterable[Kernel]) -> str:
        """Find places for what an earlier session held and had waiting; return what went wrong.

        The text is one sentence, or "" where all went well.
        """
        fault = ""
        held, waiting = list(held), list(waiting)
        for kernels, take in ((held, True), (waiting, False)):
            for first in range(0, len(kernels), BATCH):
                batch = kernels[first : first + BATCH]
                try:
                    vectors = self.embedder.embed([kernel.source for kernel in batch])
                    for kernel, vector in zip(batch, vectors, strict=True):
                        self.place(kernel, vector)
                        if take:
                            self.hold(kernel)
                except Exception as error:
                    fault = embedding_fault(error, "kernels that are held")
        return fault

    def sift(self, proposed: Mapping[int, Kernel]) -> tuple[int | None, list[Dropped]]:
        """Return the number to admit next, and all that lie within ε of what is held.

        The one to admit is the farthest of the rest (the lowest number of equals), None where
        there is no rest. Whoever admits it calls `hold`, then asks again.
        """
        best: tuple[float, int] | None = None
        dropped: list[Dropped] = []
        for number in sorted(proposed):
            near = self._nearest(proposed[number])
            if near.distance <= self._epsilon:
                dropped.append(Dropped(number, near.nearest_id, near.distance))
                self._waiting.pop(proposed[number].id, None)
            elif best is None or near.distance > best[0]:
                best = near.distance, number
        for drop in dropped:
            self._vectors.pop(proposed[drop.number].id, None)
        return best[1] if best else None, dropped

    def _nearest(self, kernel: Kernel) -> _Waiting:
        """Compare a kernel that waits with the points that it was not yet compared with."""
        near = self._waiting.setdefault(kernel.id, _Waiting())
        vector = self._vectors.get(kernel.id)
        if vector is None:
            return near
        distance, name = self._points.nearest(vector, near.seen)
        if (distance, name) < (near.distance, near.nearest_id):
            near.distance, near.nearest_id = distance, name
        near.seen = len(self._points)
        return near


def embedding_fault(error: Exception, what: str) -> str:
    """Say why a vector could not be had, in one sentence; what an error says only if it is ours."""
    why = str(error) if isinstance(error, KbexpError | ValueError) else type(error).__name__
    return f"No embedding of {what}: compared by text alone ({why.rstrip('.')})."
