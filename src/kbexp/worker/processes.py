"""The worker's hold on the zygote and on the processes forked from it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbexp.worker import wire
from kbexp.worker.sandbox import Walls

START_TIMEOUT_S = 120.0
KILL_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class End:
    """How a walled-in process ended; `log` is the end of what it printed, cleaned.

    `lost` says that its supervisor was killed and nobody knows.
    """

    exit: int | None
    signal: int | None
    log: str
    peak_bytes: int
    exceeded: str
    lost: bool = False

    def text(self, memory_bytes: int) -> str:
        """Say it in one clause."""
        if self.exceeded == "memory":
            return f"it used more than {memory_bytes / 2**30:g} GiB of memory and was killed"
        if self.signal is not None:
            return f"it was killed by {_signal_name(self.signal)}"
        return f"it exited by itself with code {self.exit}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Child:
    """A process behind walls, seen through its supervisor's status socket."""

    def __init__(
        self, walls: Walls, status: socket.socket, leash: socket.socket, channel: socket.socket
    ) -> None:
        self.walls = walls
        self.channel = channel
        self.leash = leash
        self._status = status
        self._end: End | None = None

    def wait(self, timeout_s: float | None) -> End:
        """Wait for its end; raises `wire.TooLate` after `timeout_s`."""
        if self._end is None:
            try:
                message, _ = wire.receive(self._status, timeout_s)
                self._end = End(**message)
            except wire.Closed:
                # The supervisor itself was killed, and took the process along.
                self._end = End(None, signal.SIGKILL, "", 0, "", lost=True)
            self._status.close()
        return self._end

    def ask_to_end(self) -> None:
        """Have its supervisor end it and all that it started."""
        self.channel.close()
        self.leash.close()
        if self._end is None:
            with contextlib.suppress(OSError):
                self._status.sendall(b"\0")

    def kill(self) -> End:
        """End it and all that it started, and wait until that is done."""
        self.ask_to_end()
        try:
            return self.wait(KILL_TIMEOUT_S)
        except wire.TooLate:
            self._status.close()
            self._end = End(None, signal.SIGKILL, "", 0, "", lost=True)
            return self._end


class Zygote:
    """The warm process; starting it imports torch, forking from it takes milliseconds."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            # Python 3.12 warns of forks beside threads; those are numpy's, which survive a fork.
            [
                # -P: nothing is imported from the folder that somebody happened to stand in.
                *(sys.executable, "-P", "-W", "ignore::DeprecationWarning"),
                *("-m", "kbexp.worker.zygote", str(theirs.fileno())),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            env=dict(env),
        )
        theirs.close()

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._process.pid

    def wait_ready(self) -> None:
        """Wait until torch is imported; raises `wire.Closed` or `wire.TooLate`."""
        wire.receive(self._control, START_TIMEOUT_S)

    def spawn(self, role: str, walls: Walls, order: Mapping[str, Any]) -> Child:
        """Fork a process for `role`; its end of the channel is the first descriptor it gets."""
        # For what becomes of it, for its leash and for its role.
        pairs = [socket.socketpair() for _ in range(3)]
        message = {**order, "role": role, "walls": walls.to_record()}
        # And our end of the channel, for a trap to be prepared on it.
        lent = [theirs.fileno() for _, theirs in pairs] + [pairs[-1][0].fileno()]
        try:
            with self._lock:
                wire.send(self._control, message, lent)
        finally:
            for _, theirs in pairs:
                theirs.close()
        return Child(walls, *(ours for ours, _ in pairs))

    def close(self) -> None:
        """End the zygote; what it forked dies with it."""
        self._control.close()
        self._process.kill()
        self._process.wait()


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the few variables that a worker and its children need, and no others.

    Keys of model providers and trackers live in variables; a list of what may pass keeps out
    those that nobody thought of.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)
    }
    programs = os.path.dirname(sys.executable)
    package = str(Path(__file__).parents[2])
    # An empty entry would mean the current folder.
    given = kept.get("PYTHONPATH", "").split(os.pathsep)
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [package, *given]))
    kept["PATH"] = os.pathsep.join([programs, kept.get("PATH", os.defpath)])
    return {**THREADS_AT_REST, **MEMORY_KEPT, **kept, **(extra or {})}


THREADS_AT_REST = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "0"}
"""How long idle OpenMP threads spin. Left alone, those of libgomp spin 300,000 times after every
parallel region, some 15 ms on a recent Xeon: those of judge, reference and kernel would take the
processor from each other while they are timed in turn. 3000 times outlast the gaps in a call."""


MEMORY_KEPT = {
    "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
    ":glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
}
"""Freed memory stays with its process. Left alone, glibc gives large blocks back to the system and
asks for them again, or does not, by how the heap of that one process happens to lie: a kernel of
many intermediate tensors then pays for fresh pages in every call or in none, and measured against
itself in another process it came out 2.5 times as fast.

And what is freed is joined to its neighbours at once. torch's blocks are aligned, and so come with
a remainder of some tens of bytes; kept in a cache of small pieces (`tcache`, `mxfast`), it parts
the block from free memory beside it, the next tensor of that size does not fit there any more and
is given memory that no cache holds. Whether a kernel works in two blocks in turn or in three or
four was luck of the zygote's heap, alike in all evaluations of a worker, and made a quarter.
"""


KEPT_VARIABLES = frozenset(
    {
        "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CC", "CXX",
        "CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HOME",
        "TORCH_CUDA_ARCH_LIST", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
        "XDG_CACHE_HOME",
    }
)  # fmt: skip
KEPT_PREFIXES = ("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "NVPL_", "NCCL_NVLS", "NVSHMEM_DIS")
