"""What a task's generator promises of a whole input, which changing single elements would break.

Offsets ascend, a permutation holds every number once, a mask begins with ones and ends with zeros,
a matrix is symmetric, probabilities add up to 1. A kernel may count on that, and some references
fail without it. What is seen in all of a few draws counts as promised.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kbexp.worker.variants import FEW_VALUES, few_values, mixing_power

if TYPE_CHECKING:
    import torch

    from kbexp.worker.reference import Problem

CORNER = 64
"""Elements of every dimension that are looked at before a whole tensor is: most show there."""

LEAST = 8
"""Fewer rows may be alike in something by chance."""

FEW_IN_A_ROW = 4
"""Steps that ascend in a short list: those of five numbers do so in two draws once in 7,000."""

COLUMNS = 8
"""Each of so few is looked at alone: pairs and coordinates may be sorted by one of them, or one may
be the upper bound of another."""

BOUNDED = 16
"""Fewer rows may have one column below another by chance: so many do in two draws never."""

MIXED = 512
"""Elements of each input that are another draw's where the reference is tried."""

SURELY = 5.0
"""Random numbers of which so many pairs are expected to be equal are all different by no chance, in
two draws once in 20,000."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of one input.

    `whole`: its elements belong together, so that none is changed alone. `values`: other values
    than those that are drawn need not mean anything (labels, masks, shares of 1, positive definite
    matrices). `ordered`: they ascend or descend, or one column is always below another, which their
    negatives do the other way round.
    """

    whole: bool = False
    values: bool = False
    ordered: bool = False


def promises(draws: Sequence[Sequence[torch.Tensor]]) -> tuple[Promise, ...]:
    """Return what holds for every input, in the order of the inputs, in all draws."""
    return tuple(_promise(tensors) for tensors in zip(*draws, strict=True))


def apart(
    problem: Problem, draws: Sequence[Sequence[torch.Tensor]], promised: tuple[Promise, ...]
) -> tuple[Promise, ...]:
    """Return what is promised once the reference was tried on inputs that are mixed of two draws.

    What inputs promise together, such as lengths that add up to another's size, shows in nothing
    but a reference that fails: then the elements of all indices, labels and masks belong together,
    and where it still does, those of all inputs.
    """
    labels = [mixing_power(tensor) == 0 for tensor in draws[0]]
    if not any(label and not p.whole for label, p in zip(labels, promised, strict=True)):
        return promised
    whole = [promise.whole for promise in promised]
    if draws[0][0].is_cuda:
        # A place beyond a tensor's end raises nothing there: it ends the process's device for good.
        kept = [w or label for w, label in zip(whole, labels, strict=True)]
        now = whole if all(kept) else kept
        return tuple(replace(p, whole=w) for p, w in zip(promised, now, strict=True))
    for now in (whole, [w or label for w, label in zip(whole, labels, strict=True)]):
        if _answers_mixed(problem, draws, now):
            break
    else:
        now = [True] * len(whole)
    return tuple(replace(p, whole=w) for p, w in zip(promised, now, strict=True))


def _answers_mixed(
    problem: Problem, draws: Sequence[Sequence[torch.Tensor]], whole: list[bool]
) -> bool:
    """Return whether the reference answers where elements are another draw's, but in `whole`."""
    import torch

    generator = torch.Generator().manual_seed(1)
    for first, other in ((draws[0], draws[1]), (draws[1], draws[0])):
        inputs = [tensor.clone() for tensor in first]
        for tensor, source, kept in zip(inputs, other, whole, strict=True):
            if not kept and tensor.numel():
                count = min(tensor.numel(), MIXED)
                drawn = torch.randint(tensor.numel(), (count,), generator=generator)
                places = drawn.to(tensor.device)
                tensor.view(-1)[places] = source.reshape(-1)[places]
        try:
            problem.answers(inputs)
        except Exception:  # whatever a reference raises
            return False
    return True


def _promise(tensors: Sequence[torch.Tensor]) -> Promise:
    ordered = _ordered(tensors) or _bounded(tensors)
    if min(tensor.numel() for tensor in tensors) <= LEAST:
        return Promise(whole=ordered, ordered=ordered)
    shares = all(_shares(tensor) for tensor in tensors)
    symmetric = all(_symmetric(tensor) for tensor in tensors)
    definite = symmetric and all(_positive_definite(tensor) for tensor in tensors)
    return Promise(
        whole=ordered
        or shares
        or symmetric
        or any(
            all(seen(tensor) for tensor in tensors) for seen in (_repeated, _different, _as_many)
        )
        or _in_a_column(tensors),
        values=shares or definite or all(_labels(tensor) for tensor in tensors),
        ordered=ordered,
    )


def _corner(tensor: torch.Tensor) -> torch.Tensor:
    return tensor[tuple(slice(CORNER) for _ in tensor.shape)]


def _labels(tensor: torch.Tensor) -> bool:
    return tensor.numel() > FEW_VALUES and few_values(tensor)


