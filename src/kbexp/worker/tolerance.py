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
class Tolerance:
    """By how much an output may differ from the expected one.

    Each element by a `share` of its size and of the output's scale, or not at all where that is
    None; but `spare` elements may be anything, `anywhere` of them also where no rounding decides.
    """

    share: float | None
    spare: int = 0
    anywhere: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """How an output differs; `text` is for people and for the model that wrote the kernel."""

    text: str
    wrong: int
    total: int


def compare(
    actual: torch.Tensor, expected: torch.Tensor, name: str, tolerance: Tolerance
) -> Difference | None:
    """Compare two tensors of one shape and type; None where the output is right.

    An element is right when |actual - expected| <= share * (rms(expected) + |expected|), or when
    both are the same infinity or both NaN; with a share of None, when they are equal. The output
    is right when no more elements are wrong than may be anything. `actual` may be memory that
    others write to: every look at a part of it is at a copy, or reads each element once, and what
    is described is a copy too.
    """
    rule = rule_for(expected, tolerance.share)
    wrong = _first_wrong(actual, expected, rule, tolerance.spare)
    if not wrong:
        return None
    copied = actual.clone()
    found = _wrong(copied.reshape(-1), expected.reshape(-1), rule)
    count = 0 if found is None else int(found.sum().item())
    if found is None or count <= tolerance.spare:
        return Difference(f"{name} changed while it was looked at", wrong, expected.numel())
    where = found.view(expected.shape)
    text = _describe(copied, expected, where, count, name, rule)
    if tolerance.spare:
        text += f"; {tolerance.spare} elements that rounding or ties decide are forgiven"
    return Difference(text, count, where.numel())


def passes(actual: torch.Tensor, expected: torch.Tensor, tolerance: Tolerance) -> bool:
    """Return whether `compare` would find nothing, without working out what it would say."""
    rule = rule_for(expected, tolerance.share)
    return not _first_wrong(actual, expected, rule, tolerance.spare)


def wrong_elements(
    actual: torch.Tensor, expected: torch.Tensor, tolerance: Tolerance
) -> torch.Tensor:
    """Return, one-dimensional, those elements of `actual` that are wrong, spare ones too."""
    return actual.reshape(-1)[wrong_places(actual, expected, tolerance)]


def wrong_places(
    actual: torch.Tensor, expected: torch.Tensor, tolerance: Tolerance
) -> torch.Tensor:
    """Return, one-dimensional, for each element of `actual` whether it is wrong, spare ones too."""
    import torch

    flat, rule = actual.reshape(-1), rule_for(expected, tolerance.share)
    wrong = _wrong(flat, expected.reshape(-1), rule)
    return torch.zeros_like(flat, dtype=torch.bool) if wrong is None else wrong


def _first_wrong(actual: torch.Tensor, expected: torch.Tensor, rule: Rule, spare: int) -> int:
    """Return how many elements are wrong, up to where they are too many; 0 if they never are."""
    import torch

    flat, want = actual.reshape(-1), expected.reshape(-1)
    size = CHUNK if expected.device.type == "cpu" else CUDA_CHUNK
    error, wrong = torch.empty_like(want[:size]), 0
    for start in range(0, want.numel(), size):
        part, wanted = flat[start : start + size], want[start : start + size]
        if _plainly_right(part, wanted, rule, error):
            continue
        found = _wrong(part.clone(), wanted, rule)
        if found is not None:
            wrong += int(found.sum().item())
            if wrong > spare:
                return wrong
    return 0


CHUNK = 2**17
"""Elements compared at a time on a CPU: few enough to stay in its cache, and so many that waking
threads for them is worth its time."""

CUDA_CHUNK = 2**26
"""Elements compared at a time on a CUDA device, which bounds the memory of the comparison."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How far an element may be off: `share` of its size plus `base`; share None: not at all.

    `finite` says that every expected element is.
    """

    share: float | None
    base: float = 0.0
    finite: bool = True

    def __str__(self) -> str:
        if self.share is None:
            return "exactly"
        return f"within {self.share:g} of its size plus {self.base:.3g}"


