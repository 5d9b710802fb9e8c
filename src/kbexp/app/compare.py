"""The end of a sweep, and runs compared by hand: one table of what all of them came to."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from kbexp.app.result import write_atomically
from kbexp.app.sweeps import Sweep
from kbexp.errors import KbexpError

COMPARISON_NAME = "comparison"
"""Of the files in a sweep's folder, without their endings."""

NARROWEST = 60
"""Columns for which a table is made; a terminal that has fewer breaks its lines."""


def compare(places: Sequence[Path]) -> str:
    """Return the table of the runs in and below some folders; raises KbexpError without one."""
    from kbexp.analysis.outcomes import outcome_of, run_folders
    from kbexp.analysis.tables import text_tables

    outcomes = [outcome_of(folder) for folder in run_folders(places)]
    return text_tables(outcomes, Path.cwd(), terminal_columns())


def terminal_columns() -> int | None:
    """Return the width of the terminal that stdout is, None where it is none."""
    if not sys.stdout.isatty():
        return None
    return max(NARROWEST, shutil.get_terminal_size().columns)


def conclude(sweeps: Sequence[Sweep]) -> None:
    """Print the table of every sweep, and leave it in the sweep's folder; nothing raises.

    A sweep of which no run has begun has none. It is made from the files of the runs, whichever
    process wrote them and however they ended, and of what is known of those that have none.
    """
    from kbexp.analysis.outcomes import has_runs

    for sweep in sweeps:
        if not has_runs(sweep.folder):
            sweep.take_back()
            continue
        with contextlib.suppress(BrokenPipeError):  # Whoever read the output has had enough.
            try:
                _conclude(sweep)
            except (KbexpError, OSError) as error:
                print(f"The runs of {sweep.folder} cannot be compared: {error}", file=sys.stderr)


def _conclude(sweep: Sweep) -> None:
    from kbexp.analysis.comparison import compared
    from kbexp.analysis.outcomes import outcome_of, run_folders
    from kbexp.analysis.tables import markdown_tables, text_tables

    folder = sweep.folder
    outcomes = [outcome_of(each) for each in run_folders([folder])]
    for number, outcome in sorted(sweep.without_folder(), key=lambda found: found[0]):
        outcomes.insert(number, outcome)
    record = json.dumps(compared(outcomes), indent=2, allow_nan=False)
    write_atomically(folder / f"{COMPARISON_NAME}.json", record + "\n", "backslashreplace")
    text = markdown_tables(outcomes, folder)
    write_atomically(folder / f"{COMPARISON_NAME}.md", text, "backslashreplace")
    text = text_tables(outcomes, folder, terminal_columns())
    print(f"\n{text}\n\ncomparison: {folder / COMPARISON_NAME}.md and .json")
