"""Small copies from and to a CUDA device that wait for nobody who holds it.

A runner may report a block as done while its last calls are still going on: they may well end
before an operation of the judge's gets the device, since that takes half a millisecond. Copies to
and from the host do not wait for it. On an H100 that another process kept busy, an operation took
2.3 ms and a copy of a few bytes 0.014 ms, the same as on an idle one. So a few bytes of some
outputs, nobody knows which, are copied as soon as they are reported; what stands there later has to
be the same. And a few bytes of inputs are overwritten before outputs are asked for.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kbexp.verdict import Status
from kbexp.worker.arena import Arena
from kbexp.worker.feed import Feed
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.side import Side

if TYPE_CHECKING:
    import torch

PIECES = 8
"""Of a block's outputs, so many pieces are copied: whoever still works on a tenth of them escapes
in two of five blocks, and in twelve blocks once in 25,000 evaluations."""

PIECE_BYTES = 64
"""Of outputs that are looked at, and of each slot's inputs that are overwritten."""

WITHHELD_BYTES = 2**20
"""Inputs of one call that are no larger come at the last moment: some 0.03 ms for a copy from the
host, and 0.005 ms for each tensor."""

WITHHELD_PIECES = 8
WITHHELD_PIECE_BYTES = 2**15
"""Of larger ones so many pieces do, more where there are more tensors: of each its two ends, since
steps up to the first piece could be made before the call, and others in between."""


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    return tensor.view(-1).view(torch.uint8)


def _piece(tensor: torch.Tensor, chance: random.Random) -> tuple[torch.Tensor, int]:
    """Return a piece of a tensor's bytes and where it begins."""
    whole, unit = _bytes(tensor), tensor.element_size()
    first = unit * chance.randrange(max(0, whole.numel() - PIECE_BYTES) // unit + 1)
    return whole[first : first + PIECE_BYTES], first


class _Engine:
    """Copies between pieces of a device's memory and rows of the host's, in no one's turn."""

    def __init__(self, pieces: list[torch.Tensor]) -> None:
        import torch

        self._pieces = pieces
        self._stream: torch.cuda.Stream | None = None
        if pieces and pieces[0].is_cuda:
            self._stream = torch.cuda.Stream(pieces[0].device)  # type: ignore[no-untyped-call]

    def rows(self) -> tuple[torch.Tensor, ...]:
        """Return host memory for every piece."""
        import torch

        sizes = [piece.numel() for piece in self._pieces]
        pinned = self._stream is not None
        rows = torch.zeros(sum(sizes), dtype=torch.uint8, pin_memory=pinned)
        return torch.split(rows, sizes)

    def read(self, rows: Sequence[torch.Tensor]) -> None:
        """Copy every piece to its row."""
        self._copy(zip(rows, self._pieces, strict=True))

    def write(self, rows: Sequence[torch.Tensor]) -> None:
        """Copy every row to its piece."""
        self._copy(zip(self._pieces, rows, strict=True))

    def _copy(self, pairs: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        import torch

        # Without one, as on a CPU, they are plain copies.
        with torch.cuda.stream(self._stream):
            for target, source in pairs:
                target.copy_(source, non_blocking=True)
        if self._stream is not None:
            self._stream.synchronize()


class Glance:
    """Pieces of outputs in slots of `arena`, which is on a CUDA device, chosen by `chance`.

    Made before the calls, so that looking takes no longer than copying does.
    """

    def __init__(self, arena: Arena, slots: list[int], chance: random.Random) -> None:
        pieces = []
        for slot in chance.choices(slots, k=PIECES):
            outputs = [tensor for tensor in arena.outputs(slot) if tensor.numel()]
            if outputs:
                pieces.append(_piece(chance.choice(outputs), chance)[0])
        self._engine = _Engine(pieces)
        self._first, self._later = self._engine.rows(), self._engine.rows()

    def take(self) -> None:
        """Look now."""
        self._engine.read(self._first)

    def holds(self) -> bool:
        """Look again, once all is done, and return whether nothing has changed since."""
        import torch

        self._engine.read(self._later)
        return all(map(torch.equal, self._first, self._later))


class Spoiler:
    """A piece of each slot's inputs, to be overwritten when the calls on them are said to be done.

    Who has put the work off until then finds other inputs. `feed` says what to write.
    """

    def __init__(self, arena: Arena, slots: list[int], feed: Feed, chance: random.Random) -> None:
        pieces, new = [], []
        for slot in slots:
            inputs = arena.inputs(slot)
            sizes = [tensor.numel() * tensor.element_size() for tensor in inputs]
            if any(sizes):
                (index,) = chance.choices(range(len(inputs)), sizes)
                piece, first = _piece(inputs[index], chance)
                pieces.append(piece)
                new.append(feed.other_bytes(index, first, piece.numel()))
        self._engine, source = _Engine(pieces), _Engine(new)
        self._new = source.rows()
        source.read(self._new)

    def spoil(self) -> None:
        """Overwrite them now."""
        self._engine.write(self._new)


class Withheld:
    """What is kept back of a slot's inputs until its call; something else stands there meanwhile.

    All of them where they are small; of larger ones, pieces of every one. The slot is written here,
    and what is kept back never stands in it before: a held process runs no more, but what it has
    left on a device may read whatever comes.
    """

    def __init__(self, arena: Arena, slot: int, feed: Feed, chance: random.Random) -> None:
        places, inputs = arena.inputs(slot), feed.aside(slot)
        pieces, kept, others = [], [], []
        for index, first, size in _withheld(inputs, chance):
            here = slice(first, first + size)
            pieces.append(_bytes(places[index])[here])
            kept.append(_bytes(inputs[index])[here])
            others.append(feed.other_bytes(index, first, size))
        self._engine = _Engine(pieces)
        self._rows = self._engine.rows()
        for row, piece, other in zip(self._rows, kept, others, strict=True):
            row.copy_(piece)
            piece.copy_(other)
        for place, tensor in zip(places, inputs, strict=True):
            place.copy_(tensor)

    def give(self) -> None:
        """Write them now."""
        self._engine.write(self._rows)


def _withheld(inputs: list[torch.Tensor], chance: random.Random) -> list[tuple[int, int, int]]:
    """Return of which inputs bytes are kept back: from where on, and how many."""
    sizes = {i: one.numel() * one.element_size() for i, one in enumerate(inputs) if one.numel()}
    if sum(sizes.values()) <= WITHHELD_BYTES:
        return [(index, 0, size) for index, size in sizes.items()]
    found = []
    large = [index for index, size in sizes.items() if size > WITHHELD_PIECE_BYTES]
    parts = max(2, (WITHHELD_PIECES - len(sizes) + len(large)) // max(1, len(large)))
    for index, size in sizes.items():
        if index not in large:
            found.append((index, 0, size))
            continue
        unit = inputs[index].element_size()
        count, last = size // unit, parts - 1
        most = min(WITHHELD_PIECE_BYTES // unit, count // parts)
        begins = [chance.randint(count * n // parts, count * (n + 1) // parts - most)
                  for n in range(1, last)]  # fmt: skip
        found += [(index, unit * first, unit * most) for first in (0, *begins, count - most)]
    return found


def hold_to(glance: Glance, side: Side) -> None:
    """End the evaluation where outputs have changed since they were reported."""
    if not glance.holds():
        reason = "outputs were still being written when the kernel's process reported its calls"
        raise Stop(Outcome(Status.REJECTED, side.phase, (reason,)))
