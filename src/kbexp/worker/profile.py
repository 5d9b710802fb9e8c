"""Where a kernel's time goes, by torch's profiler in the kernel's own process.

It runs after everything that is measured, so that it can disturb nothing. What it says is the
word of an untrusted process: it is told to models and decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kbexp.verdict import MAX_PROFILE_ROWS, ProfileRow, profile_row

PROFILE_CALLS = 3
"""Calls in a profile; the first are as warm as the timed ones were."""

PROFILE_LIMIT_S = 20.0
"""What a profile may take at most, the start of the profiler included."""

OUTSIDE = "(outside of torch)"
"""What stands for code of the kernel's own on a CPU, which the profiler does not look into."""


def traced(call: Callable[..., Any], inputs: list[list[Any]], *, on_cuda: bool) -> list[ProfileRow]:
    """Call on each of the inputs; return what took longest, with its own time in one call.

    On a CUDA device those are its kernels, by CUPTI; none where that cannot be had. On a CPU they
    are torch's operators, and one row for all that is done outside of them.
    """
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function

    watched = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with torch.no_grad(), profile(activities=watched, acc_events=True) as taken:
        for arguments in inputs:
            with record_function(OUTSIDE):
                call(*arguments)
        if on_cuda:
            torch.cuda.synchronize()
    rows = []
    for event in taken.key_averages():
        here = event.device_type.name == "CUDA"
        if here is not on_cuda or (on_cuda and event.key == OUTSIDE):
            continue
        own_us = event.self_device_time_total if on_cuda else event.self_cpu_time_total
        if own_us > 0:
            ms, times = own_us / 1e3 / len(inputs), event.count / len(inputs)
            rows.append(profile_row(event.key, on_cuda, ms, times))
    return sorted(rows, key=lambda row: -row.ms)[:MAX_PROFILE_ROWS]
