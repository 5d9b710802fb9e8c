"""What a judge finds out about a task before it judges kernels on it.

How large the reference's own error is, which sets the tolerance; on which other inputs its
answers can be relied on; and whether an answer that took no work would pass.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbexp.worker.arena import Layout
from kbexp.worker.effortless import effortless, passes
from kbexp.worker.operators import names_any_of_equals, wants_probabilities
from kbexp.worker.promises import Promise
from kbexp.worker.tolerance import relative_error, tolerance_of
from kbexp.worker.tree import output_tensors, unflatten
from kbexp.worker.variants import KINDS, TIES, defined, vary

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Problem

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

TIME_S = 5.0
"""No further variant is looked at after this: a task of large tensors is to start in time."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found: the layout of a slot, the tolerance of every output, usable variants.

    A share of None means that elements must be equal. `faults` are sentences for people. `aliases`
    says that the reference's answers lie in the memory of its inputs. `promised` is what the
    generator promises of every input; () is nothing.
    """

    layout: Layout
    shares: tuple[float | None, ...]
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
    started = time.monotonic()
    trial = problem.trials[0]
    bases = [tolerance_of(tensor) for tensor in trial.expected]
    shares = list(bases)
    kinds = []
    precise = _in_double(problem)
    errors = _errors(problem, precise, trial.inputs, trial.expected)
    for index, (base, error) in enumerate(zip(bases, errors, strict=True)):
        if base is not None and error is not None:
            shares[index] = widened(base, error)
    others = trial.expected
    if any(answer.numel() == 1 for answer in others):
        others = problem.answers([tensor.clone() for tensor in another])
    faults = effortless(trial.inputs, trial.expected, shares, others)
    lasting, aliases = _called_again(problem, shares)
    left_out = set(TIES) if names_any_of_equals(problem) else set()
    if any(tensor.is_cuda for tensor in trial.inputs) and wants_probabilities(problem):
        left_out.add("negated")
    for kind in KINDS:
        if kind in left_out:
            continue
        if time.monotonic() - started > TIME_S:
            break
        inputs = vary(kind, trial.inputs, promised)
        if inputs is None:
            continue
        answers = _reliable(problem, precise, inputs, trial.expected, shares)
        if answers is not None:
            kinds.append(kind)
            # What passes on the task's own inputs alone is found out on varied ones.
            still = effortless(inputs, answers, shares, trial.expected) if faults else []
            faults = [fault for fault in faults if fault in still]
    return Examination(layout, tuple(shares), tuple(kinds), (*faults, *lasting), aliases, promised)


def widened(base: float, error: float) -> float:
    """Return the tolerance for a type's and the reference's own error."""
    usual = min(max(base, ERROR_FACTOR * error), WIDEST * base)
    rough = ROUGH_FACTOR * error
    return max(usual, rough) if rough <= ROUGHEST * base else usual


def _called_again(problem: Problem, shares: list[float | None]) -> tuple[list[str], bool]:
    """Call the reference once more on the first inputs.

    Return why its answers cannot be compared with, in short words, and whether they lie in the
    memory of the inputs.
    """
    import torch

    trial = problem.trials[0]
    inputs = [tensor.clone() for tensor in trial.inputs]
    again = [answer.detach() for answer in problem.outputs(inputs)]
    memory = {tensor.untyped_storage().data_ptr() for tensor in inputs}
    aliases = any(answer.untyped_storage().data_ptr() in memory for answer in again)
    if not all(bool(torch.isfinite(answer).all().item()) for answer in trial.expected):
        return ["the reference's output holds NaN or infinities"], aliases
    if not passes(again, trial.expected, shares):
        return ["the reference answers differently when it is called again"], aliases
    return [], aliases


def _in_double(problem: Problem) -> object | None:
    """Return the reference in float64; None where it has no such form."""
    import torch

    if not isinstance(problem.model, torch.nn.Module):
        return None
    try:
        return copy.deepcopy(problem.model).double()
    except Exception:  # a task's module may define any of this
        return None


def _errors(
    problem: Problem,
    precise: object | None,
    inputs: list[torch.Tensor],
    answers: list[torch.Tensor],
) -> list[float | None]:
    """Return how far each answer is from float64's, relative as the tolerance is."""
    import torch

    unknown: list[float | None] = [None] * len(answers)
    if precise is None:
        return unknown
    wide = [t.double() if t.is_floating_point() else t.clone() for t in inputs]
    try:
        with torch.no_grad():
            truths = output_tensors(precise(*unflatten(problem.tree, wide)))  # type: ignore[operator]
    except Exception:  # such as a type that is written into the task
        return unknown
    if [t.shape for t in truths] != [t.shape for t in answers]:
        return unknown
    return [
        relative_error(answer, truth) if truth.dtype == torch.float64 else None
        for answer, truth in zip(answers, truths, strict=True)
    ]


def _reliable(
    problem: Problem,
    precise: object | None,
    inputs: list[torch.Tensor],
    plain: list[torch.Tensor],
    shares: list[float | None],
) -> list[torch.Tensor] | None:
    """Return the reference's answers to varied inputs if they are defined, and exact enough."""
    try:
        answers = problem.answers([tensor.clone() for tensor in inputs])
    except Exception:  # such as an index made from a value
        return None
    if not defined(answers, plain):
        return None
    errors = _errors(problem, precise, inputs, answers)
    exact = all(
        error is None or share is None or base is None or _covers(share, base, error)
        for error, share, base in zip(errors, shares, map(tolerance_of, plain), strict=True)
    )
    return answers if exact else None


def _covers(share: float, base: float, error: float) -> bool:
    """Return whether a tolerance is wide enough for such an error of the reference."""
    return error * (ROUGH_ROOM if share > WIDEST * base else ERROR_FACTOR) <= share
