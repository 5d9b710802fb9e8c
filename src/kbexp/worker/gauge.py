"""What a CPU can do at best, measured: no data sheet says it for the share of a machine one has."""

from __future__ import annotations

import time
from collections.abc import Callable

COPIED_BYTES = 64 * 2**20
"""Bytes of the tensor that is copied: more than the caches that a few cores can call their own."""

MATRIX_SIZE = 1024
"""Rows and columns of the square matrices that are multiplied, in float32."""

SPENT_S = 0.12
"""Seconds for each of the two, and at least three tries."""

FEWEST_TRIES = 3

PEAKS = ("peak_bytes_per_s", "peak_fp32_flops_per_s")
"""What is measured: bytes moved and operations done, a second."""


def gauge() -> dict[str, str]:
    """Return the best rates of a copy and of a product of matrices, with all of torch's threads.

    A copied byte is read and written and counts twice. Both rates are lower bounds of what the
    machine can do (another program may have had its share), and data that lies in a cache moves
    faster; so they tell about how much is left and prove nothing.
    """
    import torch

    source = torch.ones(COPIED_BYTES // 4)
    target = torch.zeros(COPIED_BYTES // 4)
    left = torch.full((MATRIX_SIZE, MATRIX_SIZE), 0.5)
    product = torch.zeros(MATRIX_SIZE, MATRIX_SIZE)
    copy_s = _best_s(lambda: target.copy_(source))
    product_s = _best_s(lambda: torch.mm(left, left, out=product))
    rates = (2 * COPIED_BYTES / copy_s, 2 * MATRIX_SIZE**3 / product_s)
    return {name: f"{rate:.4g}" for name, rate in zip(PEAKS, rates, strict=True)}


def _best_s(call: Callable[[], object]) -> float:
    call()  # Threads start, pages are touched.
    best, tries, started = float("inf"), 0, time.perf_counter()
    while tries < FEWEST_TRIES or time.perf_counter() - started < SPENT_S:
        before = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - before)
        tries += 1
    return best