def _ordered(tensors: Sequence[torch.Tensor]) -> bool:
    """Return whether all rows along some dimension ascend in all draws, or all descend.

    A draw whose elements are all equal, as a mask of ones is, fits either.
    """
    if tensors[0].is_complex():
        return False
    for dim, size in enumerate(tensors[0].shape):
        compared = min(t.numel() - t.numel() // max(size, 1) for t in tensors)
        if compared < (FEW_IN_A_ROW if tensors[0].dim() == 1 else LEAST):
            continue
        for step in (1, -1):
            if all(_ascends(part, dim, step) for t in tensors for part in (_corner(t), t)) and any(
                not _ascends(tensor, dim, -step) for tensor in tensors
            ):
                return True
    return False


def _ascends(tensor: torch.Tensor, dim: int, step: int) -> bool:
    size = tensor.shape[dim] - 1
    one, next_one = tensor.narrow(dim, 0, size), tensor.narrow(dim, 1, size)
    return bool(((one <= next_one) if step > 0 else (one >= next_one)).all().item())


def _symmetric(tensor: torch.Tensor) -> bool:
    import torch

    if tensor.dim() < 2 or tensor.shape[-1] != tensor.shape[-2] or tensor.shape[-1] < 4:
        return False
    return all(
        torch.equal(part, part.transpose(-1, -2).conj()) for part in (_corner(tensor), tensor)
    )


def _positive_definite(tensor: torch.Tensor) -> bool:
    import torch

    if tensor.dtype not in (torch.float32, torch.float64):
        return False
    if not bool((tensor.diagonal(dim1=-2, dim2=-1) > 0).all().item()):
        return False
    return not bool(torch.linalg.cholesky_ex(tensor).info.any().item())


def _bounded(tensors: Sequence[torch.Tensor]) -> bool:
    """Return whether some column is always below another, as the corners of boxes are."""
    if tensors[0].is_complex():
        return False
    return any(
        all(_below(part, dim, low, high) for t in tensors for part in (_corner(t), t))
        for dim, size in enumerate(tensors[0].shape)
        if 1 < size <= COLUMNS and tensors[0].numel() // size >= BOUNDED
        for low, high in itertools.permutations(range(size), 2)
    )


def _below(tensor: torch.Tensor, dim: int, low: int, high: int) -> bool:
    return bool((tensor.select(dim, low) < tensor.select(dim, high)).all().item())


def _in_a_column(tensors: Sequence[torch.Tensor]) -> bool:
    """Return whether whole numbers of some column ascend, as pairs do that are sorted by one."""
    first = tensors[0]
    if first.is_floating_point() or first.is_complex():
        return False
    return any(
        _ordered(columns) or all(_different(column) for column in columns)
        for dim, size in enumerate(first.shape)
        if 1 < size <= COLUMNS and first.numel() // size > LEAST
        for columns in zip(*(tensor.unbind(dim) for tensor in tensors), strict=True)
    )


def _repeated(tensor: torch.Tensor) -> bool:
    """Return whether all slices of some dimension are equal, as an expanded tensor's are."""
    for dim, size in enumerate(tensor.shape):
        # One slice of few values could be repeated by chance.
        if size > 1 and tensor.numel() // size >= LEAST:
            parts = (_corner(tensor), tensor)
            if all(bool((p == p.narrow(dim, 0, 1)).all().item()) for p in parts):
                return True
    return False


def _different(tensor: torch.Tensor) -> bool:
    """Return whether whole numbers are all different, or all in each row, by no chance."""
    import torch

    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        return False
    low, high = torch.aminmax(tensor)
    span = float(high.item()) - float(low.item()) + 1.0
    flat = tensor.reshape(1, -1)
    for rows in (flat, tensor.reshape(-1, tensor.shape[-1])):
        if rows.numel() * rows.shape[1] / (2 * span) < SURELY:
            continue
        if all(_no_pairs(part) for part in (rows[:CORNER, : CORNER**2], rows)):
            return True
    return False


def _no_pairs(rows: torch.Tensor) -> bool:
    ordered = rows.sort(dim=1).values
    return not bool((ordered[:, 1:] == ordered[:, :-1]).any().item())


def _as_many(tensor: torch.Tensor) -> bool:
    """Return whether all rows of few values have as many that are not 0, as one-hot rows have."""
    if not few_values(tensor):
        return False
    for dim, size in enumerate(tensor.shape):
        if tensor.numel() // size >= LEAST and size > 1:
            counts = (tensor != 0).sum(dim)
            low, high = int(counts.min().item()), int(counts.max().item())
            if low == high and 0 < low < size:
                return True
    return False


def _shares(tensor: torch.Tensor) -> bool:
    """Return whether values are never below 0 and add up to 1 along some dimension."""
    import torch

    if not tensor.is_floating_point() or float(tensor.min().item()) < 0:
        return False
    near = 1e-4 if tensor.dtype in (torch.float32, torch.float64) else 2e-2
    for dim, size in enumerate(tensor.shape):
        if size > 1:
            sums = tensor.sum(dim, dtype=torch.float64)
            if bool(((sums - 1).abs() < near).all().item()):
                return True
    return False
