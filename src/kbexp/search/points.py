"""Points that are held: which of them lies nearest to another one, among a hundred thousand.

Every point is kept twice. A sketch, its image under a fixed random projection, is short enough to
be compared with all at once; distances between sketches are those between the points give or take
some percent (Johnson and Lindenstrauss). The few that look nearest by their sketches are then
compared in full. Full vectors are kept in half precision: 2 KB for one of 1024 numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SKETCH = 64
"""Numbers of a sketch: distances between sketches are off by 9 % or so (1/√(2·64))."""

SHORTLIST = 64
"""How many are compared in full at most. One that is nearest is missed only where so many others
look nearer by their sketches, and therefore lie about as near."""

MARGIN = 2.5
"""What looks farther than so many times the nearest, squared, is not compared in full."""

BLOCK = 4096
"""Points are kept in blocks of so many, so that growing copies nothing."""

DIGITS = 6
"""Decimal places of a distance that count; half precision keeps about three digits of a number."""

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]


class Points:
    """Points of one dimension, in the order in which they were added."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._full: list[Halves] = []
        self._sketches: list[Floats] = []
        self._squares: list[Floats] = []
        self._projection: Floats | None = None
        self._dimension = 0

    def __len__(self) -> int:
        return len(self._ids)

    def fits(self, vector: npt.ArrayLike) -> bool:
        """True where a vector has the points' dimension and nothing but finite numbers."""
        row = np.asarray(vector, np.float16)
        right = row.ndim == 1 and row.size > 0 and row.size == (self._dimension or row.size)
        return bool(right and np.isfinite(row).all())

    def add(self, name: str, vector: npt.ArrayLike) -> None:
        """Add a point; raises ValueError where it does not fit."""
        if not self.fits(vector):
            raise ValueError(f"{name} is no point of dimension {self._dimension}")
        row = np.asarray(vector, np.float16)
        self._dimension = row.size
        index = len(self._ids) % BLOCK
        if index == 0:
            self._full.append(np.zeros((BLOCK, row.size), np.float16))
            self._sketches.append(np.zeros((BLOCK, min(SKETCH, row.size)), np.float32))
            self._squares.append(np.zeros(BLOCK, np.float32))
        sketch = self._sketch(row)
        self._full[-1][index] = row
        self._sketches[-1][index] = sketch
        self._squares[-1][index] = sketch @ sketch
        self._ids.append(name)

    def nearest(self, vector: npt.ArrayLike, since: int = 0) -> tuple[float, str]:
        """Return the distance to the nearest of the points from number `since` on, and its name.

        Infinity and "" where there is none. Distances are rounded, and of equal ones the lower
        name counts: which is nearest must not hang on the order in which a norm was summed up.
        """
        last = len(self._ids)
        if since >= last:
            return float("inf"), ""
        row = np.asarray(vector, np.float16)
        numbers = np.arange(since, last)
        if len(numbers) > SHORTLIST:
            looks = self._looks(row, since)
            near = np.flatnonzero(looks <= MARGIN * max(float(looks.min()), 1e-6))
            if len(near) > SHORTLIST:
                near = near[np.argpartition(looks[near], SHORTLIST)[:SHORTLIST]]
            numbers = since + near
        rows = np.stack([self._full[n // BLOCK][n % BLOCK] for n in numbers.tolist()])
        away = np.subtract(rows, row, dtype=np.float64)
        distances = np.sqrt(np.einsum("ij,ij->i", away, away)).round(DIGITS)
        names = [self._ids[n] for n in numbers.tolist()]
        return min(zip(distances.tolist(), names, strict=True))

    def _looks(self, row: Halves, since: int) -> Floats:
        """Return the squared distances of the sketches of the points from `since` on."""
        sketch, parts = self._sketch(row), []
        square = sketch @ sketch
        for block in range(since // BLOCK, len(self._full)):
            rows = slice(max(since - block * BLOCK, 0), len(self._ids) - block * BLOCK)
            products = self._sketches[block][rows] @ sketch
            parts.append(self._squares[block][rows] - 2 * products + square)
        return np.concatenate(parts)

    def _sketch(self, row: Halves) -> Floats:
        if row.size <= SKETCH:
            return row.astype(np.float32)
        if self._projection is None:
            draws = np.random.default_rng(0).standard_normal((row.size, SKETCH))
            self._projection = (draws / SKETCH**0.5).astype(np.float32)
        sketch: Floats = row.astype(np.float32) @ self._projection
        return sketch
