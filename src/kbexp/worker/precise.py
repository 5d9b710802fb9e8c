"""A task's reference in float64, which stands for the truth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kbexp.worker.dispatch import dispatching
from kbexp.worker.tree import output_tensors, unflatten

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Problem


@dataclass(frozen=True, slots=True)
class Precise:
    """The reference with all of its floating-point parameters and inputs in float64."""

    problem: Problem
    model: torch.nn.Module

    def answers(
        self, inputs: Sequence[torch.Tensor], like: Sequence[torch.Tensor]
    ) -> list[torch.Tensor] | None:
        """Return the answers to these inputs; None where there are none of the shapes of `like`.

        What the task casts to a narrower type, or makes in one, is float64 too; where that does not
        run, such types are left as they are written.
        """
        for types in (widened_types, nullcontext):
            truths = self._answers(inputs, types)
            if truths is not None and [t.shape for t in truths] == [t.shape for t in like]:
                return truths
        return None

    def _answers(
        self, inputs: Sequence[torch.Tensor], types: Callable[[], AbstractContextManager[None]]
    ) -> list[torch.Tensor] | None:
        import torch

        try:
            wide = [_widened(tensor) for tensor in inputs]
            with torch.no_grad(), types():
                return output_tensors(self.model(*unflatten(self.problem.tree, wide)))
        except Exception:  # such as a type that is written into the task, or too little memory
            return None


def in_double(problem: Problem) -> Precise | None:
    """Return the reference in float64; None where it has no such form."""
    import torch

    if not isinstance(problem.model, torch.nn.Module):
        return None
    try:
        return Precise(problem, copy.deepcopy(problem.model).double())
    except Exception:  # a task's module may define any of this
        return None


def widened_types() -> AbstractContextManager[Any]:
    """Have operators that are told to make float32, or 16 bits, make float64 instead.

    Angles of a rotary embedding in float32, or scores that are cast before a softmax, are as far
    from the truth as float32 is. Types of 8 bits are what a task asks for, as whole numbers are.
    Holds for this thread alone, unlike torch's default type: another one may be drawing inputs.
    """

    def widen(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if kwargs.get("dtype") in _wider():
            kwargs["dtype"] = _wider()[kwargs["dtype"]]
        made = func(*args, **kwargs)
        return _made_wide(func, args, kwargs) if _is_narrow_of_nothing(made, args) else made

    return dispatching(widen)


def _wider() -> dict[torch.dtype, torch.dtype]:
    import torch

    return {
        torch.float32: torch.float64,
        torch.float16: torch.float64,
        torch.bfloat16: torch.float64,
        torch.complex64: torch.complex128,
    }


def _is_narrow_of_nothing(made: Any, args: Any) -> bool:
    """Return whether torch's default type was made, of whole numbers or of no tensor at all."""
    import torch
    from torch.utils._pytree import tree_leaves

    if not isinstance(made, torch.Tensor) or made.dtype != torch.float32:
        return False
    given = [leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)]
    return not any(tensor.is_floating_point() or tensor.is_complex() for tensor in given)


def _made_wide(func: Any, args: Any, kwargs: dict[str, Any]) -> torch.Tensor:
    """Make it again in float64: of whole numbers as such, or of the type that it takes."""
    import torch
    from torch.utils._pytree import tree_map

    wide = tree_map(lambda leaf: leaf.double() if isinstance(leaf, torch.Tensor) else leaf, args)
    named = any(argument.name == "dtype" for argument in func._schema.arguments)
    made = func(*wide, **(kwargs | {"dtype": torch.float64} if named else kwargs))
    assert isinstance(made, torch.Tensor)
    return made.double()


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy, which the reference may write to."""
    import torch

    if tensor.is_complex():
        return tensor.to(torch.complex128, copy=True)
    return tensor.to(torch.float64, copy=True) if tensor.is_floating_point() else tensor.clone()
