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

HEAD_START_CYCLES = 5_000_000
"""A device spins for so many cycles, some 3 ms, while the host queues what is timed behind them: a
host needs 0.01 ms to queue a copy and its mark, more than a device needs for a small one."""

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
    """Return the least that copying these tensors takes where they are, with nobody beside it.

    All are copied in one operation, as a kernel may write them in one.
    """
    import torch

    if not tensors:
        return 0.0
    targets = [torch.empty_like(tensor) for tensor in tensors]

    def copy() -> None:
        torch._foreach_copy_(targets, tensors)

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
        torch.cuda._sleep(HEAD_START_CYCLES)  # type: ignore[no-untyped-call]
        for mark in marks[:-1]:
            mark.record()
            work()
        marks[-1].record()
        torch.cuda.synchronize()
    return float(min(begun.elapsed_time(done) for begun, done in itertools.pairwise(marks)))
