"""An evaluator that stays warm for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kernels import TASK, quick

from kbexp.task import Task
from kbexp.worker.worker import Worker


@pytest.fixture(scope="session")
def task() -> Task:
    """The small task."""
    return Task("small", TASK)


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A started worker with a build cache of its own."""
    settings = quick(cache_dir=str(tmp_path_factory.mktemp("builds")))
    started = Worker("cpu", settings)
    started.start()
    yield started
    started.close()
