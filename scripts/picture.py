"""Draw a run as its live view left it: `python scripts/picture.py RUN_FOLDER picture.svg`."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from kbexp.errors import KbexpError
from kbexp.events import RunStarted
from kbexp.tracking.board import Board
from kbexp.tracking.journal import read
from kbexp.tracking.run_info import JOURNAL_NAME, RunInfo
from kbexp.tracking.view import render

WIDTH = 104
HEIGHT = 28


def draw(folder: Path, picture: Path) -> None:
    """Write the last view of the run in `folder` as an SVG file; raises KbexpError without one."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI

    events = list(read(folder / JOURNAL_NAME))
    if not events or not isinstance(events[0], RunStarted):
        raise KbexpError(f"{folder} holds no run that could be drawn.")
    board = Board(RunInfo.of_journal(folder / JOURNAL_NAME, events[0].about, Path.cwd()))
    for event in events:
        board.apply(event)
    terminal = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True)
    terminal.print(render(board, WIDTH, HEIGHT, events[-1].time))
    drawn = terminal.export_svg(title="python run.py", theme=MONOKAI, unique_id="kbexp")
    # The fonts would be fetched from a server by whoever looks at the picture.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    picture.write_text(drawn + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        draw(Path(sys.argv[1]), Path(sys.argv[2]))
    except IndexError:
        sys.exit("Give a run's folder and the picture's name: picture.py RUN_FOLDER picture.svg")
    except KbexpError as error:
        sys.exit(str(error))
