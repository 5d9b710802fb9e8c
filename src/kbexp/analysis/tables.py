"""A comparison as text for a terminal, and as Markdown; what runs say of themselves is cleaned."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from kbexp.analysis.comparison import Group, grouped, kept_apart
from kbexp.analysis.fit import Rows, aligned, fitted
from kbexp.analysis.outcomes import Outcome
from kbexp.tracking.figures import TIMES, dollars, duration, interval, ratio, worth
from kbexp.tracking.text import one_line
from kbexp.verdict import Interval

NAME_CHARS = 40
FOLDER_CHARS = 60

MOST_DIFFERENCES = 6
"""Settings that are named where runs differ by many."""


def text_tables(outcomes: Sequence[Outcome], start: Path, width: int | None = None) -> str:
    """Return the runs, and the groups of them, as columns; lines of at most `width` columns.

    `start` is where folders are named from.
    """
    parts = []
    for rows in _tables(outcomes, start):
        alike, fitting = fitted(rows, width)
        head = textwrap.wrap(f"all of them: {alike}", width or 1000) if alike else []
        parts.append("\n".join([*head, *aligned(fitting, width)]))
    notes = [textwrap.fill(note, width or 10_000) for note in _notes(outcomes)]
    return "\n\n".join([*parts, *notes]).replace(TIMES, "x")


def markdown_tables(outcomes: Sequence[Outcome], start: Path) -> str:
    """Return the same as a Markdown document."""
    parts = [_markdown(rows) for rows in _tables(outcomes, start)]
    return "\n".join(f"{part}\n" for part in [*parts, *map(_escaped, _notes(outcomes))])


def _tables(outcomes: Sequence[Outcome], start: Path) -> list[Rows]:
    tables = [_runs(outcomes, start)]
    groups = grouped(outcomes)
    if groups:
        tables.append(_groups(groups))
    return tables


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a sentence for runs that look alike and are kept apart, with what differs."""
    notes = []
    for names, differing in kept_apart(outcomes):
        shown = [f"{name} ({', '.join(v)})" for name, v in list(differing.items())]
        more = len(shown) - MOST_DIFFERENCES
        rest = f" and {more} more" if more > 0 else ""
        words = one_line("; ".join(shown[:MOST_DIFFERENCES]), 600)
        notes.append(
            f"Runs of {one_line(names, 100)} differ by more than their seeds, and only those that "
            f"do not are taken together: {words}{rest}."
        )
    return notes


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
        folder = one_line(run.label, FOLDER_CHARS) or _place(run.folder, start)
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
    differing = any(group.settings for group in groups)
    head = ["task", "gpu", "algorithm", "model", *(["settings"] if differing else [])]
    rows = [[*head, "runs", "geometric mean"]]
    for group in groups:
        names = [_name(text) for text in (group.task, group.gpu, group.algorithm, group.llm)]
        if differing:
            names.append(_settings(group.settings))
        rows.append([*names, f"{group.measured} of {group.runs}", _mean(group)])
    return rows


def _settings(settings: Mapping[str, str]) -> str:
    """Return by what a group differs from others like it."""
    shown = [f"{name}={value}" for name, value in settings.items()]
    rest = ["…"] if len(shown) > MOST_DIFFERENCES else []
    return one_line(" ".join([*shown[:MOST_DIFFERENCES], *rest]), FOLDER_CHARS) or "-"


def _mean(group: Group) -> str:
    """Return the mean with its interval, or with the ends of the range where they are few."""
    if group.speedup is None:
        return "-"
    if group.has_interval:
        return _ends(group.speedup)
    low, high = ratio(min(group.figures)), ratio(max(group.figures))
    return f"{ratio(group.speedup.value)}, from {low} to {high}"


def _ends(speedup: Interval) -> str:
    return interval(speedup).replace("\N{INFINITY}", "inf")


def _name(text: str) -> str:
    return one_line(text, NAME_CHARS) or "-"


def _markdown(rows: Rows) -> str:
    lines = [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _escaped(cell: str) -> str:
    """Return a text that Markdown shows as it stands."""
    plain = cell.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|!#])", r"\\\1", plain)
