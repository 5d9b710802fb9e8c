"""How many elements of a task's answers does one decision of its rounding change?"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kbexp.worker.nudges import nudged
from kbexp.worker.tolerance import Tolerance, wrong_places

if TYPE_CHECKING:
    import torch

    from kbexp.worker.precise import Precise

HALVINGS = range(-4, 27, 2)
"""So often is a nudge halved until it changes nothing. It begins wide: of many thousand elements
that a few hundred decisions change together, a usual one may move none."""

TOGETHER_S = 1.0
"""No further nudge is tried after this."""

STEEP = 0.1, 0.5
"""An element that moves by such a share of itself when the nudge is a quarter of what it was is
steep, and jumps nowhere."""


def changed_together(
    precise: Precise | None,
    inputs: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
) -> list[int]:
    """Return how many elements of each answer one decision changes; 0 where that did not show.

    The less inputs are moved, the fewer decisions turn out otherwise: the fewest elements that jump
    at all before none does are those of one or two. What only changes quickly moves a quarter as
    far by a quarter of a nudge, as float64 shows; in narrower types a nudge is some steps or none.
    """
    until = time.monotonic() + TOGETHER_S
    fewest = [math.inf] * len(answers)
    settled = [0] * len(answers)
    if precise is None:
        return settled
    wider: list[torch.Tensor] = []
    with contextlib.suppress(Exception):  # memory may be short
        wide = [tensor.double() if tensor.is_floating_point() else tensor for tensor in inputs]
        own = precise.answers(wide, answers)
        for halved in HALVINGS:
            moved = precise.answers([nudged(tensor, halved=halved) for tensor in wide], answers)
            if own is None or moved is None or time.monotonic() > until:
                break
            changes = [_change(*pair) for pair in zip(moved, own, strict=True)]
            for number, before in enumerate(wider):
                wrong = wrong_places(moved[number], own[number], tolerances[number])
                share = changes[number] / before
                count = int((wrong & ~((share > STEEP[0]) & (share < STEEP[1]))).sum().item())
                if count:
                    fewest[number] = min(count, fewest[number])
                elif fewest[number] < math.inf:
                    settled[number] = int(fewest[number])
            wider = changes
    return settled


def _change(moved: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Return by how much each element moved, in a row."""
    import torch

    wide = torch.complex128 if answer.is_complex() else torch.float64
    return (moved.to(wide) - answer.to(wide)).abs().reshape(-1)
