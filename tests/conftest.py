"""What all tests share: the repository, and the command line as a person would use it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from warm import COMMAND_LINE, RUN, Program, Warm

from kbexp.worker.processes import THREADS_AT_REST

# Before anything imports torch, whose library of threads reads them then. Left alone, idle threads
# spin for some 15 ms after every parallel region: half the processor's time where cores are few.
os.environ.update(THREADS_AT_REST)

# Nothing that is imported goes again: looking through it for garbage as it comes takes time only.
gc.disable()

# How long an example took decides nothing. In CI the same ones are tried each time.
settings.register_profile("kbexp", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("kbexp")

# Programs that a shell starts in its background ignore Ctrl-C, and so does all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Trace asks `inspect` about its operators, which looks through every module there is by then.
import opto.trace  # noqa: E402, F401

REPOSITORY = Path(__file__).resolve().parent.parent

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_finish() -> None:
    """Collect garbage from here on, but look no more at what was imported."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def start_program() -> Iterator[Callable[..., Program]]:
    """Start a program of the repository in a folder, from a process that is warm.

    With `run` it has imported what a whole run needs, else what reads the command line.
    """
    warm: dict[bool, Warm] = {}

    def start(
        program: str,
        *arguments: str,
        cwd: Path,
        env: dict[str, str] | None = None,
        run: bool = False,
    ) -> Program:
        if run not in warm:
            warm[run] = Warm(RUN if run else COMMAND_LINE)
        return warm[run].start(REPOSITORY / program, arguments, cwd, os.environ | (env or {}))

    yield start
    for each in warm.values():
        each.close()


@pytest.fixture
def command_line(tmp_path: Path, start_program: Callable[..., Program]) -> CommandLine:
    """Run a program of the repository in an empty folder; returns exit code, stdout and stderr.

    It starts warm, as `start_program` says; `cold` is a Python of its own, as a person starts it.
    """

    def ended(
        program: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        timeout_s: float = 120,
        cold: bool = False,
        run: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        env = {"HYDRA_FULL_ERROR": ""} | (env or {})
        if not cold:
            started = start_program(program, *arguments, cwd=tmp_path, env=env, run=run)
            stdout, stderr = started.communicate(timeout_s)
            assert started.returncode is not None
            return subprocess.CompletedProcess(arguments, started.returncode, stdout, stderr)
        return subprocess.run(
            [sys.executable, str(REPOSITORY / program), *arguments],
            cwd=tmp_path,
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return ended
