"""A table made to fit a terminal: what is alike everywhere is said once, the least is left out."""

from __future__ import annotations

from collections.abc import Sequence

Rows = list[list[str]]

GAP = 2
SHORTEST = 12
"""Characters to which a long cell is cut at least, before a column is left out."""

ALIKE = ("gpu", "algorithm", "model", "task")
"""Columns that are said above the table where all rows have the same, in the order of trying."""

SPARE = ("cost", "time", "evaluations", "model", "gpu")
"""Columns that are left out where nothing else helps, the first one first."""


def fitted(rows: Rows, width: int | None) -> tuple[str, Rows]:
    """Return words on what all rows have alike, and the rows in at most `width` columns.

    The first row is the head. With no width all stands as it is.
    """
    rows = [list(row) for row in rows]
    if width is None:
        return "", rows
    alike = []
    for name in ALIKE:
        values = {row[rows[0].index(name)] for row in rows[1:]} if name in rows[0] else set()
        if _width(rows) > width and len(values) == 1:
            alike.append(f"{name} {values.pop()}")
            rows = _without(rows, name)
    rows = _cut(rows, width)
    for name in SPARE:
        if _width(rows) > width and name in rows[0]:
            rows = _without(rows, name)
    return ", ".join(alike), rows


def aligned(rows: Rows, width: int | None) -> list[str]:
    """Return the rows as lines of equal columns, with a rule below the head."""
    widths = _widths(rows)
    lines = [
        (" " * GAP).join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if width is not None:
        lines = [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _cut(rows: Rows, width: int) -> Rows:
    """Shorten the texts that are longest, the last column's first, as far as that is needed."""
    for column in reversed(range(len(rows[0]))):
        if rows[0][column] not in ("folder", "task", "model", "settings"):
            continue
        over = _width(rows) - width
        if over <= 0:
            break
        least = max(SHORTEST, len(rows[0][column]))
        keep = max(least, _widths(rows)[column] - over)
        for row in rows:
            if len(row[column]) > keep:
                row[column] = f"{row[column][: keep - 1]}…"
    return rows


def _widths(rows: Rows) -> list[int]:
    return [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]


def _width(rows: Rows) -> int:
    widths: Sequence[int] = _widths(rows)
    return sum(widths) + GAP * (len(widths) - 1)


def _without(rows: Rows, name: str) -> Rows:
    column = rows[0].index(name)
    return [row[:column] + row[column + 1 :] for row in rows]
