"""A process that has imported torch and waits to be forked.

`python -m kbexp.worker.zygote FD`: orders come over the socket FD, each with the descriptors that
the forked process is to have. The zygote makes no CUDA context and runs no parallel region: a
child of a process that did either can hang (its threads are not forked with it).
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from typing import Any

from kbexp.worker import wire
from kbexp.worker.sandbox import Walls
from kbexp.worker.supervisor import Role, supervise
from kbexp.worker.visible import visible_paths

GAP_BYTES = 4 * 2**20
"""More than the small tensors of a call take together; less than a large one, of which a third
copy would not fit the caches."""

_kept: list[Any] = []


def warm() -> None:
    """Import what kernels and judges use, so that their processes need not."""
    # cpp_extension asks whether there is a device. Asking CUDA, or NVML, would leave a state that
    # no forked child can use; hidden devices are answered for by torch itself.
    os.environ |= {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "CUDA_VISIBLE_DEVICES": ""}

    import ctypes  # noqa: F401
    import importlib.util  # noqa: F401
    import inspect  # noqa: F401

    import numpy  # noqa: F401
    import torch
    import torch.nn.functional
    import torch.utils.cpp_extension

    try:
        import triton
        import triton.language  # noqa: F401
    except ImportError:
        pass
    # The vector mathematics that torch brings settles at its first call which code fits the
    # processor. Left to several threads of a forked child, a cosine came out wrong by 1e-4 in one
    # fork of four hundred. So few elements start no thread.
    few = torch.linspace(0.1, 0.9, 4)
    for dtype in (torch.float32, torch.float64):
        for function in (torch.cos, torch.sin, torch.tan, torch.tanh, torch.exp, torch.log,
                         torch.sqrt, torch.erf, torch.acos, torch.asin, torch.atan, torch.log1p,
                         torch.expm1, torch.sigmoid, torch.erfinv, torch.lgamma):  # fmt: skip
            function(few.to(dtype))
        torch.pow(few.to(dtype), 1.5)
    leave_a_gap()
    gc.collect()
    # Frozen objects are not touched by the children's collections: their pages stay shared.
    gc.freeze()


def leave_a_gap() -> None:
    """Leave room for small tensors below the heap's end, where large ones come and go.

    A row's sum that takes the first bytes of a block of 16 MiB just freed keeps the next such
    block from lying there. No page of this is touched.
    """
    import torch

    below, above = (torch.empty(GAP_BYTES, dtype=torch.uint8) for _ in range(2))
    del below  # Were it the last, its memory would be one with what follows.
    _kept.append(above)


def roles() -> dict[str, Role]:
    """Return what a forked process can be, by name."""
    from kbexp.worker import build, judge, runner

    return {"runner": runner.main, "judge": judge.main, "builder": build.main, "probe": probe}


def probe(order: dict[str, Any], fds: list[int]) -> None:
    """Do nothing: that the walls stood is the answer."""


def serve(control: socket.socket) -> None:
    """Fork what is ordered until the worker goes away."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    base_env = dict(os.environ)
    warm()
    visible_paths()  # Worked out once, for all that is forked.
    known = roles()
    try:
        wire.send(control, {"ready": True})
    except wire.Closed:
        return
    while True:
        try:
            order, fds = wire.receive(control)
        except wire.Closed:
            return
        if os.fork() == 0:
            control.close()
            supervise(Walls.from_record(order["walls"]), base_env, known[order["role"]], order, fds)
        for fd in fds:
            os.close(fd)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
