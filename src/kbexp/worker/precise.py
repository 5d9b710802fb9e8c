"""A task's reference in float64, which stands for the truth."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
        """Return the answers to these inputs; None where there are none of the shapes of `like`."""
        import torch

        wide = [t.double() if t.is_floating_point() else t.clone() for t in inputs]
        try:
            with torch.no_grad():
                truths = output_tensors(self.model(*unflatten(self.problem.tree, wide)))
        except Exception:  # such as a type that is written into the task
            return None
        return truths if [t.shape for t in truths] == [t.shape for t in like] else None


def in_double(problem: Problem) -> Precise | None:
    """Return the reference in float64; None where it has no such form."""
    import torch

    if not isinstance(problem.model, torch.nn.Module):
        return None
    try:
        return Precise(problem, copy.deepcopy(problem.model).double())
    except Exception:  # a task's module may define any of this
        return None
