"""On what do a task's answers not depend, though its reference works with it?

A branch that is multiplied by a parameter of zeros, or by 1e-5, leaves nothing in the answers that
a tolerance could see, and an input that is the same whenever it is drawn can be left unread: a
kernel that leaves such work out is right on all that it is given, and looks fast.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kbexp.worker.effortless import CONSTANT, ZEROS, passes
from kbexp.worker.variants import vary

if TYPE_CHECKING:
    import torch

    from kbexp.worker.examination import Examination
    from kbexp.worker.reference import Problem
    from kbexp.worker.tolerance import Tolerance

TIME_S = 2.0
"""Nothing further is tried after this, of parameters and of inputs each; the largest parameters,
with which most is done, come first."""

MOST_NAMED = 3

MOST_DRAWS = 12
"""Further sets of inputs that are drawn before what was the same in all of them counts as such."""

FEWEST_DRAWS = 2
FEW_ANSWERS = 64
"""Further sets that do where the answers have at least so many elements, which by chance do not all
pass for others; a mean over many elements may."""


def fixed_inputs(problem: Problem, another: Sequence[torch.Tensor]) -> list[str]:
    """Return which inputs are the same whenever they are drawn, in short words.

    `another` is another draw of the inputs.

    One of a single element, such as a flag, is named only where no other input changes: then a
    kernel may keep its first answer.
    """
    import torch

    first = problem.trials[0].inputs
    if not first:
        return ["no tensor goes into forward, so that an answer can be kept"]
    fixed, started = list(range(len(first))), time.monotonic()
    for drawn in _draws(problem, another, MOST_DRAWS):
        fixed = [number for number in fixed if torch.equal(first[number], drawn[number])]
        # Most differ at once; a flag or a label is the same by chance now and then.
        if not fixed or time.monotonic() - started > TIME_S:
            break
    alone = len(fixed) == len(first)
    return [
        f"input {number} is the same whenever it is drawn"
        for number in fixed
        if alone or first[number].numel() > 1
    ]


def _draws(
    problem: Problem, another: Sequence[torch.Tensor], count: int
) -> Iterator[Sequence[torch.Tensor]]:
    """Yield so many draws of the inputs: one that there is, and new ones, which take time."""
    yield another
    for _ in range(count - 1):
        yield problem.draw()


def idle_inputs(problem: Problem, found: Examination, another: Sequence[torch.Tensor]) -> list[str]:
    """Return which inputs the answers do not depend on, in short words.

    `another` is another draw of the inputs. Each that differs from draw to draw is exchanged for
    that and, as kernels are tried on those too, for its variants. Where all of the answers still
    pass, it is idle. Whole numbers are exchanged together: they may be places that fit one another.
    Where zeros or a constant pass, all is said.
    """
    if {ZEROS, CONSTANT}.intersection(found.faults):
        return []
    inputs, until = problem.trials[0].inputs, time.monotonic() + TIME_S
    few = sum(answer.numel() for answer in problem.trials[0].expected) < FEW_ANSWERS
    places = [number for number, tensor in enumerate(inputs) if _is_whole(tensor)]
    groups = [[number] for number in range(len(inputs)) if number not in places]
    idle: set[int] = set()
    for group in [*groups, places]:
        draws = _draws(problem, another, MOST_DRAWS if few else FEWEST_DRAWS)
        idle |= _idle(problem, _others(problem, group, draws, found), found.tolerances, until)
    if not idle:
        return []
    names = ", ".join(f"input {number}" for number in sorted(idle))
    return [f"the answers do not depend on {names}"]


def _is_whole(tensor: torch.Tensor) -> bool:
    import torch

    wide = tensor.is_floating_point() or tensor.is_complex()
    return not wide and tensor.dtype != torch.bool


def _others(
    problem: Problem,
    group: Sequence[int],
    draws: Iterable[Sequence[torch.Tensor]],
    found: Examination,
) -> Iterator[dict[int, torch.Tensor]]:
    """Yield what inputs may be exchanged for; nothing where they are the same in all draws."""
    import torch

    own = problem.trials[0].inputs
    differs = False
    for draw in draws if group else ():
        changed = {number: draw[number] for number in group}
        changed = {n: tensor for n, tensor in changed.items() if not torch.equal(tensor, own[n])}
        if changed:
            differs = True
            yield changed
    for kind in found.kinds if differs else ():
        varied = vary(kind, own, found.promised) or own
        changed = {n: varied[n] for n in group if varied[n] is not own[n]}
        if changed:
            yield changed


def _idle(
    problem: Problem,
    others: Iterable[dict[int, torch.Tensor]],
    tolerances: Sequence[Tolerance],
    until: float,
) -> set[int]:
    """Return which inputs were exchanged, if the answers pass with each of `others`."""
    trial = problem.trials[0]
    tried: set[int] = set()
    try:
        for other in others:
            tensors = [other.get(number, tensor) for number, tensor in enumerate(trial.inputs)]
            answers = problem.answers([tensor.clone() for tensor in tensors])
            tried |= other.keys()
            if time.monotonic() > until or not passes(answers, trial.expected, tolerances):
                return set()
    except Exception:  # such as inputs that do not belong together, or too little memory
        return set()
    return tried


def idle_parameters(problem: Problem, tolerances: Sequence[Tolerance]) -> list[str]:
    """Return which matrices of weights the answers do not depend on, in short words.

    Each that the reference reads is exchanged for random values of its scale; where the answers
    still pass, it is idle. Parameters of one dimension, as which a bias before a normalization may
    well be idle, take next to no work and are not tried.
    """
    import torch

    model = problem.model
    if not isinstance(model, torch.nn.Module):
        return []
    trial, started = problem.trials[0], time.monotonic()
    names = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.dim() > 1 and parameter.numel() > 1 and parameter.is_floating_point()
    }
    read = problem.watched().read if names else frozenset()
    idle = []
    for name, parameter in sorted(names.items(), key=lambda item: -item[1].numel()):
        if time.monotonic() - started > TIME_S:
            break
        if parameter.untyped_storage().data_ptr() not in read:
            continue
        with _exchanged(parameter):
            answers = problem.answers([tensor.clone() for tensor in trial.inputs])
        if passes(answers, trial.expected, tolerances):
            idle.append(name)
    if not idle:
        return []
    more = f" and {len(idle) - MOST_NAMED} more" if len(idle) > MOST_NAMED else ""
    return [f"the answers do not depend on {', '.join(idle[:MOST_NAMED])}{more}"]


@contextmanager
def _exchanged(parameter: torch.nn.Parameter) -> Iterator[None]:
    """Have a parameter hold random values of its own scale, and afterwards its own again."""
    import torch

    own = parameter.detach().clone()
    scale = float(torch.linalg.vector_norm(own.float()).item()) / own.numel() ** 0.5
    with torch.no_grad():
        parameter.copy_(torch.randn_like(own).mul_(scale or 1.0))
    try:
        yield
    finally:
        with torch.no_grad():
            parameter.copy_(own)
