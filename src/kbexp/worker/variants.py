"""Other inputs than a task's generator makes, of which the task's answers are just as defined.

A kernel that is right for the generator's distribution alone (it drops small terms, leaves out
the maximum of a softmax, knows the mean) is wrong. Every variant is one function of single
elements, so that whatever a generator promises of a whole tensor (triangular, diagonal,
symmetric, rows that repeat) holds on; and it keeps zero. Only "negated" leaves the interval from 0
to 1, which may be probabilities: a reference that has no answer there says so, and one that has is
not the same as one without its test for negative values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from kbexp.worker.promises import Promise

KINDS = {
    "scaled": "three times as large, or a third where they lie from 0 to 1",
    "negated": "of the other sign",
    "rounded": "in steps of half a standard deviation, which makes ties",
    "thinned": "zero where they were smaller than half a standard deviation",
    "heavy": "squared with their sign, which makes some of them large",
}
"""What values are in inputs of each kind."""

TIES = frozenset({"rounded", "thinned"})
"""Kinds that make equal values of different ones."""

SCALE = 3.0


def vary(
    kind: str, inputs: list[torch.Tensor], promised: Sequence[Promise] = ()
) -> list[torch.Tensor] | None:
    """Return new inputs of one of `KINDS`; None where it would change nothing.

    Only tensors of floating point are changed, and none of which that would break what is
    `promised` of the inputs.
    """
    import torch

    varied, changed = [], False
    for number, tensor in enumerate(inputs):
        promise = promised[number] if promised else None
        kept = promise and (promise.values or (promise.ordered and kind == "negated"))
        may_vary = tensor.is_floating_point() and tensor.numel() and not kept
        other = _vary(kind, tensor) if may_vary else None
        if other is None or torch.equal(other, tensor):
            varied.append(tensor)
        else:
            varied.append(other)
            changed = True
    return varied if changed else None


def defined(answers: list[torch.Tensor], plain: list[torch.Tensor]) -> bool:
    """Return whether answers to varied inputs are finite wherever those to the inputs were."""
    import torch

    for answer, before in zip(answers, plain, strict=True):
        # A sum is finite only where every element is.
        if not bool(torch.isfinite(answer.sum()).item()):
            lost = torch.isfinite(before) & ~torch.isfinite(answer)
            if bool(lost.any().item()):
                return False
    return True


SAMPLE = 4096
FEW_VALUES = 16


def few_values(tensor: torch.Tensor) -> bool:
    """Return whether a tensor holds a few different values only, as masks and labels do.

    A short one always does.
    """
    flat = tensor.reshape(-1)
    some = flat[:: max(1, flat.numel() // SAMPLE)]
    return len(set(some.tolist())) <= FEW_VALUES


def mixing_power(tensor: torch.Tensor) -> int:
    """Return to what power of two weights, whose squares add up to 1, a tensor can be mixed.

    Values of both signs by the weights themselves, so that what is spread as a normal
    distribution stays so; others by the squares, so that probabilities stay within 0 and 1; 0 is
    for whole numbers and for a few different values, such as masks and labels: not at all.
    """
    import torch

    if not tensor.is_floating_point() or few_values(tensor):
        return 0
    low, high = (float(end.item()) for end in torch.aminmax(tensor))
    return 1 if low < 0 < high else 2


def _vary(kind: str, tensor: torch.Tensor) -> torch.Tensor | None:
    import torch

    low, high = (float(end.item()) for end in torch.aminmax(tensor))
    unit = low >= 0 and high <= 1
    size = float(tensor.float().square().mean().sqrt().item())
    if size == 0 or not low - high <= 0:  # All zeros, or some NaN.
        return None
    # Steps of the size of what lies far from zero would leave one value of it, with no spread.
    step = float(tensor.double().std(correction=0).item()) / 2
    if kind in TIES and not step > 0:
        return None
    if kind == "scaled":
        return tensor / SCALE if unit else tensor * SCALE
    if kind == "negated":
        return -tensor
    if kind == "rounded":
        return (tensor / step).round().mul(step).clamp(low, high)
    if kind == "thinned":
        return torch.where(tensor.abs() < step, 0, tensor)
    if kind == "heavy":
        return tensor * tensor.abs() / (1 if unit else size)
    raise ValueError(f"no kind of variant: {kind}")
