"""How much memory a judge lends to runners, and of which kind."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from kbexp.worker.arena import Arena, Layout, create_host, fill_in_turns

HOST_BYTES_HELD = 512 * 2**20
"""Bytes of trials that the judge holds on a CPU."""

HOST_BYTES_LENT = 64 * 2**20
"""Bytes lent to one runner on a CPU, unless that were fewer than `FEWEST_SLOTS`.

Many times what a core's own cache holds, so that a call finds its inputs outside; no more, since
every page costs time when it is first touched and when it is given back.
"""

FEWEST_SLOTS = 3

DEVICE_SHARE = 0.12
"""The share of a CUDA device's free memory lent to one runner, and held in trials by the judge.

Two runners, the trials, the outputs and the temporaries of kernel and reference must all fit.
"""

DRAWN_SHARE = 0.06
"""The share of a CUDA device's memory for inputs that are drawn while a kernel is timed."""


def trial_room(device: str) -> int:
    """Return the bytes that the trials of one problem may take.

    On a CUDA device it is to be asked while no kernel's process holds memory there.
    """
    if device == "cpu":
        return HOST_BYTES_HELD
    import torch

    torch.cuda.empty_cache()  # What trying the task took is free.
    return _device_bytes(device)


def trials_for(layout: Layout, wanted: int, room: int) -> int:
    """Return how many trials to hold in so many bytes: `wanted`, at least one, as fits."""
    return max(1, min(wanted, room // layout.slot_bytes))


def drawn_for(layout: Layout, wanted: int, device: str) -> int:
    """Return how many sets of inputs to draw at a time: `wanted`, or none, as fits.

    By a device's whole memory, since what is free of it is a kernel's to take.
    """
    space = HOST_BYTES_HELD
    if device != "cpu":
        import torch

        space = int(torch.cuda.get_device_properties(device).total_memory * DRAWN_SHARE)
    return min(wanted, space // max(layout.input_bytes, 1))


def slots_for(layout: Layout, wanted: int, device: str) -> int:
    """Return how many slots to lend to a runner: `wanted`, at least one, as fits."""
    if device == "cpu" or not Lending.ipc:
        return min(wanted, max(FEWEST_SLOTS, HOST_BYTES_LENT // layout.slot_bytes))
    return max(1, min(wanted, _device_bytes(device) // layout.slot_bytes))


def _device_bytes(device: str) -> int:
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return int(free * DEVICE_SHARE)


@dataclass(slots=True)
class HostArena:
    """An arena in an anonymous file, the file's descriptor, and the one that is lent with it."""

    arena: Arena
    fd: int
    trusted: bool = False
    lent: int | None = None

    def lend(self) -> int:
        """Return a descriptor of its own for one evaluation.

        The position in a file, its flags and locks belong to what was opened and not to the file:
        lent again, they would tell a kernel what one before it had left there.
        """
        self.lent = os.open(f"/proc/self/fd/{self.fd}", os.O_RDWR | os.O_CLOEXEC)
        return self.lent

    def take_back(self) -> None:
        """Close the lent descriptor."""
        if self.lent is not None:
            os.close(self.lent)
            self.lent = None

    def wipe(self) -> None:
        """Have nothing in it, nor in what the system keeps of it, that a runner wrote."""
        self.arena.wipe()
        with contextlib.suppress(OSError):  # a system that knows none for such files
            for name in os.listxattr(self.fd):
                os.removexattr(self.fd, name)
        os.utime(self.fd, ns=(0, 0))


class Lending:
    """The arenas of one evaluation after another, to whose runners they are lent.

    `close` ends one evaluation. Memory of a CUDA device is given back then; memory of the host is
    kept for the next evaluation, since the pages of a new file cost more than all that is written
    to them. Whoever begins the next one knows that the runners of this one have ended.
    """

    ipc = True
    """False once CUDA IPC was found not to work between these processes."""

    why_not = ""
    """What CUDA said then."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._lent: list[Arena | HostArena] = []
        self._kept: dict[bool, list[HostArena]] = {True: [], False: []}

    @classmethod
    def give_up(cls, why_not: str) -> None:
        """Use shared host memory from now on."""
        cls.ipc = False
        cls.why_not = why_not

    @property
    def transport(self) -> str:
        """How tensors cross between judge and runners."""
        if self._device != "cpu" and Lending.ipc:
            return "cuda_ipc"
        return f"shared_memory ({self.why_not})" if self.why_not else "shared_memory"

    def lend(
        self, layout: Layout, slots: int, trusted: bool = False
    ) -> tuple[Arena, str | None, tuple[int, ...]]:
        """Return a new arena, its CUDA IPC handle (or None) and the descriptors to send along.

        What was lent to a kernel is never lent to what is `trusted`, the reference: how a file's
        pages lie in memory outlives the process that had them so.
        """
        if self._device != "cpu" and Lending.ipc:
            from kbexp.worker.cuda_arena import IpcUnavailable, create_cuda

            try:
                arena, handle = create_cuda(layout, slots, self._device)
            except IpcUnavailable as error:
                Lending.give_up(str(error))
            else:
                self._lent.append(arena)
                return arena, handle, ()
        # So many slots may have been asked for as fit into a device's memory, for both sides.
        host = self._host(layout, slots_for(layout, slots, self._device), trusted)
        self._lent.append(host)
        return host.arena, None, (host.lend(),)

    def _host(self, layout: Layout, slots: int, trusted: bool) -> HostArena:
        """Return an arena of zeros, a kept one where one fits."""
        while kept := self._kept[trusted]:
            host = kept.pop()
            if host.arena.layout == layout and host.arena.slots == slots:
                host.wipe()
                return host
            os.close(host.fd)
        # Both are made now, with pages of the same kind: those of the one that was filled first
        # lay scattered, and its side came out a tenth slower in all evaluations of a judge.
        made = {whose: HostArena(*create_host(layout, slots), whose) for whose in (True, False)}
        fill_in_turns([host.arena for host in made.values()])
        for other in self._kept[not trusted]:
            os.close(other.fd)
        self._kept[not trusted] = [made[not trusted]]
        return made[trusted]

    def settle(self) -> None:
        """Wait until what was written to the arenas has arrived."""
        if self._device != "cpu":
            import torch

            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """End an evaluation: take back what was lent for it."""
        self.settle()
        for lent in self._lent:
            if isinstance(lent, HostArena):
                lent.take_back()
                self._kept[lent.trusted].append(lent)
            else:
                lent.close()
        self._lent.clear()
