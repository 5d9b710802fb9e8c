"""The ε-net: admits only proposals that lie far enough from everything held.

Kernels are compared without a model: a text becomes a vector of hashed token trigrams of length
one, and the distance is L2, between 0 (the same tokens) and √2 (nothing in common). White space
and comments do not count. The longer a kernel, the less one change moves it: a changed constant
is about 0.13 in a file of thirty lines and 0.05 in one of a hundred, a renamed identifier some
tenths.
"""

from __future__ import annotations

import io
import re
import tokenize
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kbexp.kernel import Kernel

DIMENSIONS = 4096
"""Length of a vector; kernels have some hundred different trigrams, so few collide."""

DIGITS = 9
"""Decimal places of a distance that count."""

Vector = npt.NDArray[np.float64]

_TOKEN = re.compile(r"[^\W\d]\w*|\d[\w.]*|[^\w\s]")
_C_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SKIPPED = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE})


@dataclass(frozen=True, slots=True)
class Dropped:
    """A proposal that is not admitted: the held kernel nearest to it, and how far it lies."""

    number: int
    nearest_id: str
    distance: float


def tokens(source: str) -> list[str]:
    """Split a kernel's source into tokens, without comments and white space.

    Strings are split too, because native code stands in them, and lose their C comments. A text
    that Python cannot tokenise is split as it is.
    """
    pieces: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type not in _SKIPPED:
                text = token.string
                pieces.append(_C_COMMENT.sub(" ", text) if "\n" in text else text)
    except (tokenize.TokenError, SyntaxError, ValueError):
        pieces = [source]
    return [word for piece in pieces for word in _TOKEN.findall(piece)]


def embed(source: str) -> Vector:
    """Return the counts of the source's token trigrams as a vector of length one.

    A text without tokens is the zero vector.
    """
    words = ["", *tokens(source), ""]
    vector = np.zeros(DIMENSIONS)
    for trigram in zip(words, words[1:], words[2:], strict=False):
        text = "\0".join(trigram).encode("utf-8", "surrogatepass")
        vector[zlib.crc32(text) % DIMENSIONS] += 1.0
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm else vector


class EpsilonNet:
    """Chooses among proposals, farthest first; remembers vectors, which follow from the text."""

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon
        self._vectors: dict[str, Vector] = {}

    def admit(
        self, held: Collection[Kernel], proposed: Mapping[int, Kernel]
    ) -> tuple[list[int], list[Dropped]]:
        """Return the numbers admitted, in the order of admission, and what is dropped.

        Again and again the proposal farthest from everything held or admitted is admitted (the
        lowest number of equals), while that distance is above ε. The choice depends on nothing
        but what is held, so that one cut off halfway goes on as it would have.
        """
        ids = [kernel.id for kernel in held]
        points = [self._vector(kernel) for kernel in held]
        numbers = sorted(proposed)
        vectors = {number: self._vector(proposed[number]) for number in numbers}
        nearest = {number: _nearest(vectors[number], ids, points) for number in numbers}
        admitted: list[int] = []
        while numbers:
            farthest = max(numbers, key=lambda number: (nearest[number][0], -number))
            if nearest[farthest][0] <= self._epsilon:
                break
            numbers.remove(farthest)
            admitted.append(farthest)
            for number in numbers:
                near = _nearest(vectors[number], [proposed[farthest].id], [vectors[farthest]])
                nearest[number] = min(nearest[number], near)
        dropped = [Dropped(number, nearest[number][1], nearest[number][0]) for number in numbers]
        return admitted, dropped

    def _vector(self, kernel: Kernel) -> Vector:
        if kernel.id not in self._vectors:
            self._vectors[kernel.id] = embed(kernel.source)
        return self._vectors[kernel.id]


def _nearest(vector: Vector, ids: list[str], points: list[Vector]) -> tuple[float, str]:
    """Return the distance to the nearest of some points, and that point's id.

    Distances are rounded: which of two equal ones is the greater must not hang on the order in
    which a norm happened to be summed up.
    """
    if not points:
        return float("inf"), ""
    distances = np.linalg.norm(np.stack(points) - vector, axis=1).round(DIGITS)
    return min(zip(distances.tolist(), ids, strict=True))