def share_of(tensor: torch.Tensor) -> float | None:
    """Return the share of a tensor's type; None where elements must be equal."""
    return TOLERANCES.get(str(tensor.dtype).removeprefix("torch."))


def tolerance_of(tensor: torch.Tensor) -> Tolerance:
    """Return the tolerance of a tensor's type."""
    return Tolerance(share_of(tensor))


def relative_error(actual: torch.Tensor, truth: torch.Tensor) -> float | None:
    """Return the least share with which `actual` would pass for `truth`; None if none would.

    `truth` is real, and of a wider type.
    """
    import torch

    error, size = truth.sub(actual).abs_(), truth.abs()
    # A sum is finite only where every element is.
    if not bool(torch.isfinite(size.sum()).item()):
        finite = torch.isfinite(truth)
        error, size = error[finite], size[finite]
    if not error.numel():
        return None
    scale = float(torch.linalg.vector_norm(size).item()) / math.sqrt(size.numel())
    worst = float(error.div_(size.add_(scale)).max().item())
    return worst if math.isfinite(worst) and math.isfinite(scale) else None


def rule_for(expected: torch.Tensor, share: float | None) -> Rule:
    """Return the rule for an expected output."""
    import torch

    if share is None or expected.numel() == 0:
        return Rule(None)
    flat = expected.reshape(-1)
    if flat.dtype in (torch.float16, torch.bfloat16):
        flat = flat.float()
    norm, count = float(torch.linalg.vector_norm(flat).item()), flat.numel()
    finite = math.isfinite(norm)  # Only where every element is.
    if not finite:
        flat = flat[torch.isfinite(flat)]
        wide = flat.to(torch.complex128 if flat.is_complex() else torch.float64)
        norm, finite = float(torch.linalg.vector_norm(wide).item()), flat.numel() == count
        count = flat.numel()
    if count == 0:
        return Rule(share, finite=False)
    return Rule(share, share * norm / math.sqrt(count), finite)


def _plainly_right(
    actual: torch.Tensor, want: torch.Tensor, rule: Rule, error: torch.Tensor
) -> bool:
    """Return True where all elements are within the rule, by the quickest way.

    `error` is memory to work in, at least as long. False says nothing: what only an element's own
    size excuses, infinities and NaN need `_wrong`.
    """
    import torch

    if rule.share is None or want.is_complex():
        return torch.equal(actual.clone(), want)
    if want.dtype in (torch.float16, torch.bfloat16):
        error = actual.float().sub_(want.float())
    else:
        error = torch.sub(actual, want, out=error[: want.numel()])
    low, high = torch.aminmax(error)
    return rule.finite and -rule.base <= float(low.item()) and float(high.item()) <= rule.base


def _wrong(actual: torch.Tensor, want: torch.Tensor, rule: Rule) -> torch.Tensor | None:
    """Return, for each of two one-dimensional tensors' elements, whether it is wrong.

    None where none is.
    """
    import torch

    if rule.share is None:
        wrong = actual != want
        return wrong if bool(wrong.any().item()) else None
    if want.dtype in (torch.float16, torch.bfloat16):
        actual, want = actual.float(), want.float()
    size = want.abs()
    error = (actual - want).abs()
    right = error <= size.mul_(rule.share).add_(rule.base)
    if not rule.finite or not bool(right.all().item()):
        right |= (actual == want) | (torch.isnan(actual) & torch.isnan(want))
        # Infinity is no bound: where the expected value is infinite, only the same one is right.
        right &= ~torch.isinf(want) | (actual == want)
        if not bool(right.all().item()):
            return ~right
    return None


def _describe(
    actual: torch.Tensor,
    expected: torch.Tensor,
    wrong: torch.Tensor,
    count: int,
    name: str,
    rule: Rule,
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
        f"{expected[position].item():.6g} {rule}"
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
