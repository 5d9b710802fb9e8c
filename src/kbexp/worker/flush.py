"""What empties the caches of a CUDA device before a call; how long that and a copy take."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FLUSH_BYTES = 256 * 2**20
"""What is written between two calls on a CUDA device: several times the largest L2 cache."""

TIMES = 5

FLUSH_TIMES = 100
"""A device that has rested raises its clocks within so many flushes, some ten milliseconds."""


def flush_time_ms(device: str) -> float:
    """Return the least that writing `FLUSH_BYTES` takes on a CUDA device; 0 on a CPU.

    To be asked while no kernel's process works there, which would make it longer.
    """
    if device == "cpu":
        return 0.0
    import torch

    memory = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    return _least_ms(memory.zero_, device, FLUSH_TIMES)


def copy_time_ms(tensors: list[torch.Tensor]) -> float:
    """Return the least that copying these tensors takes where they are, with nobody beside it."""
    import torch

    if not tensors:
        return 0.0
    targets = [torch.empty_like(tensor) for tensor in tensors]

    def copy() -> None:
        for target, tensor in zip(targets, tensors, strict=True):
            target.copy_(tensor)

    if tensors[0].is_cuda:
        return _least_ms(copy, str(tensors[0].device), TIMES)
    copy()  # Pages are touched.
    taken_ns = []
    for _ in range(TIMES):
        begun = time.perf_counter_ns()
        copy()
        taken_ns.append(time.perf_counter_ns() - begun)
    return min(taken_ns) / 1e6


def _least_ms(work: Callable[[], object], device: str, times: int) -> float:
    import torch

    with torch.cuda.device(device):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(times + 1)]  # type: ignore[no-untyped-call]
        work()
        for mark in marks[:-1]:
            mark.record()
            work()
        marks[-1].record()
        torch.cuda.synchronize()
    return float(min(begun.elapsed_time(done) for begun, done in itertools.pairwise(marks)))
