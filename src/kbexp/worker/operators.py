"""Which operators of torch does a reference consist of, and what memory do they read?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbexp.worker.reference import Problem

ANY_ORDER = frozenset(
    {"sort.default", "topk.default", "kthvalue.default", "median.dim", "nanmedian.dim",
     "mode.default"}
)  # fmt: skip
"""Operators that may name any of several equal values, as torch's documentation says."""

PROBABILITIES = frozenset(
    {"binary_cross_entropy.default", "bernoulli.default", "bernoulli_.Tensor",
     "multinomial.default"}
)  # fmt: skip
"""Operators that take probabilities, and look at them on the device."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One call of a reference: the operators' names, and the addresses of what they were given.

    A name ends with that of the overload: "sort.default".
    """

    operators: frozenset[str]
    read: frozenset[int]


def watch(problem: Problem) -> Watched:
    """Call the reference on the task's own inputs and return what was seen."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    operators: set[str] = set()
    read: set[int] = set()

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
                    read.add(leaf.untyped_storage().data_ptr())
            return func(*args, **(kwargs or {}))

    with Reads():  # type: ignore[no-untyped-call]
        problem.outputs([tensor.clone() for tensor in problem.trials[0].inputs])
    return Watched(frozenset(operators), frozenset(read))


def names_any_of_equals(problem: Problem) -> bool:
    """Return whether whole numbers among the answers may be places of any of several equal values.

    Then other inputs with ties have several right answers, of which a reference knows one.
    """
    answers = problem.trials[0].expected
    if all(answer.is_floating_point() or answer.is_complex() for answer in answers):
        return False
    return not ANY_ORDER.isdisjoint(problem.watched().operators)


def wants_probabilities(problem: Problem) -> bool:
    """Return whether the reference has an operator that takes nothing but what lies from 0 to 1.

    On a CUDA device that raises nothing for other values, but ends a process's device for good.
    """
    return not PROBABILITIES.isdisjoint(problem.watched().operators)
