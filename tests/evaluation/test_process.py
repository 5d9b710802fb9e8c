"""A worker in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from kernels import quick

from kbexp.evaluation.process import WorkerLost, WorkerProcess


def test_nothing_is_imported_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first is what the worker imports, the second what the zygote does.
    for name in ("argparse.py", "numpy.py"):
        (tmp_path / name).write_text(f"raise ImportError('this is the {name} of somebody else')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f":{tmp_path / 'elsewhere'}:")
    worker = WorkerProcess("cpu", None, quick(isolation="process"))
    try:
        worker.wait_ready()
        assert worker.isolation == "process"
    finally:
        worker.close()


def test_a_request_after_hanging_up_says_that_the_worker_is_lost() -> None:
    worker = WorkerProcess("cpu", None, quick(isolation="process"))
    try:
        worker.hang_up()
        worker.hang_up()
        with pytest.raises(WorkerLost):
            worker.ask({})
    finally:
        worker.close()
