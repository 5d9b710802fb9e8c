"""What empties the caches of a CUDA device before a call, and how long that takes."""

from __future__ import annotations

import functools
import itertools

FLUSH_BYTES = 256 * 2**20
"""What is written between two calls on a CUDA device: several times the largest L2 cache."""

FLUSHES_TIMED = 5


@functools.cache
def flush_time_ms(device: str) -> float:
    """Return the least that writing `FLUSH_BYTES` takes on a CUDA device."""
    import torch

    memory = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    with torch.cuda.device(device):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(FLUSHES_TIMED + 1)]  # type: ignore[no-untyped-call]
        memory.zero_()
        for mark in marks[:-1]:
            mark.record()
            memory.zero_()
        marks[-1].record()
        torch.cuda.synchronize()
    return float(min(begun.elapsed_time(done) for begun, done in itertools.pairwise(marks)))
