"""A task's reference in float64, which stands for the truth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


@contextmanager
def widened_types() -> Iterator[None]:
    """Have operators that are told to make float32, or 16 bits, make float64 instead.

    Angles of a rotary embedding in float32, or scores that are cast before a softmax, are as far
    from the truth as float32 is. Types of 8 bits are what a task asks for, as whole numbers are.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    wider = {
        torch.float32: torch.float64,
        torch.float16: torch.float64,
        torch.bfloat16: torch.float64,
        torch.complex64: torch.complex128,
    }

    class Widens(TorchDispatchMode):  # type: ignore[no-untyped-call]
        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return False

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            if kwargs.get("dtype") in wider:
                kwargs["dtype"] = wider[kwargs["dtype"]]
            return func(*args, **kwargs)

    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Widens():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_default_dtype(usual)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy, which the reference may write to."""
    import torch

    if tensor.is_complex():
        return tensor.to(torch.complex128, copy=True)
    return tensor.to(torch.float64, copy=True) if tensor.is_floating_point() else tensor.clone()
