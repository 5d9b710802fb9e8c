"""A worker in a process of its own, wherever it runs, and the talk with it over pipes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from kbexp import errors
from kbexp.config import EvaluatorConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Record, Verdict
from kbexp.worker.processes import clean_environment

CLOSE_TIMEOUT_S = 8.0
"""How long a worker may take to end by itself, which takes it milliseconds."""


class WorkerLost(Exception):
    """A worker process ended although nobody had asked it to."""


class WorkerProcess:
    """A worker in a process of its own, spoken to over pipes.

    `visible` is the value of CUDA_VISIBLE_DEVICES, None for what it is. `source` is the folder
    that the package is imported from, None for this one's.
    """

    def __init__(
        self,
        device: str,
        visible: str | None,
        settings: EvaluatorConfig,
        source: Path | None = None,
    ) -> None:
        extra = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        environment = clean_environment(extra)
        if source is not None:
            others = environment["PYTHONPATH"].split(os.pathsep)[1:]
            environment["PYTHONPATH"] = os.pathsep.join([str(source), *others])
        # -P: nothing is imported from the folder that somebody happened to stand in.
        command = [sys.executable, "-P", "-m", "kbexp.worker", "--device", device]
        self._process = subprocess.Popen(
            [*command, "--settings", json.dumps(asdict(settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
            # Ctrl-C in a terminal is for the run, which then closes its workers in order.
            start_new_session=True,
        )
        self.isolation = ""

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until it can judge; raises `EvaluatorUnavailable` where it cannot."""
        message = self._read()
        if "failed" in message:
            raise EvaluatorUnavailable(str(message["failed"]))
        self.isolation = str(message["ready"]["isolation"])

    def judge(self, task: Task, kernel: Kernel, settings: EvaluatorConfig) -> Verdict:
        """Judge one kernel; raises `WorkerLost`, or the `KbexpError` that the worker names."""
        request = {
            "id": kernel.id,
            "task": {"name": task.name, "source": task.source},
            "kernel": kernel.source,
            "settings": asdict(settings),
        }
        message = self.ask(request)
        if "error" in message:
            raise named_error(message["error"])
        return Verdict.from_record(message["verdict"])

    def ask(self, request: Record) -> Record:
        """Return the answer to one request, with `verdict`, `built` or `error` in it.

        Raises `WorkerLost` where there will be none.
        """
        line = json.dumps(request) + "\n"
        try:
            _stream(self._process.stdin).write(line)
            _stream(self._process.stdin).flush()
        except (OSError, ValueError) as error:  # It has gone, or another thread has hung up.
            raise WorkerLost(str(error)) from error
        message = self._read()
        if not {"verdict", "built", "error"} & set(message):
            raise WorkerLost(str(message.get("failed", "it answered nothing")))
        return message

    def _read(self) -> dict[str, Any]:
        line = _stream(self._process.stdout).readline()
        if not line.endswith("\n"):
            raise WorkerLost(f"exit code {self._process.wait()}")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """End it: by closing its input, and by force when that does not help."""
        self.hang_up()
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        with contextlib.suppress(OSError):
            _stream(self._process.stdout).close()

    def kill(self) -> None:
        """End it by force, where it has not ended; its zygote and all forked from that die, too."""
        self._process.kill()

    def hang_up(self) -> None:
        """Close its input: it drops what it does, clears up and ends.

        This waits for a request that is being written, which one that is halted never reads.
        """
        with contextlib.suppress(OSError, ValueError):  # Two may do so at once.
            _stream(self._process.stdin).close()


def named_error(error: Record) -> KbexpError:
    """Return the error that a worker names by kind and text."""
    kind = getattr(errors, str(error["kind"]), KbexpError)
    known = isinstance(kind, type) and issubclass(kind, KbexpError)
    return (kind if known else KbexpError)(str(error["text"]))


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream
