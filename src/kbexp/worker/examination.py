"""What a judge finds out about a task before it judges kernels on it.

How large the reference's own error is, which sets the tolerance; on which other inputs its
answers can be relied on; and whether an answer that took no work would pass.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbexp.worker.arena import Layout
from kbexp.worker.effortless import effortless, passes
from kbexp.worker.jumps import FEW, forgiving
from kbexp.worker.nudges import moved_elements
from kbexp.worker.operators import names_any_of_equals, wants_probabilities
from kbexp.worker.precise import Precise, in_double
from kbexp.worker.promises import Promise
from kbexp.worker.tolerance import Tolerance, relative_error, share_of, wrong_elements
from kbexp.worker.variants import KINDS, TIES, defined, vary

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Problem, Trial

ERROR_FACTOR = 4.0
"""The tolerance is at least so many times the reference's own error: another order of the same
operations is as far from the truth as the reference, and may be so on the other side."""

WIDEST = 10.0
"""A tolerance is widened to at most so many times that of its type, if the truth passes then."""

ROUGH_FACTOR = 2.0
ROUGHEST = 64.0
"""Where it would not, the tolerance is so many times the reference's error, up to this many times
that of its type. On CUDA torch's convolutions of float32 use TF32 unless told otherwise: of some
million outputs the worst is then 16 times the type's tolerance off, and who computes in float32
differs from the reference by as much."""

ROUGH_ROOM = 1.5
"""By so much the tolerance of such a reference is to be larger than its error on other inputs."""

VARIED_FACTOR = 3.0
"""And of any other so many times that. As many times as its error on the first inputs it could
not be: where the tolerance is just those, the worst element of others is beyond it by chance in
every second case, and a task of bfloat16 came out without any variants."""

JUMPS_ROOM = 2.0
"""Other inputs may bring so many times as many elements near to where rounding decides: zeros and
whole numbers among them may bring all."""

TIME_S = 5.0
"""No further variant is looked at after this: a task of large tensors is to start in time."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found: the layout of a slot, the tolerance of every output, usable variants.

    `faults` are sentences for people. `aliases` says that the reference's answers lie in the memory
    of its inputs. `promised` is what the generator promises of every input; () is nothing.
    """

    layout: Layout
    tolerances: tuple[Tolerance, ...]
    kinds: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    aliases: bool = False
    promised: tuple[Promise, ...] = ()


def examine(
    problem: Problem,
    layout: Layout,
    another: Sequence[torch.Tensor],
    promised: tuple[Promise, ...] = (),
) -> Examination:
    """Run the reference in float64 beside itself, on the inputs as they come and on variants.

    `another` is another draw of the inputs.
    """
    trial = problem.trials[0]
    kinds = []
    precise = in_double(problem)
    tolerances = _shares(problem, precise, trial)
    others = trial.expected
    if any(answer.numel() == 1 for answer in others):
        others = problem.answers([tensor.clone() for tensor in another])
    faults = effortless(trial.inputs, trial.expected, tolerances, others)
    lasting, aliases = _called_again(problem, precise, tolerances)
    if not faults and not lasting:
        roomy = forgiving(problem, precise, another, tolerances)
        if not effortless(trial.inputs, trial.expected, roomy, others):
            tolerances = roomy
    started = time.monotonic()
    near = moved_elements(problem, trial.inputs, trial.expected, tolerances)
    yardstick = _Yardstick(problem, precise, tolerances, near)
    left_out = set(TIES) if names_any_of_equals(problem) else set()
    if any(tensor.is_cuda for tensor in trial.inputs) and wants_probabilities(problem):
        left_out.add("negated")
    for kind in KINDS:
        if kind in left_out:
            continue
        if time.monotonic() - started > TIME_S:
            break
        inputs = vary(kind, trial.inputs, promised)
        answers = None if inputs is None else yardstick.answers(inputs)
        if inputs is not None and answers is not None:
            kinds.append(kind)
            # What passes on the task's own inputs alone is found out on varied ones.
            still = effortless(inputs, answers, tolerances, trial.expected) if faults else []
            faults = [fault for fault in faults if fault in still]
    faults = [*faults, *lasting]
    return Examination(layout, tuple(tolerances), tuple(kinds), tuple(faults), aliases, promised)


def _shares(problem: Problem, precise: Precise | None, trial: Trial) -> list[Tolerance]:
    """Return the tolerance of every output, for what it is off the truth."""
    coarsest = problem.watched().tolerance
    bases = [share_of(tensor) for tensor in trial.expected]
    errors = _errors(precise, trial.inputs, trial.expected)
    return [
        Tolerance(base if base is None or error is None else widened(base, error, coarsest))
        for base, error in zip(bases, errors, strict=True)
    ]


def widened(base: float, error: float, coarsest: float = 0.0) -> float:
    """Return the tolerance for a type's and the reference's own error.

    Scores in float32 of products in bfloat16 are no more exact than those: where they are as far
    off, the most is that of `coarsest`, the tolerance of such a type.
    """
    usual = min(max(base, ERROR_FACTOR * error), WIDEST * max(base, coarsest))
    rough = ROUGH_FACTOR * error
    return max(usual, rough) if rough <= ROUGHEST * base else usual


def _called_again(
    problem: Problem, precise: Precise | None, tolerances: list[Tolerance]
) -> tuple[list[str], bool]:
    """Call the reference once more on the first inputs.

    Return why its answers cannot be compared with, in short words, and whether they lie in the
    memory of the inputs.
    """
    trial = problem.trials[0]
    inputs = [tensor.clone() for tensor in trial.inputs]
    again = [answer.detach() for answer in problem.outputs(inputs)]
    memory = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    aliases = any(answer.untyped_storage().data_ptr() in memory for answer in again)
    if not _meant(precise, trial):
        return ["the reference's output holds NaN or infinities"], aliases
    if not passes(again, trial.expected, tolerances):
        return ["the reference answers differently when it is called again"], aliases
    return [], aliases


def _meant(precise: Precise | None, trial: Trial) -> bool:
    """Return whether all answers are finite, or infinite where those in float64 are.

    Scores that are masked by infinities are what a task asks for; what overflows is not, nor NaN.
    """
    import torch

    if all(bool(torch.isfinite(answer).all().item()) for answer in trial.expected):
        return True
    truths = precise.answers(trial.inputs, trial.expected) if precise is not None else None
    if truths is None:
        return False
    return not any(
        bool((torch.isnan(answer) | (torch.isinf(answer) & (answer != truth))).any().item())
        for answer, truth in zip(trial.expected, truths, strict=True)
    )


def _errors(
    precise: Precise | None, inputs: list[torch.Tensor], answers: list[torch.Tensor]
) -> list[float | None]:
    """Return how far each answer is from float64's, relative as the tolerance is."""
    import torch

    truths = precise.answers(inputs, answers) if precise is not None else None
    if truths is None:
        return [None] * len(answers)
    return [
        relative_error(answer, truth) if truth.dtype == torch.float64 else None
        for answer, truth in zip(answers, truths, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Yardstick:
    """What kernels can be held to on varied inputs, too.

    `near` says how many elements of each answer to the task's own inputs jump where those are moved
    a little.
    """

    problem: Problem
    precise: Precise | None
    tolerances: list[Tolerance]
    near: list[int]

    def answers(self, inputs: list[torch.Tensor]) -> list[torch.Tensor] | None:
        """Return the reference's answers if they are defined, and no less exact than usual."""
        try:
            answers = self.problem.answers([tensor.clone() for tensor in inputs])
        except Exception:  # such as an index made from a value
            return None
        if not defined(answers, self.problem.trials[0].expected):
            return None
        truths = self.precise.answers(inputs, answers) if self.precise is not None else None
        if truths is not None and not all(map(_is_exact, answers, truths, self.tolerances)):
            return None
        near = moved_elements(self.problem, inputs, answers, self.tolerances)
        steady = all(
            count <= JUMPS_ROOM * usual + FEW for count, usual in zip(near, self.near, strict=True)
        )
        return answers if steady else None


def _is_exact(answer: torch.Tensor, truth: torch.Tensor, tolerance: Tolerance) -> bool:
    """Return whether an answer is closer to the truth than a kernel's has to be to the answer."""
    import torch

    base, share = share_of(answer), tolerance.share
    if tolerance.spare or base is None or share is None:
        wrong = wrong_elements(truth.to(answer.dtype), answer, tolerance).numel()
        return JUMPS_ROOM * wrong <= tolerance.spare
    error = relative_error(answer, truth) if truth.dtype == torch.float64 else None
    return error is None or _covers(share, base, error)


def _covers(share: float, base: float, error: float) -> bool:
    """Return whether a tolerance is wide enough for such an error of the reference."""
    return error * (ROUGH_ROOM if share >= WIDEST * base else VARIED_FACTOR) <= share
