"""New inputs of the task's own generator while a kernel is timed, as many as there is time for.

A mixture of two sets takes next to no time, but whoever keeps what a first linear layer makes of
both puts the answer to it together; and what cannot be mixed (indices, labels) is one of the two.
Inputs that are drawn anew have nothing in common with any before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kbexp.worker.arena import Layout
from kbexp.worker.memory import drawn_for

if TYPE_CHECKING:
    import torch

BLOCK_S = 0.35
"""For the inputs of one pair of blocks, which both sides are given. A generator of normal numbers
on a processor draws some 200 MB in that."""


class Draws:
    """Draws inputs with `more` on `device`; `layout` says how large they are."""

    def __init__(
        self, more: Callable[[], list[torch.Tensor]] | None, layout: Layout, device: str
    ) -> None:
        self._more = more
        self._layout = layout
        self._device = device
        self._each_s = 0.0
        self._first: list[list[torch.Tensor]] = []

    def most(self, wanted: int) -> int:
        """Return how many sets of inputs can be drawn at a time: `wanted`, or what there is."""
        if self._more is None:
            return 0
        fits = drawn_for(self._layout, wanted, self._device)
        return min(fits, int(BLOCK_S / self.each_s()))

    def each_s(self) -> float:
        """Return how long it takes to draw a set, 0 where there is no generator."""
        if self._more is not None and not self._each_s:
            begun = time.perf_counter()
            self._first = [self._drawn()]
            self._each_s = time.perf_counter() - begun
        return self._each_s

    def some(self, count: int) -> list[list[torch.Tensor]]:
        """Return so many sets of inputs that nobody has seen before; none if there is no time."""
        if self.most(count) < count:
            return []
        first, self._first = self._first[:count], self._first[count:]
        return [*first, *(self._drawn() for _ in range(count - len(first)))]

    def _drawn(self) -> list[torch.Tensor]:
        assert self._more is not None
        drawn = self._more()
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize(self._device)
        return drawn
