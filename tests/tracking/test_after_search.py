"""What is shown of a run's end: kernels judged again, other sizes, baselines."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console as Terminal

from kbexp.events import (
    BaselineBegun,
    ConfirmationBegun,
    EvaluationBegun,
    Event,
    ProposalAsked,
)
from kbexp.kernel import Kernel
from kbexp.summary import RunSummary
from kbexp.tracking import RunInfo
from kbexp.tracking.board import Board
from kbexp.tracking.console import Console
from kbexp.tracking.files import final_files
from kbexp.tracking.view import render


def test_lines_say_what_each_kernel_was_worth_before_and_after(
    run_info: RunInfo, ended: list[Event]
) -> None:
    stream = io.StringIO()
    console = Console(run_info, stream=stream, past=True)
    for event in ended:
        console.on_event(event)
    text = stream.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    better, lucky = Kernel("better").id[:8], Kernel("lucky").id[:8]
    assert re.search(rf"judged again  proposal 4  kernel {lucky}  incorrect", text)
    again = rf"judged again  proposal 0  kernel {better}  correct"
    assert re.search(rf"{again}  1\.25.*1\.50. when searched", text)
    assert re.search(
        rf"judged again with rows=7, .*  proposal 0  kernel {better}  correct  1\.10", text
    )
    assert re.search(r"baseline torch_compile  correct  2\.25", text)
    assert "being judged again" not in text
    assert re.search(r"run complete.*best 1\.25. \[1\.15, 1\.35\] confirmed, proposal 0", text)


def test_the_view_says_nothing_is_judged_that_the_end_of_the_search_dropped(
    run_info: RunInfo, ended: list[Event]
) -> None:
    def shown(board: Board) -> str:
        stream = io.StringIO()
        terminal = Terminal(file=stream, width=104, height=40, markup=False, highlight=False)
        terminal.print(render(board, 104, 40, now=2000.0))
        return stream.getvalue()

    after = next(n for n, event in enumerate(ended) if isinstance(event, ConfirmationBegun))
    dropped = [
        EvaluationBegun(kernel_id=Kernel(source).id, number=number, source=source)
        for number, source in ((7, "x"), (8, "y"), (9, "z"))
    ]
    board = Board(run_info)
    for event in [*ended[:after], *dropped, ProposalAsked(number=10, parents=(), seed=0)]:
        board.apply(event)
    assert "judging 3 · asking for 1" in shown(board)
    assert "not judged" not in shown(board)
    board.apply(ended[after])
    assert "judging 1 after the search" in shown(board)
    for event in ended[after:]:
        assert "judging 3" not in shown(board)
        assert "asking for" not in shown(board)
        assert "3 not judged" in shown(board)
        board.apply(event)
    assert "3 not judged" in shown(board)


@pytest.mark.parametrize("width", [20, 60, 104])
def test_the_view_shows_the_confirmed_figure(
    run_info: RunInfo, ended: list[Event], width: int
) -> None:
    board = Board(run_info)
    seen = ""
    for event in ended:
        board.apply(event)
        stream = io.StringIO()
        terminal = Terminal(file=stream, width=width, height=30, markup=False, highlight=False)
        terminal.print(render(board, width, 30, now=2000.0))
        seen = stream.getvalue()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", seen)
        assert all(len(line) <= width for line in seen.splitlines())
        if isinstance(event, BaselineBegun) and width >= 60:
            assert "judging 1 after the search" in seen
    if width == 104:
        assert re.search(r"best 1\.25. \[1\.15, 1\.35\].*confirmed, 1\.50. when searched", seen)
        assert re.search(r"best .*  proposal 0 ", seen)
        assert re.search(r" 0  correct .*again, 1\.50. when searched", seen)
        assert re.search(r" 4  incorrect .*again: ", seen)
        assert re.search(r" 3  duplicate .*is proposal 0 again", seen)
        assert re.search(r"base  correct .*torch\.compile", seen)


def test_the_files_hold_the_winner(run_info: RunInfo, ended: list[Event]) -> None:
    files = final_files(run_info, RunSummary.of(ended))
    assert files["best_kernel.py"] == "better"
    best = json.loads(files["result.json"])["best"]
    assert (best["speedup"], best["confirmed"]["speedup"]) == (1.5, 1.25)
