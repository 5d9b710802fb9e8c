"""A comparison as text for a terminal, and as Markdown; what runs say of themselves is cleaned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kbexp.analysis.comparison import Group, grouped
from kbexp.analysis.outcomes import Outcome
from kbexp.tracking.figures import TIMES, dollars, duration, interval, worth
from kbexp.tracking.text import one_line
from kbexp.verdict import Interval

NAME_CHARS = 40
FOLDER_CHARS = 60

Rows = list[list[str]]


def text_tables(outcomes: Sequence[Outcome], start: Path) -> str:
    """Return the runs, and the groups of them, as columns.

    `start` is where folders are named from.
    """
    return "\n\n".join(_aligned(rows) for rows in _tables(outcomes, start)).replace(TIMES, "x")


def markdown_tables(outcomes: Sequence[Outcome], start: Path) -> str:
    """Return the same as a Markdown document."""
    return "\n".join(f"{_markdown(rows)}\n" for rows in _tables(outcomes, start))


def _tables(outcomes: Sequence[Outcome], start: Path) -> list[Rows]:
    tables = [_runs(outcomes, start)]
    groups = grouped(outcomes)
    if groups:
        tables.append(_groups(groups))
    return tables


def _runs(outcomes: Sequence[Outcome], start: Path) -> Rows:
    """Return a row a run; models and metrics stand there where they are not all alike."""
    models = len({run.llm for run in outcomes}) > 1
    metrics = any(run.metric != "speedup" for run in outcomes)
    head = ["task", "gpu", "algorithm", *(["model"] if models else []), "seed", "confirmed speedup"]
    head += [*(["maximised"] if metrics else []), "evaluations", "cost", "time", "state", "folder"]
    rows = [head]
    for run in outcomes:
        row = [_name(run.task), _name(run.gpu), _name(run.algorithm)]
        row += [_name(run.llm)] if models else []
        row += ["" if run.seed is None else str(run.seed), _speedup(run)]
        if metrics:
            row.append("-" if run.score is None else worth(run.metric, run.score))
        cost = ("" if not run.unpriced else ">= ") + dollars(run.cost_usd)
        folder = _place(run.folder, start)
        row += [str(run.evaluations), cost, duration(run.wall_s), _name(run.state), folder]
        rows.append(row)
    return rows


def _place(folder: Path, start: Path) -> str:
    """Return a folder as seen from another: its first characters, or else the end of its path."""
    start = start.resolve()
    if folder.is_relative_to(start):
        return one_line(str(folder.relative_to(start)), FOLDER_CHARS)
    words = one_line(str(folder), 1000)
    return words if len(words) <= FOLDER_CHARS else "…" + words[-(FOLDER_CHARS - 1) :]


def _speedup(run: Outcome) -> str:
    if run.speedup is None:
        return "no correct kernel" if run.evaluations else "-"
    return _ends(run.speedup) + ("" if run.confirmed else " unconfirmed")


def _groups(groups: Sequence[Group]) -> Rows:
    rows = [["task", "gpu", "algorithm", "model", "runs", "geometric mean of their speedups"]]
    for group in groups:
        names = [_name(text) for text in (group.task, group.gpu, group.algorithm, group.llm)]
        runs = f"{group.measured} of {group.runs}"
        mean = "-" if group.speedup is None else _ends(group.speedup)
        rows.append([*names, runs, mean])
    return rows


def _ends(speedup: Interval) -> str:
    return interval(speedup).replace("\N{INFINITY}", "inf")


def _name(text: str) -> str:
    return one_line(text, NAME_CHARS) or "-"


def _aligned(rows: Rows) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _markdown(rows: Rows) -> str:
    lines = [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _escaped(cell: str) -> str:
    """Return a text that Markdown shows as it stands."""
    plain = cell.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|!#])", r"\\\1", plain)
