"""Which operators of torch does a reference consist of, and what memory do they read?"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kbexp.worker.dispatch import dispatching
from kbexp.worker.tolerance import share_of

if TYPE_CHECKING:
    from kbexp.worker.reference import Problem

ANY_ORDER = {
    "sort.default": 1,
    "topk.default": 2,
    "kthvalue.default": 2,
    "median.dim": 1,
    "nanmedian.dim": 1,
    "mode.default": 1,
}
"""Operators that may name any of several equal values, as torch's documentation says, and which
argument is the dimension in which they look; the last one where it is not given."""

PROBABILITIES = frozenset(
    {"binary_cross_entropy.default", "bernoulli.default", "bernoulli_.Tensor",
     "multinomial.default"}
)  # fmt: skip
"""Operators that take probabilities, and look at them on the device."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One call of a reference: the operators' names, and the addresses of what they were given.

    A name ends with that of the overload: "sort.default". `tolerance` is the widest of the types
    that they were given; 0 where all are whole numbers.
    """

    operators: frozenset[str]
    read: frozenset[int]
    tolerance: float = 0.0


def watch(problem: Problem) -> Watched:
    """Call the reference on the task's own inputs and return what was seen; nothing if it fails."""
    import torch
    from torch.utils._pytree import tree_leaves

    operators: set[str] = set()
    read: set[int] = set()
    tolerances = {0.0}

    def read_by(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        operators.add(str(func).removeprefix("aten."))
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                read.add(leaf.untyped_storage().data_ptr())
                tolerances.add(share_of(leaf) or 0.0)
        return func(*args, **kwargs)

    try:
        with dispatching(read_by):
            problem.outputs([tensor.clone() for tensor in problem.trials[0].inputs])
    except Exception:  # what runs may still not run when it is looked at
        return Watched(frozenset(), frozenset())
    return Watched(frozenset(operators), frozenset(read), max(tolerances))


def has_ties(problem: Problem) -> bool:
    """Return whether the reference has an operator that may name any of several equal values."""
    return not problem.watched().operators.isdisjoint(ANY_ORDER)


def names_any_of_equals(problem: Problem) -> bool:
    """Return whether whole numbers among the answers may be places of any of several equal values.

    Then other inputs with ties have several right answers, of which a reference knows one.
    """
    answers = problem.trials[0].expected
    if all(answer.is_floating_point() or answer.is_complex() for answer in answers):
        return False
    return has_ties(problem)


def wants_probabilities(problem: Problem) -> bool:
    """Return whether the reference has an operator that takes nothing but what lies from 0 to 1.

    On a CUDA device that raises nothing for other values, but ends a process's device for good.
    """
    return not PROBABILITIES.isdisjoint(problem.watched().operators)


def ties_the_other_way() -> AbstractContextManager[Any]:
    """Have operators that may name any of several equal values look from the other end."""

    def reverse(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        place = ANY_ORDER.get(str(func).removeprefix("aten."))
        if place is None or not args[0].dim():
            return func(*args, **kwargs)
        dim = args[place] if len(args) > place else kwargs.get("dim", -1)
        values, places = func(args[0].flip(dim), *args[1:], **kwargs)
        return values, args[0].shape[dim] - 1 - places

    return dispatching(reverse)
