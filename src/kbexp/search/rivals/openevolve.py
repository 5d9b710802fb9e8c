"""OpenEvolve (https://github.com/algorithmicsuperintelligence/openevolve), in a process of its own.

It takes over signals, the root logger and the global sources of chance, and it starts processes:
all of that stays in a session of processes that ends with this one. Its wishes come over a socket.
It gets none of our environment but what Python needs, so no key is there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbexp.search.rivals.catalog import Settings
from kbexp.search.rivals.talk import Closed, NoKernel, Talk
from kbexp.search.rivals.wire import Line

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


class OpenEvolveFailed(Exception):
    """OpenEvolve's process ended with an error; the text says which."""


def play(talk: Talk, settings: Settings) -> None:
    """Search until the talk is closed; raises OpenEvolveFailed where its process fails."""
    with tempfile.TemporaryDirectory(prefix="kbexp-openevolve-") as name, _child(name) as line:
        line.send({"seed": settings.seed, "first": settings.first})
        while (message := line.receive()) is not None:
            if "failed" in message:
                raise OpenEvolveFailed(str(message["failed"]))
            if "over" in message:
                return
            line.send(_granted(talk, message))
    if talk.closed:
        raise Closed
    raise OpenEvolveFailed("its process ended without a word")


def _granted(talk: Talk, message: dict[str, Any]) -> dict[str, Any]:
    """Grant one wish; raises Closed."""
    if "judge" in message:
        told = talk.judge(str(message["judge"]))
        return {"score": told.score, "feedback": told.feedback, "speedup": told.speedup}
    try:
        return {"kernel": talk.ask(str(message["system"]), str(message["user"]))}
    except NoKernel as none:
        return {"error": str(none)}


@contextlib.contextmanager
def _child(folder: str) -> Iterator[Line]:
    """Start the process; it and all that it started are gone when the block ends.

    Its standard input is open for as long as we live: where we are killed, its end kills it.
    """
    ours, theirs = socket.socketpair()
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    # Python looks for modules where it does here, wherever a relative folder is named.
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(p).absolute()) for p in sys.path if p)
    # Sets of texts are in another order in every process, unless told otherwise.
    environment |= {"PYTHONHASHSEED": "0", "HOME": folder, "TMPDIR": folder}
    program = [sys.executable, "-P", "-m", "kbexp.search.rivals.evolving.main"]
    with theirs, Path(folder, "output").open("wb") as output:
        process = subprocess.Popen(
            [*program, str(theirs.fileno()), folder],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=folder,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    line = Line(ours)
    try:
        yield line
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        line.close()
