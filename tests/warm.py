"""Starts programs of the repository from a process that has imported their libraries already.

    python tests/warm.py FD MODULE...      # the process that waits, started by `Warm`

It imports the modules (`opto` by way of kbexp, as a run does), then forks for every program that it
is asked for over the socket FD. The child has the arguments, folder, environment and standard
streams that it is given, runs the program's file as `__main__` of an interpreter that is its own,
and ends as that interpreter ends. It has no thread and no open file of the process it came from.
What cannot be seen in it is what a program imports; tests that look at that start a Python of their
own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

STREAMS = 3
"""stdin, stdout and stderr come with every request, then the socket for what is answered."""

COMMAND_LINE = (
    "hydra", "hydra.core.hydra_config", "hydra._internal.utils", "hydra.conf", "omegaconf",
    "kbexp.app.configuration", "kbexp.app.explain", "kbexp.app.resume", "kbexp.app.callbacks",
    "kbexp.app.compare", "kbexp.analysis.outcomes", "omegaconf._impl", "antlr4.LL1Analyzer",
    "hydra._internal.core_plugins.basic_launcher", "hydra._internal.core_plugins.basic_sweeper",
    "hydra._internal.core_plugins.file_config_source",
    "hydra._internal.core_plugins.structured_config_source",
)  # fmt: skip
"""What a program has imported before it knows what it is asked for."""

RUN = (*COMMAND_LINE, "kbexp.app.run", "torch", "opto", "modal_proto.api_grpc")
"""What a run imports sooner or later, but for libraries that read the environment as they come."""


class Program:
    """A program that was started: what tests use of `subprocess.Popen`.

    Its output goes to files, which are read when it has ended.
    """

    def __init__(self, reply: socket.socket, stdout: Any, stderr: Any) -> None:
        self._reply = reply
        self._files = stdout, stderr
        self.pid: int = self._answer()["pid"]
        self.returncode: int | None = None

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
        self.wait()

    def _answer(self) -> dict[str, int]:
        text = self._reply.recv(1024)
        if not text:
            raise RuntimeError("the process that starts programs has ended")
        answer: dict[str, int] = json.loads(text)
        return answer

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        if self.returncode is None and select.select([self._reply], [], [], 0)[0]:
            self.returncode = self._answer()["status"]
            self._reply.close()
        return self.returncode

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end; raises TimeoutExpired where that takes longer."""
        if self.returncode is None and not select.select([self._reply], [], [], timeout_s)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout_s or 0.0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; return what it printed. Where it takes too long, it is killed."""
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            self.wait()
            raise
        texts = []
        for file in self._files:
            file.seek(0)
            texts.append(file.read().decode())
            file.close()
        return texts[0], texts[1]


class Warm:
    """A process that has imported `modules` and starts programs."""

    def __init__(self, modules: Sequence[str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, __file__, str(theirs.fileno()), *modules]
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
        self._control = ours

    def start(
        self, program: Path, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]
    ) -> Program:
        """Start a program as `python PROGRAM ARGUMENTS...` would, with an empty stdin."""
        request = {"argv": [str(program), *arguments], "cwd": str(cwd), "env": dict(env)}
        mine, reply = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stdout, stderr = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 (it closes them)
        with reply, Path(os.devnull).open("rb") as nothing, tempfile.TemporaryFile() as text:
            text.write(json.dumps(request).encode())
            text.seek(0)
            files = [nothing, stdout, stderr, reply, text]
            socket.send_fds(self._control, [b"start"], [file.fileno() for file in files])
            return Program(mine, stdout, stderr)

    def close(self) -> None:
        """End the process; what it started is left alone."""
        self._control.close()
        self._process.wait()


def _serve(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for every request; return it and its streams in the child, None when all is done."""
    started: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor of each process
    while True:
        for ready in select.select([control, *started], [], [])[0]:
            if ready is not control:
                pid, reply = started.pop(ready)
                os.close(ready)
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                with reply, contextlib.suppress(OSError):
                    reply.send(json.dumps({"status": status}).encode())
                continue
            data, fds, _, _ = socket.recv_fds(control, 16, STREAMS + 2)
            if not data:
                return None
            *streams, answer, text = fds
            with os.fdopen(text, "rb") as file:
                request = json.load(file)
            pid = os.fork()
            if pid == 0:
                for fd in [control.fileno(), answer, *started]:
                    os.close(fd)
                for _, reply in started.values():
                    os.close(reply.fileno())
                return request, streams
            for fd in streams:
                os.close(fd)
            reply = socket.socket(fileno=answer)
            started[os.pidfd_open(pid)] = pid, reply
            reply.send(json.dumps({"pid": pid}).encode())


def _become(request: dict[str, Any], streams: list[int]) -> str:
    """Take on what a program of its own would begin with; return the program's path."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv[:] = request["argv"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    return sys.argv[0]


def _prepare(modules: Sequence[str]) -> None:
    """Import the modules as a program of the repository would."""
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    gc.disable()
    for name in modules:
        if name == "opto":
            from kbexp.proposals.litellm_setup import import_opto

            import_opto()
        else:
            importlib.import_module(name)
    # What is here stays: no child need look through it, nor copy its pages for doing so.
    gc.collect()
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    _prepare(sys.argv[2:])
    _asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if _asked is None:
        os._exit(0)
    _path = _become(*_asked)
    _code = compile(Path(_path).read_bytes(), _path, "exec")
    for _name in [name for name in globals() if name not in ("_code", "_path", "__builtins__")]:
        if _name not in ("__name__", "__doc__", "__loader__", "__spec__", "__package__"):
            del globals()[_name]
    globals()["__file__"] = _path
    exec(_code, globals())
