"""What all tests share: the repository, and the command line as a person would use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example took decides nothing. In CI the same ones are tried each time.
settings.register_profile("kbexp", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("kbexp")

# Programs that a shell starts in its background ignore Ctrl-C, and so does all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    """Run a program of the repository in an empty folder; returns exit code, stdout and stderr."""

    def run(
        program: str, *arguments: str, env: dict[str, str] | None = None, timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if k != "HYDRA_FULL_ERROR"}
        return subprocess.run(
            [sys.executable, str(REPOSITORY / program), *arguments],
            cwd=tmp_path,
            env=clean | (env or {}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    return run
