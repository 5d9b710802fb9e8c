"""How many elements of a task's answers does rounding decide, or a tie?

Which expert a token goes to, which of two scores is the eighth, to which whole number a value is
rounded: where two are nearly equal, another order of the same operations may find the other one,
and an element is then not a little off but something else. No share of its size says how far, so
such elements are counted: those that the reference itself, in float64 and with ties resolved the
other way, answers differently. One decision may change many elements: where rounded values go into
a product, a row of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kbexp.worker.nudges import moved_elements, run, wrong_counts
from kbexp.worker.operators import has_ties, ties_the_other_way
from kbexp.worker.together import changed_together
from kbexp.worker.tolerance import Tolerance

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
        jumped = [wrong_counts(other, answers, tolerances) for other in others]
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
    together = changed_together(precise, inputs, answers, tolerances)
    for found, count in zip(seen, together, strict=True):
        found.together = max(count, 1)
        found.moved += count
    return [found.forgiving(t, draws) for found, t in zip(seen, tolerances, strict=True)]


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
