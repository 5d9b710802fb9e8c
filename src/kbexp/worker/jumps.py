"""How many elements of a task's answers does rounding decide, or a tie?

Which expert a token goes to, which of two scores is the eighth, to which whole number a value is
rounded: where two are nearly equal, another order of the same operations may find the other one,
and an element is then not a little off but something else. No share of its size says how far, so
such elements are counted: those that the reference itself, in float64 and with ties resolved the
other way, answers differently.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbexp.worker.operators import has_ties, ties_the_other_way
from kbexp.worker.tolerance import Tolerance, share_of, wrong_elements

if TYPE_CHECKING:
    import torch

    from kbexp.worker.precise import Precise
    from kbexp.worker.reference import Problem

FACTOR = 4.0
FEW = 6
"""So many times as many elements as the reference's are forgiven, as of its error, and so many
more: of few that are expected more come now and then, and two that change places are two."""

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

ENOUGH = 2**17
TIME_S = 0.5
"""So many elements of an answer are looked at where any of them may jump, in inputs that are drawn
anew, or as many as there is time for."""


@dataclass(slots=True)
class _Seen:
    """How many elements of an answer jumped, in all draws: of themselves, and of moved inputs."""

    size: int
    exact: bool
    jumped: int = 0
    moved: int = 0

    def few(self, draws: int) -> bool:
        """Return whether more are to be looked at."""
        jumps = self.exact or self.jumped or self.moved
        return bool(jumps) and draws * self.size < ENOUGH

    def spare(self, draws: int) -> int:
        """Return how many are forgiven in one answer."""
        usual = self.jumped / draws
        if usual > MOST * self.size or not self.jumped + self.moved:
            return 0
        usual += UNSEEN / draws
        return min(int(FACTOR * usual) + FEW, int(MOST * self.size))


def spare_elements(
    problem: Problem,
    precise: Precise | None,
    another: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
) -> list[int]:
    """Return how many elements of each answer may be anything.

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
            return [found.spare(draws) for found in seen]
        inputs = list(another) if draws == 1 else problem.draw()
        answers = problem.answers([tensor.clone() for tensor in inputs])


def moved_elements(
    problem: Problem,
    inputs: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
    *,
    far: bool = False,
) -> list[int]:
    """Return how many elements of each answer are wrong where inputs are moved a little."""
    moved = run(problem, inputs, answers, lambda tensor: _nudged(tensor, far))
    return [0] * len(answers) if moved is None else _wrong(moved, answers, tolerances)


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


def _nudged(tensor: torch.Tensor, far: bool) -> torch.Tensor:
    """Return a copy whose elements are a little nearer to zero, small ones by a larger share.

    What is between 0 and 1 remains so, and what is larger than another element remains so: no
    rounding decides between two inputs that are compared as they are.
    """
    import torch

    share = share_of(tensor)
    if share is None or not tensor.is_floating_point() or not tensor.numel():
        return tensor.clone()
    most = FAR_NUDGE if far else NUDGE * share
    wide = tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
    scale = float(torch.linalg.vector_norm(wide).item()) / wide.numel() ** 0.5
    # Each step keeps the order, rounded or not; in place, since inputs may fill half of a device.
    factor = wide.abs().div_(scale or 1.0).add_(1.0).reciprocal_().mul_(-most).add_(1.0)
    return factor.mul_(wide).to(tensor.dtype)


def _wrong(
    rivals: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
) -> list[int]:
    return [
        wrong_elements(rival.to(answer.dtype), answer, tolerance).numel()
        for rival, answer, tolerance in zip(rivals, answers, tolerances, strict=True)
    ]
