"""Real runners' processes without walls, and what a CUDA device would do for them on a CPU."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from kbexp.worker import runner
from kbexp.worker.dispatch import dispatching
from kbexp.worker.leash import END, SIGNALS
from kbexp.worker.memory import Lending


def fork(serve: Callable[[socket.socket], None], ends: contextlib.ExitStack) -> list[int]:
    """Have a process serve a judge; return the judge's ends of its channel and of its leash."""
    ours, theirs = socket.socketpair()
    near, far = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            kept = theirs.fileno()
            os.closerange(3, kept)  # The ends of others, who wait for them to be closed.
            os.closerange(kept + 1, 4096)
            torch.set_num_threads(1)  # A forked process has none of the threads of before.
            serve(theirs)
        finally:
            os._exit(0)
    theirs.close()
    holder = threading.Thread(target=_hold, args=(far, pid), daemon=True)
    holder.start()
    ends.callback(holder.join)
    ends.callback(_end, near, pid)
    return [ours.detach(), os.dup(near.fileno())]


def _hold(far: socket.socket, pid: int) -> None:
    with far:
        while order := far.recv(1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGNALS[order])
            if order == END:
                break
            far.sendall(order)
        os.waitpid(pid, 0)


def _end(near: socket.socket, pid: int) -> None:
    with near, contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        near.sendall(END)


class Graph:
    """Does again what was done when it was recorded, on the same memory, as a CUDA graph does."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, Any, Any, Any]] = []

    def recording(self, pool: object = None) -> AbstractContextManager[Any]:
        """Return what surrounds the operators to be recorded."""
        return dispatching(self._record)

    def _record(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        given = func(*args, **kwargs)
        self._done.append((func, args, kwargs, given))
        return given

    def replay(self) -> None:
        for func, args, kwargs, given in self._done:
            again = func(*args, **kwargs)
            for place, tensor in zip(tree_leaves(given), tree_leaves(again), strict=True):
                if isinstance(place, torch.Tensor) and place.data_ptr() != tensor.data_ptr():
                    place.copy_(tensor)


class Event:
    """A moment on the host, where all is done at once."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self) -> None:
        self._at = time.perf_counter()

    def elapsed_time(self, other: Event) -> float:
        return 1e3 * (other._at - self._at)


class OnDevice(runner.Runner):
    """A runner that takes the CPU for a CUDA device."""

    def __init__(self, order: dict[str, Any], lent: list[int], inside: str) -> None:
        cuda: Any = torch.cuda
        cuda.Event, cuda.CUDAGraph, cuda.synchronize = Event, Graph, lambda *_: None
        cuda.graph, cuda.graph_pool_handle = Graph.recording, lambda: None
        super().__init__(order | {"device": "cpu", "ipc": None}, lent, inside)
        self._flush = torch.empty(2**16, dtype=torch.uint8)


class DeviceLending(Lending):
    """Lends memory of the host as if it were a device's."""

    transport = "cuda_ipc"

    def __init__(self) -> None:
        super().__init__("cpu")


def serve_on_device(folder: str, kind: type[OnDevice] = OnDevice) -> Callable[[Any], None]:
    """Return what serves a judge as a runner with a CUDA device would."""

    def serve(channel: socket.socket) -> None:
        Path(folder).mkdir(exist_ok=True)
        runner.Runner = kind  # type: ignore[misc]
        runner.main({"inside": folder}, [channel.detach()])

    return serve


def pretend_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have torch say, in the judge's process, what it says of a CUDA device of 2 GiB."""
    answers: dict[str, Any] = {
        "mem_get_info": (2**30, 2**31),
        "memory_reserved": 0,
        "get_device_properties": SimpleNamespace(total_memory=2**31),
        "synchronize": None,
        "empty_cache": None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
