"""Would an answer that took no work pass? Then a task says little of a kernel that is fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kbexp.worker import tolerance

if TYPE_CHECKING:
    import torch

    from kbexp.worker.tolerance import Tolerance

ZEROS = "an answer of zeros passes"
CONSTANT = "a constant answer passes"


def effortless(
    inputs: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
    others: Sequence[torch.Tensor],
) -> list[str]:
    """Return which answers that take no work pass for every one of `answers`, in short words.

    Tried are zeros, each answer's mean, and each input as it is, laid out as the answer. Of a
    single number, which is its own mean, the constant is that of `others`, the answers to other
    inputs.
    """
    import torch

    constants = [
        other if answer.numel() == 1 and other.shape == answer.shape else _mean(answer)
        for answer, other in zip(answers, others, strict=True)
    ]

    found = []
    if passes([torch.zeros_like(answer) for answer in answers], answers, tolerances):
        found.append(ZEROS)
    elif passes(constants, answers, tolerances):
        found.append(CONSTANT)
    for number, tensor in enumerate(inputs):
        alike = [(t.numel(), t.dtype) for t in answers] == [(tensor.numel(), tensor.dtype)]
        if alike and passes([tensor.reshape(answers[0].shape)], answers, tolerances):
            found.append(f"input {number} passes as the answer")
    return found


def passes(
    given: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    tolerances: Sequence[Tolerance],
) -> bool:
    """Return whether tensors would pass as the answers: as many, of their shapes and types."""
    return len(given) == len(answers) and all(
        (tensor.shape, tensor.dtype) == (answer.shape, answer.dtype)
        and tolerance.passes(tensor, answer, allowed)
        for tensor, answer, allowed in zip(given, answers, tolerances, strict=True)
    )


def _mean(answer: torch.Tensor) -> torch.Tensor:
    import torch

    if not answer.numel():
        return answer
    wide = torch.complex128 if answer.is_complex() else torch.float64
    return torch.full_like(answer, answer.mean(dtype=wide).item())
