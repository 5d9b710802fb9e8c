"""On what do a task's answers not depend, though its reference works with it?

A branch that is multiplied by a parameter of zeros, or by 1e-5, leaves nothing in the answers that
a tolerance could see, and an input that is the same whenever it is drawn can be left unread: a
kernel that leaves such work out is right on all that it is given, and looks fast.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kbexp.worker.effortless import passes

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Problem

TIME_S = 2.0
"""Nothing further is tried after this, of parameters and of inputs each; the largest parameters,
with which most is done, come first."""

MOST_NAMED = 3

MOST_DRAWS = 12
"""Further sets of inputs that are drawn before what was the same in all of them counts as such."""

ANY_ORDER = frozenset(
    {"sort.default", "topk.default", "kthvalue.default", "median.dim", "nanmedian.dim",
     "mode.default"}
)  # fmt: skip
"""Operators that may name any of several equal values, as torch's documentation says."""


def names_any_of_equals(problem: Problem) -> bool:
    """Return whether whole numbers among the answers may be places of any of several equal values.

    Then other inputs with ties have several right answers, of which a reference knows one.
    """
    answers = problem.trials[0].expected
    if all(answer.is_floating_point() or answer.is_complex() for answer in answers):
        return False
    return not ANY_ORDER.isdisjoint(_watched(problem)[1])


def fixed_inputs(problem: Problem) -> list[str]:
    """Return which inputs are the same whenever they are drawn, in short words.

    One of a single element, such as a flag, is named only where no other input changes: then a
    kernel may keep its first answer.
    """
    import torch

    first = problem.trials[0].inputs
    if not first:
        return ["no tensor goes into forward, so that an answer can be kept"]
    fixed, started = list(range(len(first))), time.monotonic()
    for _ in range(MOST_DRAWS):
        drawn = problem.draw()
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


def idle_parameters(problem: Problem, shares: Sequence[float | None]) -> list[str]:
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
    read = _watched(problem)[0] if names else set()
    idle = []
    for name, parameter in sorted(names.items(), key=lambda item: -item[1].numel()):
        if time.monotonic() - started > TIME_S:
            break
        if parameter.untyped_storage().data_ptr() not in read:
            continue
        with _exchanged(parameter):
            answers = problem.answers([tensor.clone() for tensor in trial.inputs])
        if passes(answers, trial.expected, shares):
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


def _watched(problem: Problem) -> tuple[set[int], set[str]]:
    """Return the addresses of all memory that the reference's operators are given, and their names.

    A name ends with that of the overload: "sort.default".
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    found: set[int] = set()
    operators: set[str] = set()

    class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            """Keep torch from importing its compiler at the first operator: a second or two."""
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            operators.add(str(func).removeprefix("aten."))
            for leaf in tree_leaves((args, kwargs or {})):
                if isinstance(leaf, torch.Tensor):
                    found.add(leaf.untyped_storage().data_ptr())
            return func(*args, **(kwargs or {}))

    with Reads():  # type: ignore[no-untyped-call]
        problem.outputs([tensor.clone() for tensor in problem.trials[0].inputs])
    return found, operators
