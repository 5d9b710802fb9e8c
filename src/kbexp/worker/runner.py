"""The untrusted process: loads a kernel (or a reference) and calls it when told to.

It is given a module's text, the arguments of its constructor, a seed for its weights, and slots of
input tensors; it hands back times and output tensors. It never sees an expected output, a
tolerance, another kernel or a key. Whatever runs in here may have been taken over by the kernel:
nothing that it says is believed without a check on the judge's side.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import random
import socket
import sys
import time
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kbexp.worker import wire
from kbexp.worker.arena import Arena, Layout, leaf_of, open_host
from kbexp.worker.profile import traced
from kbexp.worker.report import (
    Kind,
    pack_leaves,
    pack_profile,
    pack_text,
    pack_times,
    send_report,
)
from kbexp.worker.tree import Unsupported, output_tensors, unflatten

if TYPE_CHECKING:
    import torch

Call = Callable[..., Any]

CACHED_BYTES = 128 * 2**20
MOST_COPIES = 100
"""What the last cache of a device surely does not hold, and as many copies as there are calls."""


def main(order: dict[str, Any], fds: list[int]) -> None:
    """Serve one judge until it hangs up; the role of a forked process."""
    channel = socket.socket(fileno=fds[0])
    try:
        prepared, lent = wire.receive(channel)
        runner = Runner(prepared, lent, order["inside"])
        send_report(channel, Kind.READY)
        while True:
            told, _ = wire.receive(channel)
            runner.answer(channel, told)
    except (wire.Closed, BrokenPipeError):
        return
    except Unsupported as error:
        send_report(channel, Kind.FAILED, pack_text(str(error)))
    except BaseException:  # a kernel may raise SystemExit or KeyboardInterrupt
        send_report(channel, Kind.FAILED, pack_text(traceback.format_exc()))


class Runner:
    """One constructed module and the slots that it is called on.

    At first it has only what it needs of its device: no module, and nothing untrusted has run.
    """

    def __init__(self, order: dict[str, Any], lent: list[int], inside: str) -> None:
        import torch

        self._inside = inside
        self._device = torch.device(order["device"])
        self._layout = Layout.from_record(order["layout"])
        self._arguments = order["arguments"]
        self._arena = _map(self._layout, order, lent)
        self._staged = self._device.type == "cuda" and not order["ipc"]
        self._call: Call
        self._last: Any = None
        self._kept: list[Any] = []
        self._graphs: list[Any] = []
        self._resting: Call | None = None
        self._strided = False
        """True once an output that was handed over did not lie in the order of its elements."""
        self._flush = None
        if self._device.type == "cuda":
            self._flush = torch.empty(order["flush_bytes"], dtype=torch.uint8, device=self._device)

    def answer(self, channel: socket.socket, order: dict[str, Any]) -> None:
        """Obey one order, which is known by one of its keys, and report how that went.

        `source`: construct the module; the first of all. `call`: call the kernel on a slot's inputs
        and report its time, in ns. `give`: copy the last call's output into a slot. `block`: call
        the kernel on many slots without waiting in between, copy every output and report every
        time. `keep`: call it on many slots and keep the outputs. `capture`: record the calls on
        many slots as one CUDA graph, and report whether that worked. `replay`: run it. `hand`: copy
        what was kept or recorded into these slots. `record`: record the call on each of these
        slots, and the copy of its outputs, in a graph of its own, and report whether that worked.
        `turns`: make these calls, or run their graphs, one by one, each at a word, copy every
        output and report each. `idle`: from now on give what it gives to this slot instead of
        calling it, or with no slot call it again. `profile`: call it on some slots and report where
        the time went.
        """
        import torch

        if "source" in order:
            self._load(order)
            send_report(channel, Kind.READY)
        elif "idle" in order:
            self._rest(order["idle"])
            send_report(channel, Kind.READY)
        elif "profile" in order:
            staged = self._arguments_of(order["profile"])
            rows = traced(self._call, staged, on_cuda=self._device.type == "cuda")
            send_report(channel, Kind.PROFILED, pack_profile(rows))
        else:
            with torch.no_grad():
                self._work(channel, order)

    def _rest(self, slot: int | None) -> None:
        import torch

        if self._resting is not None:
            self._call, self._resting = self._resting, None
        if slot is not None:
            with torch.no_grad():
                given = output_tensors(self._call(*self._arguments_of([slot])[0]))
            self._resting = self._call
            self._call = _in_turn([tensor.detach() for tensor in given])

    def _work(self, channel: socket.socket, order: dict[str, Any]) -> None:
        if "call" in order:
            self._report(channel, self._call_once(order["call"]))
        elif "block" in order:
            self._report(channel, self._block(order["block"], order["flushes"]))
        elif "give" in order:
            self._hand_over(self._last, order["give"])
            send_report(channel, Kind.COPIED, bytes([self._strided]))
        elif "capture" in order:
            send_report(channel, Kind.CAPTURED, bytes([self._capture(order["capture"])]))
        elif "record" in order:
            send_report(channel, Kind.CAPTURED, bytes([self._record(order["record"])]))
        elif "turns" in order:
            self._take_turns(channel, order["turns"], order["graph"])
        else:
            self._later(order)
            send_report(channel, Kind.COPIED, b"\0")

    def _report(self, channel: socket.socket, done: list[int] | bytes) -> None:
        """Report the times of calls, or the layout of an output that is not the task's."""
        if isinstance(done, list):
            send_report(channel, Kind.CALLED, pack_times(done, self._strided))
        else:
            send_report(channel, Kind.LAYOUT, done)

    def _load(self, order: dict[str, Any]) -> None:
        module = load_module(order["source"], self._inside)
        if not hasattr(module, order["class_name"]):
            raise AttributeError(f"the module defines no {order['class_name']}")
        self._call = construct(
            getattr(module, order["class_name"]), order["init"], order["seed"], self._device
        )

    def _later(self, order: dict[str, Any]) -> None:
        """Work on outputs that are asked for later, and wait until that is done."""
        import torch

        if self._resting is not None and self._flush is not None and "hand" not in order:
            # Whoever calls nothing would else not even have to get the device before it copies.
            self._flush[:1].zero_()
        if "replay" in order:
            self._graph.replay()
        elif "keep" in order:
            staged = self._arguments_of(order["keep"])
            self._kept = [self._call(*arguments) for arguments in staged]
        else:
            self._hand_over_together(order["hand"])
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _call_once(self, slot: int) -> list[int] | bytes:
        self._last = None  # Freed before the next call, as it would be between calls of a program.
        arguments = unflatten(self._arguments, self._arena.inputs(slot))
        start = time.perf_counter_ns()
        self._last = self._call(*arguments)
        taken = time.perf_counter_ns() - start
        return self._layout_if_different(output_tensors(self._last)) or [taken]

    def _block(self, slots: list[int], flushes: int) -> list[int] | bytes:
        """Queue flush, event, call, event, copy for all slots, and wait only at the end.

        The flush takes the device longer than the host needs to queue the call, so that no launch
        latency lies between the events.
        """
        import torch

        if self._flush is None:
            raise ValueError("blocks are for CUDA devices")
        kept = []
        staged = self._arguments_of(slots)
        # Made here and not between the calls, where without flushes the device waits for the host.
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(2 * len(slots))]  # type: ignore[no-untyped-call]
        pairs = list(zip(marks[::2], marks[1::2], strict=True))
        torch.cuda.synchronize()
        for slot, arguments, (before, after) in zip(slots, staged, pairs, strict=True):
            for _ in range(flushes):
                self._flush.zero_()
            before.record()
            output = self._call(*arguments)
            after.record()
            if self._staged:
                # A copy to the host would wait for the device in the middle of the block.
                kept.append((slot, [tensor.clone() for tensor in output_tensors(output)]))
                continue
            different = self._hand_over(output, slot)
            if different:
                return different
        torch.cuda.synchronize()
        for slot, tensors in kept:
            different = self._hand_over(tensors, slot)
            if different:
                return different
        return [int(before.elapsed_time(after) * 1e6) for before, after in pairs]

    def _capture(self, slots: list[int]) -> bool:
        """Record the calls on slots and keep their outputs; False where that fails."""
        import torch

        self._graph: Any = torch.cuda.CUDAGraph()
        staged = self._arguments_of(slots)
        try:
            with torch.cuda.graph(self._graph):
                self._kept = [self._call(*arguments) for arguments in staged]
            return not any(self._layout_if_different(output_tensors(o)) for o in self._kept)
        except Exception:  # such as a kernel that waits for the device
            return False

    def _record(self, slots: list[int]) -> bool:
        """Record the call on each slot, and the copy of its outputs; False where that fails."""
        import torch

        self._graphs = []
        pool = torch.cuda.graph_pool_handle()
        try:
            for slot, arguments in zip(slots, self._arguments_of(slots), strict=True):
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool):
                    different = self._hand_over(self._call(*arguments), slot)
                if different:
                    return False
                self._graphs.append(graph)
        except Exception:
            return False
        return True

    def _take_turns(self, channel: socket.socket, slots: list[int], in_graphs: bool) -> None:
        """Make one call after another, each when a word comes, and hand its output over."""
        import torch

        staged = self._arguments_of([] if in_graphs else slots)
        send_report(channel, Kind.READY)
        for turn, slot in enumerate(slots):
            wire.await_word(channel)
            different = b""
            if in_graphs:
                self._graphs[turn].replay()
            else:
                different = self._hand_over(self._call(*staged[turn]), slot)
            if different:
                send_report(channel, Kind.LAYOUT, different)
                return
            if self._device.type == "cuda":
                torch.cuda.synchronize()
            send_report(channel, Kind.COPIED, b"\0")

    def _arguments_of(self, slots: list[int]) -> list[list[Any]]:
        return [unflatten(self._arguments, self._inputs(slot)) for slot in slots]

    def _inputs(self, slot: int) -> list[torch.Tensor]:
        return [tensor.to(self._device) for tensor in self._arena.inputs(slot)]

    def _layout_if_different(self, tensors: list[torch.Tensor]) -> bytes:
        leaves = [leaf_of(tensor) for tensor in tensors]
        return b"" if tuple(leaves) == self._layout.outputs else pack_leaves(leaves)

    def _hand_over(self, output: Any, slot: int) -> bytes:
        """Copy a call's output into a slot; or return its layout where that is not the task's."""
        tensors = output_tensors(output)
        different = self._layout_if_different(tensors)
        if different:
            return different
        self._strided |= not all(tensor.is_contiguous() for tensor in tensors)
        for tensor, place in zip(tensors, self._arena.outputs(slot), strict=True):
            place.copy_(self._own(tensor))
        return b""

    def _hand_over_together(self, slots: list[int]) -> None:
        """Copy kept outputs into slots, all in one operation.

        Whoever does that beside a reference that copies one by one saves time of its host.
        """
        import torch

        places, given = list[torch.Tensor](), list[torch.Tensor]()
        for output, slot in zip(self._kept, slots, strict=True):
            tensors = output_tensors(output)
            if not self._layout_if_different(tensors):
                places += self._arena.outputs(slot)
                given += [self._own(tensor) for tensor in tensors]
        torch._foreach_copy_(places, given)

    def _own(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor to copy from; raises Unsupported where that is on another device."""
        if tensor.device.type != self._device.type:
            raise Unsupported(f"forward returned a tensor on {tensor.device}")
        # A kernel may leave gradients switched on. A place is used again, and would keep them.
        return tensor.detach() if tensor.requires_grad else tensor


def _in_turn(given: list[torch.Tensor]) -> Call:
    """Return what hands over copies of these, in turn so many that no cache holds them all."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in given)
    count = min(MOST_COPIES, CACHED_BYTES // max(size, 1) + 1)
    copies = itertools.cycle([[tensor.clone() for tensor in given] for _ in range(count)])
    return lambda *_: next(copies)


def _map(layout: Layout, order: dict[str, Any], lent: list[int]) -> Arena:
    if order["ipc"]:
        from kbexp.worker.cuda_arena import open_cuda

        return open_cuda(layout, order["slots"], order["ipc"], order["device"])
    arena = open_host(layout, order["slots"], lent[0])
    os.close(lent[0])
    return arena


def load_module(source: str, folder: str) -> ModuleType:
    """Run a module's text as a file of `folder` (tracebacks and Triton want a file)."""
    path = os.path.join(folder, "kernel_module.py")
    with open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(source)
    spec = importlib.util.spec_from_file_location("kernel_module", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kernel_module"] = module
    spec.loader.exec_module(module)
    return module


def construct(model: Any, init: dict[str, Any], seed: int, device: torch.device) -> Call:
    """Build `model(*get_init_inputs())` under a seed, as KernelBench does, and move it."""
    import torch

    sow(seed)
    built = model(*init_arguments(init))
    if isinstance(built, torch.nn.Module):
        built = built.to(device)
    if not callable(built):
        raise TypeError("ModelNew has no forward that can be called")
    called: Call = built
    return called


def sow(seed: int) -> None:
    """Seed all generators of which weights and inputs are drawn: torch's, Python's, numpy's."""
    import numpy as np
    import torch

    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def init_arguments(init: dict[str, Any]) -> list[Any]:
    """Return the constructor's arguments; tensors among them come as nested lists."""
    import torch

    tensors = [
        torch.tensor(values, dtype=getattr(torch, dtype)).view(shape)
        for dtype, shape, values in init["tensors"]
    ]
    arguments: list[Any] = unflatten(init["tree"], tensors)
    return arguments
