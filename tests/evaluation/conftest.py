"""The small task."""

from __future__ import annotations

import pytest
from kernels import TASK

from kbexp.task import Task


@pytest.fixture(scope="session")
def task() -> Task:
    """The small task."""
    return Task("small", TASK)
