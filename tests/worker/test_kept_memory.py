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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own settings")
def test_freed_memory_is_used_again_without_new_pages(worker: Worker, task: Task) -> None:
    verdict = worker.evaluate(task, kernel(FAULTS))
    faults = int(verdict.log[verdict.log.rindex("<<") + 2 : verdict.log.rindex(">>")])
    assert faults < 4096
