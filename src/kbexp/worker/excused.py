"""Of what is wrong and forgiven, how much did rounding decide?

So many elements of an answer may be anything (see `jumps`), and who knows that could leave out
work whose result is no more than these. So it is looked where they lie: what rounding decides is
decided otherwise where the reference computes in float64, finds ties from the other end or is
given inputs that are off by a few units of their last place. What is wrong anywhere else is counted
over a whole evaluation.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kbexp.worker.jumps import ties_resolved
from kbexp.worker.nudges import run
from kbexp.worker.precise import Precise, in_double
from kbexp.worker.tolerance import Tolerance, wrong_places

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Problem

LEAST = 1e-6
LAST_PLACES = 16.0
"""Inputs are off by such a share of themselves, or by up to so many units of their last place, as
another order of some thousand operations is."""

MORE = 4.0
MOST = 1e-2
"""By so many times as much, and up to this share, while fewer than `AT_LEAST` times as many
elements jump as in float64: a reference in TF32 is farther off the truth than its last place."""

AT_LEAST = 2.0
AGAIN = 2
"""So often inputs are moved by what suffices, and each time the other way, too: of two that are
equal, the one or the other is then the larger."""

FEW_PLACES = 4.0
"""And so many units at least: less hardly moves a number of few bits."""

SHARE = 1 / 16
"""For so many elements that rounding decides, one may be wrong that does not show it. Of three
honest kernels for points that leave the Mandelbrot set it was one in a hundred, of one that left
out two thirds of the steps one in eight."""

TIME_S = 2.0
FEWEST_LOOKS = 3
"""After so long no further call is looked at in one evaluation, but for so many on the task's own
inputs, however busy the machine is. A kernel without wrong elements spends none of it."""

LONGEST_S = 20.0
"""No single call is looked at for longer."""


class Excused:
    """Counts, in one evaluation and for every output, wrong elements that would be forgiven."""

    def __init__(self, problem: Problem, tolerances: Sequence[Tolerance]) -> None:
        self._problem = problem
        self._tolerances = tolerances
        self._decided = [0] * len(tolerances)
        self._others = [0] * len(tolerances)
        self._share = LEAST
        self._looked_s = 0.0
        self._looks = 0
        self._precise: Precise | None = None
        # Not torch's own numbers, of which others draw weights and inputs at the same time.
        self._chance = random.SystemRandom()

    def too_many(
        self,
        given: Sequence[torch.Tensor],
        expected: Sequence[torch.Tensor],
        inputs: Sequence[torch.Tensor],
        varied: bool = False,
    ) -> list[str]:
        """Take in one call's outputs, which would pass; say of what more is wrong than may be.

        On inputs that are `varied` less may be wrong: the fewest looks are at the task's own.

        [] where rounding may have decided all of it, or where nobody can tell.
        """
        import torch

        if self._looked_s > TIME_S and (varied or self._looks >= FEWEST_LOOKS):
            return []
        wrong = [
            wrong_places(one, answer, tolerance) if tolerance.spare else None
            for one, answer, tolerance in zip(given, expected, self._tolerances, strict=True)
        ]
        if not any(places is not None and bool(places.any().item()) for places in wrong):
            return []
        self._looks += not varied
        begun = time.monotonic()
        try:
            # The reference may overwrite what it answered before.
            decided = self._decided_places(inputs, [answer.clone() for answer in expected])
        except RuntimeError:  # OutOfMemoryError, or a library's own word for it
            decided = None
        if expected[0].is_cuda:
            torch.cuda.empty_cache()  # The runners may need what float64 took.
        self._looked_s += time.monotonic() - begun
        found = []
        for number, places in enumerate(wrong):
            if places is None or decided is None:
                continue
            here = int((places & decided[number]).sum().item())
            self._decided[number] += here
            self._others[number] += int(places.sum().item()) - here
            anywhere = self._tolerances[number].anywhere
            if self._others[number] > anywhere + SHARE * self._decided[number]:
                found.append(
                    f"output {number}: {self._others[number]} elements that neither rounding nor "
                    "ties decide were wrong in the calls that were looked at so far"
                )
        return found

    def _decided_places(
        self, inputs: Sequence[torch.Tensor], answers: Sequence[torch.Tensor]
    ) -> list[torch.Tensor] | None:
        """Return, for each answer's elements in a row, whether rounding decides them.

        None where that cannot be known, or takes too long.
        """
        until = time.monotonic() + LONGEST_S
        if self._precise is None:
            self._precise = in_double(self._problem)
        truths = self._precise.answers(inputs, answers) if self._precise is not None else None
        if truths is None:
            return None
        decided = self._jumped(truths, answers)
        jumped = [int(places.sum().item()) for places in decided]
        rivals = ties_resolved(self._problem, inputs, answers)
        if rivals is not None:
            decided = _either(decided, self._jumped(rivals, answers))
        enough = 0
        while enough < AGAIN:
            seed = self._chance.getrandbits(62)
            one = self._moved(inputs, answers, self._share, seed)
            other = self._moved(inputs, answers, -self._share, seed)
            if one is None or other is None:
                return None
            places = _either(self._jumped(one, answers), self._jumped(other, answers))
            decided = _either(decided, places)
            counts = [int(some.sum().item()) for some in places]
            few = any(c < AT_LEAST * j for c, j in zip(counts, jumped, strict=True))
            if few and self._share < MOST:
                if time.monotonic() > until:
                    return None
                self._share *= MORE
            else:
                enough += 1
        return decided

    def _jumped(
        self, rivals: Sequence[torch.Tensor], answers: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        return [
            wrong_places(rival.to(answer.dtype), answer, tolerance)
            for rival, answer, tolerance in zip(rivals, answers, self._tolerances, strict=True)
        ]

    def _moved(
        self,
        inputs: Sequence[torch.Tensor],
        answers: Sequence[torch.Tensor],
        share: float,
        seed: int,
    ) -> list[torch.Tensor] | None:
        """Return the answers to inputs that are off by up to such a share, or by last places.

        Those of one seed and the negative share are off by as much the other way. Where there are
        only whole numbers, parameters are moved.
        """
        import torch

        problem = self._problem
        device = answers[0].device
        generator = torch.Generator(device).manual_seed(seed)
        if any(tensor.is_floating_point() for tensor in inputs):
            return run(problem, inputs, answers, lambda tensor: _off(tensor, share, generator))
        if not isinstance(problem.model, torch.nn.Module):
            return None
        model = copy.deepcopy(problem.model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(_off(parameter, share, generator))
        return run(replace(problem, model=model), inputs, answers, torch.Tensor.clone)


def _off(tensor: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    import torch

    if not tensor.is_floating_point():
        return tensor.clone()
    eps = torch.finfo(tensor.dtype).eps
    most = max(min(max(LAST_PLACES * eps, abs(share)), MOST), FEW_PLACES * eps)
    # In place and of its own type: inputs may fill half of a device.
    drawn = torch.empty_like(tensor).uniform_(-most, most, generator=generator)
    if share < 0:
        drawn.neg_()
    return drawn.mul_(tensor).add_(tensor)


def _either(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [one | other for one, other in zip(some, others, strict=True)]
