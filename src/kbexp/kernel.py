"""A kernel: the source text of a module that defines `ModelNew`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field


def text_id(text: str) -> str:
    """Return 32 hexadecimal digits that name a text: the first half of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Kernel:
    """Source text and the id that follows from it; two kernels with one text are one kernel."""

    source: str
    id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", text_id(self.source))
