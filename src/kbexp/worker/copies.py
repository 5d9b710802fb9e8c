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
from collections.abc import Iterable
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
"""Of one call's inputs, which come at the last moment: some 0.03 ms for a copy from the host."""

MOST_WITHHELD = 8
"""Input tensors of one call that do: each takes the host some 0.005 ms."""


def _piece(
    tensor: torch.Tensor, chance: random.Random, size: int = PIECE_BYTES
) -> tuple[torch.Tensor, int]:
    """Return a piece of so many of a tensor's bytes, or all, and where it begins."""
    import torch

    whole = tensor.view(-1).view(torch.uint8)
    unit = tensor.element_size()
    size -= size % unit
    first = unit * chance.randrange(max(0, whole.numel() - size) // unit + 1)
    return whole[first : first + size], first


class _Engine:
    """Copies between pieces of a device's memory and rows of the host's, in no one's turn."""

    def __init__(self, pieces: list[torch.Tensor]) -> None:
        import torch

        self._pieces = pieces
        self._widest = max((piece.numel() for piece in pieces), default=0)
        self._stream: torch.cuda.Stream | None = None
        if pieces and pieces[0].is_cuda:
            self._stream = torch.cuda.Stream(pieces[0].device)  # type: ignore[no-untyped-call]

    def rows(self) -> torch.Tensor:
        """Return host memory with a row for every piece."""
        import torch

        shape, pinned = (len(self._pieces), self._widest), self._stream is not None
        return torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)

    def read(self, rows: torch.Tensor) -> None:
        """Copy every piece to its row."""
        self._copy(
            (row[: piece.numel()], piece) for row, piece in zip(rows, self._pieces, strict=True)
        )

    def write(self, rows: torch.Tensor) -> None:
        """Copy every row to its piece."""
        self._copy(
            (piece, row[: piece.numel()]) for row, piece in zip(rows, self._pieces, strict=True)
        )

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

    def __init__(
        self, arena: Arena, slots: list[int], chance: random.Random, count: int = PIECES
    ) -> None:
        pieces = []
        for slot in chance.choices(slots, k=count):
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
        self._engine.read(self._later)
        return bool((self._first == self._later).all())


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

    All of them where they are small; of larger ones, a piece of one.
    """

    def __init__(self, arena: Arena, slot: int, feed: Feed, chance: random.Random) -> None:
        inputs = arena.inputs(slot)
        sizes = [tensor.numel() * tensor.element_size() for tensor in inputs]
        chosen = [index for index, size in enumerate(sizes) if size]
        if sum(sizes) > WITHHELD_BYTES or len(chosen) > MOST_WITHHELD:
            chosen = chance.choices(range(len(inputs)), sizes)
        pieces, others = [], []
        for index in chosen:
            piece, first = _piece(inputs[index], chance, WITHHELD_BYTES)
            pieces.append(piece)
            others.append(feed.other_bytes(index, first, piece.numel()))
        self._engine = _Engine(pieces)
        self._rows = self._engine.rows()
        self._engine.read(self._rows)
        for piece, other in zip(pieces, others, strict=True):
            piece.copy_(other)

    def give(self) -> None:
        """Write them now."""
        self._engine.write(self._rows)


def hold_to(glance: Glance, side: Side) -> None:
    """End the evaluation where outputs have changed since they were reported."""
    if not glance.holds():
        reason = "outputs were still being written when the kernel's process reported its calls"
        raise Stop(Outcome(Status.REJECTED, side.phase, (reason,)))
