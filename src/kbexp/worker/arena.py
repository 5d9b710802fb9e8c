"""Memory that a judge lends to a runner: slots of input and output tensors.

The judge makes it and the runner maps it, so that nothing but bytes comes back from a runner.
On a CPU it is a sealed anonymous file (memfd); on a CUDA device memory of its own, never part of
torch's pool (whose blocks hold other tensors), lent by CUDA IPC; where IPC does not work, the
anonymous file again, and both sides copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import mmap
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kbexp.worker.report import Leaf

if TYPE_CHECKING:
    import torch

ALIGNMENT = 512
"""Every tensor starts at a multiple of this, as torch's CUDA allocator gives them."""

PAGE = 4096
PIECE_BYTES = 16 * PAGE
MADV_POPULATE_WRITE = 23
"""Of Linux 5.14; Python's mmap does not name it."""

ITEM_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2,
    "int8": 1, "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors of one slot: first the inputs, then the outputs."""

    inputs: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot, in whole pages."""
        total = sum(_padded(leaf) for leaf in (*self.inputs, *self.outputs))
        return max(PAGE, -(-total // PAGE) * PAGE)

    @property
    def input_bytes(self) -> int:
        """Bytes of the inputs of one call."""
        return sum(map(leaf_bytes, self.inputs))

    def offsets(self) -> list[tuple[Leaf, int]]:
        """Return every tensor with its byte offset in a slot."""
        found, offset = [], 0
        for leaf in (*self.inputs, *self.outputs):
            found.append((leaf, offset))
            offset += _padded(leaf)
        return found

    def to_record(self) -> dict[str, Any]:
        """Return the layout as a JSON object."""
        return {
            "inputs": [[leaf.dtype, list(leaf.shape)] for leaf in self.inputs],
            "outputs": [[leaf.dtype, list(leaf.shape)] for leaf in self.outputs],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Layout:
        """Read what `to_record` wrote."""
        return cls(
            inputs=tuple(Leaf(dtype, tuple(shape)) for dtype, shape in record["inputs"]),
            outputs=tuple(Leaf(dtype, tuple(shape)) for dtype, shape in record["outputs"]),
        )


def leaf_of(tensor: torch.Tensor) -> Leaf:
    """Return a tensor's element type and shape."""
    return Leaf(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def leaf_bytes(leaf: Leaf) -> int:
    """Return the bytes of a contiguous tensor; raises ValueError for a type that cannot cross."""
    if leaf.dtype not in ITEM_BYTES:
        raise ValueError(f"tensors of type {leaf.dtype} cannot cross between processes")
    return ITEM_BYTES[leaf.dtype] * math.prod(leaf.shape)


def _padded(leaf: Leaf) -> int:
    return -(-leaf_bytes(leaf) // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one tensor lies: `numel` of the arena's `elements`, one slot's `every` so many."""

    elements: torch.Tensor
    first: int
    every: int
    numel: int
    shape: tuple[int, ...]

    def begins(self, slot: int) -> int:
        """Return the place of its first element in a slot."""
        return self.first + slot * self.every

    def of(self, slot: int) -> torch.Tensor:
        """Return the tensor of a slot."""
        first = self.begins(slot)
        return self.elements[first : first + self.numel].view(self.shape)


class Arena:
    """Slots over one block of bytes, `memory` being a uint8 tensor on the device or on the host."""

    def __init__(self, layout: Layout, slots: int, memory: torch.Tensor, keeper: Any) -> None:
        self.layout = layout
        self.slots = slots
        self._memory = memory
        self._keeper = keeper  # What must live as long as `memory`.
        places = [self._place(leaf, offset) for leaf, offset in layout.offsets()]
        self._inputs = places[: len(layout.inputs)]
        self._outputs = places[len(layout.inputs) :]
        self._seen_outputs: dict[int, list[torch.Tensor]] = {}

    def inputs(self, slot: int) -> list[torch.Tensor]:
        """Return fresh tensor objects over a slot's inputs."""
        return [place.of(slot) for place in self._inputs]

    def outputs(self, slot: int) -> list[torch.Tensor]:
        """Return tensor objects over a slot's outputs, the same ones whenever they are asked for.

        On a CUDA device a runner asks for them between calls, where the host has little time.
        """
        if slot not in self._seen_outputs:
            self._seen_outputs[slot] = [place.of(slot) for place in self._outputs]
        return self._seen_outputs[slot]

    def _place(self, leaf: Leaf, offset: int) -> _Place:
        import torch

        elements = self._memory.view(getattr(torch, leaf.dtype))
        size = ITEM_BYTES[leaf.dtype]
        every, numel = self.layout.slot_bytes // size, math.prod(leaf.shape)
        return _Place(elements, offset // size, every, numel, leaf.shape)

    def elements(self, index: int) -> torch.Tensor:
        """Return all of the memory as elements of the type that input `index` has."""
        return self._inputs[index].elements

    def first(self, index: int, slot: int) -> int:
        """Return the place, in `elements(index)`, of the first element of a slot's input."""
        return self._inputs[index].begins(slot)

    def poison(self, slot: int, share: float = 1.0, place: float = 0.0) -> None:
        """Fill a slot's outputs with bytes that are no answer (NaN in every float type).

        With a `share`, one run of that share of every output, and at least a page, which begins
        at `place` from 0 (its beginning) to 1.
        """
        import torch

        for tensor in self.outputs(slot):
            places = tensor.contiguous().view(-1).view(torch.uint8)
            length = min(max(math.ceil(share * places.numel()), PAGE), places.numel())
            first = round(place * (places.numel() - length))
            places[first : first + length].fill_(0xFF)

    def wipe(self) -> None:
        """Have zeros everywhere, as in a new one; for memory of the host.

        It keeps its pages: others would lie elsewhere, and be faster or slower.
        """
        self._memory.zero_()

    def fill(self, start: int) -> None:
        """Have pages for `PIECE_BYTES` of it from `start`, where the system has such a call."""
        length = min(PIECE_BYTES, len(self._keeper) - start)
        with contextlib.suppress(OSError):
            self._keeper.madvise(MADV_POPULATE_WRITE, start, length)

    def close(self) -> None:
        """Give the memory back; tensors over it must not be used afterwards."""
        closing = getattr(self._keeper, "free", None)
        if closing:
            closing()


def fill_in_turns(arenas: list[Arena]) -> None:
    """Give arenas of one layout, on the host, pages of the same regions of the machine's memory.

    What the system gives first is what others have left in pieces, and slower than what it gives
    later.
    """
    for start in range(0, arenas[0].slots * arenas[0].layout.slot_bytes, PIECE_BYTES):
        # The order within a turn is drawn: the system may give pages of two kinds in turns, too.
        for arena in random.sample(arenas, len(arenas)):
            arena.fill(start)


def create_host(layout: Layout, slots: int) -> tuple[Arena, int]:
    """Make an arena in an anonymous file; return it and the file's descriptor, to be lent.

    The file is sealed against growing and shrinking: a runner that could shrink it would make
    the judge's next read of it fatal.
    """
    size = layout.slot_bytes * slots
    fd = os.memfd_create("kbexp-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    os.fchmod(fd, 0o600)  # A runner needs no right but that of the descriptor it is lent.
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return open_host(layout, slots, fd), fd


def open_host(layout: Layout, slots: int, fd: int) -> Arena:
    """Map an arena that lies in the file `fd`."""
    import torch

    mapped = mmap.mmap(fd, layout.slot_bytes * slots)
    return Arena(layout, slots, torch.frombuffer(mapped, dtype=torch.uint8), mapped)
