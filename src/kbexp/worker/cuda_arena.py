"""Arenas in a CUDA device's memory, lent from process to process by CUDA IPC.

By the driver's own calls, since memory from torch's allocator shares its blocks with other
tensors, and whoever opens an IPC handle sees the whole block. Sizes are whole 2 MiB pages, for
the same reason one level down (CUDA driver API, cuIpcGetMemHandle).
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

from kbexp.worker.arena import Arena, Layout

if TYPE_CHECKING:
    import torch

PAGE = 2 * 2**20
HANDLE_BYTES = 64
_LAZY_PEER_ACCESS = 1


class IpcUnavailable(RuntimeError):
    """CUDA memory cannot be lent between these processes."""


class _Handle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_char * HANDLE_BYTES)]


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _check(result: int, name: str) -> None:
    if result:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(result, ctypes.byref(text))
        said = text.value.decode() if text.value else "unknown error"
        raise IpcUnavailable(f"{name}: CUDA error {result}: {said}")


class _Memory:
    """One allocation; torch reads it through the array interface that CUDA libraries share."""

    def __init__(self, pointer: int, size: int, own: bool) -> None:
        self.pointer = pointer
        self._own = own
        self.__cuda_array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (pointer, False),
            "version": 3,
        }

    def free(self) -> None:
        """Give the memory back, or stop using what another process lent."""
        if self.pointer:
            pointer = ctypes.c_uint64(self.pointer)
            if self._own:
                _driver().cuMemFree_v2(pointer)
            else:
                _driver().cuIpcCloseMemHandle(pointer)
            self.pointer = 0


def _arena(layout: Layout, slots: int, memory: _Memory, device: str) -> Arena:
    import torch

    tensor: torch.Tensor = torch.as_tensor(memory, device=device)
    return Arena(layout, slots, tensor[: layout.slot_bytes * slots], memory)


def _make_current(device: str) -> None:
    import torch

    torch.cuda.set_device(device)
    torch.empty(1, device=device)  # Makes the context that the driver's calls need.


def create_cuda(layout: Layout, slots: int, device: str) -> tuple[Arena, str]:
    """Allocate an arena on `device`; return it and its IPC handle as hexadecimal digits.

    Raises `IpcUnavailable` where the memory cannot be had or lent.
    """
    _make_current(device)
    size = -(-layout.slot_bytes * slots // PAGE) * PAGE
    pointer = ctypes.c_uint64()
    _check(_driver().cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(size)), "cuMemAlloc")
    memory = _Memory(pointer.value, size, own=True)
    handle = _Handle()
    try:
        _check(_driver().cuIpcGetMemHandle(ctypes.byref(handle), pointer), "cuIpcGetMemHandle")
    except IpcUnavailable:
        memory.free()
        raise
    return _arena(layout, slots, memory, device), bytes(handle).hex()


def open_cuda(layout: Layout, slots: int, handle: str, device: str) -> Arena:
    """Map an arena that another process lent; raises `IpcUnavailable`."""
    _make_current(device)
    opened = _Handle.from_buffer_copy(bytes.fromhex(handle))
    pointer = ctypes.c_uint64()
    _check(
        _driver().cuIpcOpenMemHandle_v2(
            ctypes.byref(pointer), opened, ctypes.c_uint(_LAZY_PEER_ACCESS)
        ),
        "cuIpcOpenMemHandle",
    )
    size = -(-layout.slot_bytes * slots // PAGE) * PAGE
    return _arena(layout, slots, _Memory(pointer.value, size, own=False), device)
