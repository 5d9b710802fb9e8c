"""Memory that a kernel frees stays with its process, so that its next call finds it warm."""

from __future__ import annotations

import platform

import pytest
from kernels import kernel

from kbexp.task import Task
from kbexp.worker.worker import Worker

# 4096 pages a block; sizes differ, so that no one block of before fits them all.
FAULTS = """
import resource
def use():
    blocks = [torch.ones((16 + n) * 2**18) for n in range(3)]
    return sum(float(block[0]) for block in blocks)
for _ in range(5): use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20): use()
raise ValueError('<<' + str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) + '>>')
"""

# Blocks of 16 MiB, two at a time, and one small tensor for each: memory for two is enough.
PLACES = """
x, last, seen = torch.ones(2**12, 2**10), None, []
for _ in range(30):
    last = None
    square = x**2
    mean = square.mean(-1, keepdim=True)
    seen.append(square.data_ptr())
    del square
    quotient = x / mean
    seen.append(quotient.data_ptr())
    last = quotient * x
    seen.append(last.data_ptr())
    del quotient
raise ValueError('<<' + str(len(set(seen[30:]))) + '>>')
"""


def _said(log: str) -> int:
    return int(log[log.rindex("<<") + 2 : log.rindex(">>")])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own settings")
def test_freed_memory_is_used_again_without_new_pages(worker: Worker, task: Task) -> None:
    verdict = worker.evaluate(task, kernel(FAULTS))
    assert _said(verdict.log) < 4096


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own settings")
def test_a_freed_block_is_found_again_by_the_next_of_its_size(worker: Worker, task: Task) -> None:
    verdict = worker.evaluate(task, kernel(PLACES))
    # Left to the luck of one heap, there are three to thirty.
    assert _said(verdict.log) == 2
