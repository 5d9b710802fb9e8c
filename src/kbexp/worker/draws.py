"""New inputs of the task's own generator while a kernel is timed, as many as there is time for.

A mixture of two sets takes next to no time, but whoever keeps what a first linear layer makes of
both puts the answer to it together; and what cannot be mixed (indices, labels) is one of the two.
Inputs that are drawn anew have nothing in common with any before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kbexp.worker.arena import Layout
from kbexp.worker.memory import drawn_for

if TYPE_CHECKING:
    import torch

BLOCK_S = 0.35
"""For the inputs of one pair of blocks, which both sides are given. A generator of normal numbers
on a processor draws some 200 MB in that."""

QUICK_S = 0.5
"""For all calls of one kind that are made in a closer look."""


class Draws:
    """Draws inputs with `more`; `layout` says how large they are.

    Drawing a set takes `each_s`: known from before there was a kernel, which could slow it down.
    """

    def __init__(
        self,
        more: Callable[[], list[torch.Tensor]] | None,
        each_s: float,
        layout: Layout,
        device: str,
    ) -> None:
        self.each_s = each_s
        self._more = more
        self._layout = layout
        self._device = device

    def most(self, wanted: int) -> int:
        """Return how many sets of inputs can be drawn at a time: `wanted`, or what there is."""
        if self._more is None:
            return 0
        fits = drawn_for(self._layout, wanted, self._device)
        return min(fits, int(BLOCK_S / max(self.each_s, 1e-6)))

    def quick(self, calls: int) -> bool:
        """Return whether inputs for so many calls in all are drawn in next to no time."""
        return self._more is not None and self.each_s * calls <= QUICK_S

    def some(self, count: int) -> list[list[torch.Tensor]]:
        """Return so many sets of inputs that nobody has seen before; none if there is no time."""
        if self._more is None or self.most(count) < count:
            return []
        return [self._more() for _ in range(count)]
