"""How much memory a judge lends to runners, and of which kind."""

from __future__ import annotations

import os

from kbexp.worker.arena import Arena, Layout, create_host

HOST_BYTES = 512 * 2**20
"""Bytes lent to one runner on a CPU."""

DEVICE_SHARE = 0.2
"""The share of a CUDA device's free memory lent to one runner."""


def slots_for(layout: Layout, calls: int, device: str) -> int:
    """Return how many slots one runner gets: one a call, at least two, as far as memory goes."""
    return max(2, min(calls, _bytes_to_lend(device) // layout.slot_bytes))


def _bytes_to_lend(device: str) -> int:
    if device == "cpu":
        return HOST_BYTES
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(free * DEVICE_SHARE)


class Lending:
    """The arenas of one evaluation; closing it gives their memory back."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._arenas: list[Arena] = []
        self._fds: list[int] = []

    def lend(self, layout: Layout, slots: int) -> tuple[Arena, str | None, tuple[int, ...]]:
        """Return a new arena, its CUDA IPC handle (or None) and the descriptors to send along."""
        if self._device != "cpu":
            from kbexp.worker import cuda_arena

            if cuda_arena.usable(self._device):
                arena, handle = cuda_arena.create_cuda(layout, slots, self._device)
                self._arenas.append(arena)
                return arena, handle, ()
        arena, fd = create_host(layout, slots)
        self._arenas.append(arena)
        self._fds.append(fd)
        return arena, None, (fd,)

    def settle(self) -> None:
        """Wait until what was written to the arenas has arrived."""
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Give everything back."""
        for arena in self._arenas:
            arena.close()
        for fd in self._fds:
            os.close(fd)
        self._arenas.clear()
        self._fds.clear()
