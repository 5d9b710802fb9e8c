"""Inputs that are moved by a hair, and what that makes of a task's answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kbexp.worker.tolerance import Tolerance, share_of, wrong_elements

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Problem

NUDGE = 0.1
"""Inputs are moved by up to this share of their type's tolerance. No answer that depends on them
steadily shows that; some that rounding decides once in a million calls do."""

FAR_NUDGE = 1e-2
"""And by up to this share of themselves where all elements have to be equal."""

CHUNK = 2**22
"""Elements that are moved at a time."""


def moved_elements(
    problem: Problem,
    inputs: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
    *,
    far: bool = False,
) -> list[int]:
    """Return how many elements of each answer are wrong where inputs are moved a little.

    Towards zero or away from it, whichever makes more wrong: what lies on an edge falls to one
    side of it.
    """
    most = [0] * len(answers)
    for outward in (False, True):
        change = functools.partial(nudged, far=far, outward=outward)
        moved = run(problem, inputs, answers, change)
        if moved is not None:
            most = list(map(max, most, wrong_counts(moved, answers, tolerances)))
    return most


def run(
    problem: Problem,
    inputs: Sequence[torch.Tensor],
    like: Sequence[torch.Tensor],
    change: Callable[[torch.Tensor], torch.Tensor],
) -> list[torch.Tensor] | None:
    """Return the answers to changed inputs; None where there are none of the shapes of `like`."""
    try:
        answers = problem.answers([change(tensor) for tensor in inputs])
    except Exception:  # inputs need not mean anything, memory may be short, not all can be watched
        return None
    return answers if [t.shape for t in answers] == [t.shape for t in like] else None


def nudged(
    tensor: torch.Tensor, far: bool = False, outward: bool = False, halved: int = 0
) -> torch.Tensor:
    """Return a copy whose elements are a little nearer to zero, small ones by a larger share.

    Or, `outward`, a little farther from it; by half as much for each time that it is `halved`. What
    is between 0 and 1 remains so, and what is larger than another element remains so: no rounding
    decides between two inputs that are compared as they are. Infinities stay.
    """
    import torch

    moved, share = tensor.clone(), share_of(tensor)
    if share is None or not tensor.is_floating_point() or not tensor.numel():
        return moved
    most = (FAR_NUDGE if far else NUDGE * share) / 2**halved
    # A part at a time: inputs may fill half of a device, and float64 keeps the order.
    parts = torch.split(moved.view(-1), CHUNK)
    squares = sum(float(p.double().square().nan_to_num_(0, 0, 0).sum().item()) for p in parts)
    scale = (squares / tensor.numel()) ** 0.5 or 1.0
    unit = outward and float(tensor.min().item()) >= 0 and float(tensor.max().item()) <= 1
    for part in parts:
        wide = part.double()
        by = 1 - wide if unit else 1 / (1 + wide.abs() / scale)
        part.copy_(wide * (1 + by * (most if outward else -most)))
    return moved


def wrong_counts(
    rivals: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
) -> list[int]:
    """Return how many elements of each answer are wrong, spare ones too."""
    return [
        wrong_elements(rival.to(answer.dtype), answer, tolerance).numel()
        for rival, answer, tolerance in zip(rivals, answers, tolerances, strict=True)
    ]
