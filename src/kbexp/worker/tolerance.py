"""Is an output right, and if not, where and by how much is it wrong?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TOLERANCES = {
    "float64": 1e-4,
    "float32": 1e-4,
    "float16": 1e-2,
    "bfloat16": 1e-2,
    "complex64": 1e-4,
    "complex128": 1e-4,
}
"""Relative tolerances by element type, those of KernelBench; other types must be equal.

KernelBench takes the same number as its absolute tolerance, which lets zeros pass wherever outputs
are small (a softmax over a wide row). Here the absolute part is this share of the expected
output's root mean square, so that it means the same at every scale.
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """How an output differs; `text` is for people and for the model that wrote the kernel."""

    text: str
    wrong: int
    total: int


def compare(actual: torch.Tensor, expected: torch.Tensor, name: str) -> Difference | None:
    """Compare two tensors of one shape and type; None where the output is right.

    An element is right when |actual - expected| <= t * (rms(expected) + |expected|), t by type,
    or when both are the same infinity or both NaN.
    """
    import torch

    kind = str(expected.dtype).removeprefix("torch.")
    tolerance = TOLERANCES.get(kind)
    if expected.numel() == 0:
        return None
    if tolerance is None:
        wrong = actual != expected
        allowed = "exactly"
    else:
        wide = torch.complex128 if expected.is_complex() else torch.float64
        if expected.numel() > 2**22 and not expected.is_complex():
            wide = torch.float32
        close, want = actual.to(wide), expected.to(wide)
        finite = want[torch.isfinite(want)]
        scale = finite.abs().square().mean().sqrt().item() if finite.numel() else 1.0
        error = (close - want).abs()
        right = error <= tolerance * (scale + want.abs())
        right |= (close == want) | (torch.isnan(close) & torch.isnan(want))
        wrong = ~right
        allowed = f"within {tolerance:g} of its size plus {tolerance * scale:.3g}"
    count = int(wrong.sum().item())
    if not count:
        return None
    return Difference(
        _describe(actual, expected, wrong, count, name, allowed), count, wrong.numel()
    )


def _describe(
    actual: torch.Tensor,
    expected: torch.Tensor,
    wrong: torch.Tensor,
    count: int,
    name: str,
    allowed: str,
) -> str:
    import torch

    total = wrong.numel()
    parts = [f"{name} is wrong in {count} of {total} elements ({100 * count / total:.3g} %)"]
    broken = int((~torch.isfinite(actual)).sum().item()) if actual.is_floating_point() else 0
    if broken:
        parts.append(f"{broken} are NaN or infinite")
    where = _where(wrong, count, total)
    if where:
        parts.append(where)
    index = _worst(actual, expected, wrong)
    position = tuple(index)
    parts.append(
        f"worst at {index}: got {actual[position].item():.6g}, expected "
        f"{expected[position].item():.6g} {allowed}"
    )
    return "; ".join(parts)


def _worst(actual: torch.Tensor, expected: torch.Tensor, wrong: torch.Tensor) -> list[int]:
    """Return the index of the wrong element that is farthest off."""
    import torch

    wide = torch.complex128 if expected.is_complex() else torch.float64
    error = torch.where(wrong, (actual.to(wide) - expected.to(wide)).abs(), -1.0)
    flat = int(torch.nan_to_num(error, nan=math.inf).view(-1).argmax().item())
    index = []
    for size in reversed(expected.shape):
        index.append(flat % size)
        flat //= size
    return index[::-1]


def _where(wrong: torch.Tensor, count: int, total: int) -> str:
    """Say so where the wrong elements all lie past some index: a tail that was not handled."""
    if count == total:
        return "everywhere"
    for dim, size in enumerate(wrong.shape):
        others = [other for other in range(wrong.dim()) if other != dim]
        hit = wrong.any(dim=others) if others else wrong
        first = int(hit.int().argmax().item())
        if first > 0 and bool(hit[first:].all().item()):
            return f"all of them at index {first} and above of dimension {dim} (size {size})"
    return ""
