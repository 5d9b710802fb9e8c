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

HALVINGS = range(-4, 8)
"""So often is a nudge halved to find the least that one decision changes. It begins wide: of many
thousand elements that a few hundred decisions change together, a usual one may move none."""

TOGETHER_S = 1.0
"""No further nudge is tried after this."""

STEEP = 0.3, 0.7
"""An element that moves by such a share of itself when the nudge is halved is steep, and jumps
nowhere."""


def changed_together(
    precise: Precise | None,
    inputs: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
) -> list[int]:
    """Return how many elements of each answer one decision changes; 0 where none was seen.

    The less inputs are moved, the fewer decisions turn out otherwise: the fewest elements that jump
    at all are those of one or two. What only changes quickly moves half as far by half a nudge, as
    float64 shows; in narrower types a nudge is some steps or none.
    """
    until = time.monotonic() + TOGETHER_S
    fewest = [0] * len(answers)
    if precise is None:
        return fewest
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
                if count and count < (fewest[number] or math.inf):
                    fewest[number] = count
            wider = changes
    return fewest


def _change(moved: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Return by how much each element moved, in a row."""
    import torch

    wide = torch.complex128 if answer.is_complex() else torch.float64
    return (moved.to(wide) - answer.to(wide)).abs().reshape(-1)
