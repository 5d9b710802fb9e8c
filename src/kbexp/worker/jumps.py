"""How many elements of a task's answers does rounding decide, or a tie?

Which expert a token goes to, which of two scores is the eighth, to which whole number a value is
rounded: where two are nearly equal, another order of the same operations may find the other one,
and an element is then not a little off but something else. No share of its size says how far, so
such elements are counted: those that the reference itself, in float64 and with ties resolved the
other way, answers differently. One decision may change many elements: where rounded values go into
a product, a row of it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kbexp.worker.operators import has_ties, ties_the_other_way
from kbexp.worker.tolerance import Tolerance, share_of, wrong_elements, wrong_places

if TYPE_CHECKING:
    import torch

    from kbexp.worker.precise import Precise
    from kbexp.worker.reference import Problem

FACTOR = 4.0
FEW = 6
"""So many times as many elements as the reference's are forgiven, as of its error, and so many
more, or so many times what one decision changes: of few that are expected more come now and then,
and two that change places are two."""

UNSEEN = 2
"""Of so many more that might have jumped, none may be seen in all draws."""

MOST = 0.05
"""No larger share is forgiven, and none where the reference itself differs in more: whoever leaves
it out gains as much at most."""

NUDGE = 0.1
"""Inputs are moved by up to this share of their type's tolerance. No answer that depends on them
steadily shows that; some that rounding decides once in a million calls do."""

FAR_NUDGE = 1e-2
"""And by up to this share of themselves where all elements have to be equal."""

HALVINGS = range(-4, 8)
"""So often is a nudge halved to find the least that one decision changes. It begins wide: of many
thousand elements that a few hundred decisions change together, a usual one may move none."""

TOGETHER_S = 1.0
"""No further nudge is tried after this."""

CHUNK = 2**22
"""Elements that are moved at a time."""

STEEP = 0.3, 0.7
"""An element that moves by such a share of itself when the nudge is halved is steep, and jumps
nowhere."""

ENOUGH = 2**17
TIME_S = 0.5
"""So many elements of an answer are looked at where any of them may jump, in inputs that are drawn
anew, or as many as there is time for."""


@dataclass(slots=True)
class _Seen:
    """How many elements of an answer jumped, in all draws: of themselves, and of moved inputs.

    `together` is how many do at once.
    """

    size: int
    exact: bool
    jumped: int = 0
    moved: int = 0
    together: int = 1

    def few(self, draws: int) -> bool:
        """Return whether more are to be looked at."""
        jumps = self.exact or self.jumped or self.moved
        return bool(jumps) and draws * self.size < ENOUGH

    def forgiving(self, tolerance: Tolerance, draws: int) -> Tolerance:
        """Return the tolerance with which so many are forgiven in one answer."""
        usual = self.jumped / draws
        if usual > MOST * self.size or not self.jumped + self.moved:
            return tolerance
        few, most = FEW * self.together, int(MOST * self.size)
        spare = min(int(FACTOR * (usual + UNSEEN / draws)) + few, most)
        return replace(tolerance, spare=spare, anywhere=min(few, spare))


def forgiving(
    problem: Problem,
    precise: Precise | None,
    another: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
) -> list[Tolerance]:
    """Return the tolerances with which elements that rounding or a tie decides are forgiven.

    `another` is another draw of the inputs.
    """
    until = time.monotonic() + TIME_S
    trial = problem.trials[0]
    inputs, answers = trial.inputs, trial.expected
    seen = [_Seen(a.numel(), t.share is None) for a, t in zip(answers, tolerances, strict=True)]
    draws = 0
    while True:
        others = list(_others(problem, precise, inputs, answers))
        jumped = [_wrong(other, answers, tolerances) for other in others]
        moved = {
            far: moved_elements(problem, inputs, answers, tolerances, far=far)
            for far in {found.exact for found in seen}
        }
        for number, found in enumerate(seen):
            found.jumped += max((counts[number] for counts in jumped), default=0)
            found.moved += moved[found.exact][number]
        draws += 1
        more = draws == 1 or any(found.few(draws) for found in seen)
        if time.monotonic() > until or not more:
            break
        inputs = list(another) if draws == 1 else problem.draw()
        answers = problem.answers([tensor.clone() for tensor in inputs])
    for found, count in zip(seen, _together(precise, inputs, answers, tolerances), strict=True):
        found.together = max(count, 1)
        found.moved += count
    return [found.forgiving(t, draws) for found, t in zip(seen, tolerances, strict=True)]


def _together(
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
            moved = precise.answers([_nudged(tensor, halved=halved) for tensor in wide], answers)
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
        change = functools.partial(_nudged, far=far, outward=outward)
        moved = run(problem, inputs, answers, change)
        if moved is not None:
            most = list(map(max, most, _wrong(moved, answers, tolerances)))
    return most


def _others(
    problem: Problem,
    precise: Precise | None,
    inputs: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
) -> Iterator[list[torch.Tensor]]:
    """Yield answers that are as right as the reference's."""
    truths = precise.answers(inputs, answers) if precise is not None else None
    if truths is not None:
        yield truths
    rivals = ties_resolved(problem, inputs, answers)
    if rivals is not None:
        yield rivals


def ties_resolved(
    problem: Problem, inputs: Sequence[torch.Tensor], like: Sequence[torch.Tensor]
) -> list[torch.Tensor] | None:
    """Return the answers with ties resolved from the other end; None where there are no ties."""
    import torch

    if not has_ties(problem):
        return None
    with ties_the_other_way():
        return run(problem, inputs, like, torch.Tensor.clone)


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


def _nudged(
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


def _change(moved: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Return by how much each element moved, in a row."""
    import torch

    wide = torch.complex128 if answer.is_complex() else torch.float64
    return (moved.to(wide) - answer.to(wide)).abs().reshape(-1)


def _wrong(
    rivals: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
) -> list[int]:
    return [
        wrong_elements(rival.to(answer.dtype), answer, tolerance).numel()
        for rival, answer, tolerance in zip(rivals, answers, tolerances, strict=True)
    ]
