"""A look at outputs on a CUDA device at the moment when they are said to be there.

A runner may report a block as done while its last calls are still going on: they may well end
before an operation of the judge's gets the device, since that takes half a millisecond. Copies to
the host do not wait for it. On an H100 that another process kept busy, an operation took 2.3 ms
and such a copy of a few bytes 0.014 ms, the same as on an idle one. So a few bytes of some
outputs, nobody knows which, are copied at once; what stands there later has to be the same.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from kbexp.worker.arena import Arena

if TYPE_CHECKING:
    import torch

PIECES = 8
"""Of a block's outputs, so many pieces are copied: whoever still works on a tenth of them escapes
in two of five blocks, and in twelve blocks once in 25,000 evaluations."""

PIECE_BYTES = 64


class Glance:
    """Pieces of outputs in slots of `arena`, which is on a CUDA device, chosen by `chance`.

    Made before the calls, so that looking takes no longer than copying does.
    """

    def __init__(self, arena: Arena, slots: list[int], chance: random.Random) -> None:
        import torch

        self._pieces = []
        for slot in chance.choices(slots, k=PIECES):
            outputs = [tensor for tensor in arena.outputs(slot) if tensor.numel()]
            if outputs:
                bytes_ = chance.choice(outputs).view(-1).view(torch.uint8)
                first = chance.randrange(max(1, bytes_.numel() - PIECE_BYTES + 1))
                self._pieces.append(bytes_[first : first + PIECE_BYTES])
        self._first, self._later = (
            torch.zeros(PIECES, PIECE_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(2)
        )
        self._stream: torch.cuda.Stream | None = None
        if self._pieces:
            self._stream = torch.cuda.Stream(self._pieces[0].device)  # type: ignore[no-untyped-call]

    def take(self) -> None:
        """Look now."""
        self._copy(self._first)

    def holds(self) -> bool:
        """Look again, once all is done, and return whether nothing has changed since."""
        import torch

        self._copy(self._later)
        return torch.equal(self._first, self._later)

    def _copy(self, target: torch.Tensor) -> None:
        import torch

        if self._stream is None:
            return
        with torch.cuda.stream(self._stream):
            for place, piece in zip(target, self._pieces, strict=False):
                place[: piece.numel()].copy_(piece, non_blocking=True)
        self._stream.synchronize()
