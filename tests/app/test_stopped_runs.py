"""A run that is stopped, in its search and after it, and goes on until it is complete."""

from __future__ import annotations

import ctypes
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

from kbexp.search.inflight import POLL_S

FOR_EVER = [
    "confirm.evaluator.timing_s=600",
    "confirm.evaluator.min_pairs=1000000",
    "evaluator.run_timeout_s=600",
]
"""Judging again takes longer than anybody waits."""

UNHURRIED = """
import time

import torch

rows = 64
cols = 128


class Model(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.005)
        return torch.softmax(x, dim=-1)


def get_inputs():
    return [torch.randn(rows, cols)]


def get_init_inputs():
    return []
"""
"""No kernel is slower than this reference, so that none is given up early."""


def test_a_run_that_is_stopped_can_go_on_later(
    model_server: Any,
    command_line: Any,
    start_program: Any,
    result_of: Any,
    events_of: Any,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    (tmp_path / "unhurried.py").write_text(UNHURRIED)
    arguments = [
        *("debug=default", "task=file", f"task.path={tmp_path}/unhurried.py", "logger=none"),
        *("evaluator.timing_s=0.2", "budget.wall_s=null", f"hydra.run.dir={run}"),
        *model_server.settings(),
    ]

    said = [""]

    def journal_has(event: str) -> bool:
        return any(record["event"] == event for record in events_of(run))

    def signalled(
        number: int,
        when: Callable[[], object],
        *more: str,
        send: Callable[[Any, int], None] = lambda process, number: process.send_signal(number),
    ) -> int:
        """Start the run, signal it when something has come true, return its exit code."""
        process = start_program(
            "run.py", *arguments, *more, cwd=tmp_path, env={"SCRIPTED_KEY": "k"}, run=True
        )
        with process:
            wait_for(lambda: when() or process.poll() is not None)
            send(process, number)
            said[:] = process.communicate(60)
        code: int = process.returncode
        return code

    # Ctrl-C, while the first call to the model hangs, and as the search is about to look up.
    model_server.gate.clear()
    assert signalled(signal.SIGINT, lambda: model_server.requests, send=send_late) == 130
    before = result_of(run)
    assert (before["state"], before["counts"]["evaluations"]) == ("stopped", 1)
    assert (before["best"]["confirmed"], before["best"]["shrunk"]) == (None, None)
    assert "not judged again" in before["notes"][0]
    assert events_of(run)[-1]["event"] == "run_ended"

    # Nothing is written into the folder of a run with other settings.
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for other in ("seed=5", "+task.sizes.rows=32", "llm.api_key_env=NOT_THERE"):
        done = command_line("run.py", *arguments, other, env={"SCRIPTED_KEY": "k"})
        assert done.returncode in (2, 3)
        assert len(done.stderr.strip().splitlines()) == 1
    assert files == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    # SIGTERM, while the best kernel is judged again.
    model_server.gate.set()
    judging_again = (signal.SIGTERM, lambda: journal_has("confirmation_begun"))
    assert signalled(*judging_again, *FOR_EVER) == 143
    between = result_of(run)
    assert (between["state"], between["counts"]["evaluations"]) == ("stopped", 4)
    assert between["best"]["confirmed"] is None
    assert "judged again" in between["reason"]
    assert "go on:" in "".join(said)

    done = command_line("run.py", *arguments, env={"SCRIPTED_KEY": "k"}, run=True)
    assert done.returncode == 0, done.stderr
    after = result_of(run)
    assert (after["state"], after["counts"]["evaluations"]) == ("complete", 4)
    assert after["wall_s"] > between["wall_s"] > before["wall_s"]
    assert after["best"]["confirmed"]["status"] == "correct"
    begun = [e["kernel_id"] for e in events_of(run) if e["event"] == "evaluation_begun"]
    assert len(begun) == len(set(begun)) == 4
    assert len(model_server.requests) == pytest.approx(4, abs=1)  # The first one hung.

    # Once more: it is shown, with no key, no evaluator, no libraries of the model, no change.
    asked = len(model_server.requests)
    whole = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again = command_line("run.py", *arguments, env={"PYTHONPROFILEIMPORTTIME": "1"}, cold=True)
    assert again.returncode == 0
    assert "complete already" in again.stdout
    assert done.stdout.splitlines()[0] in again.stdout.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert not imported & {"torch", "litellm", "opto", "rich", "kbexp.evaluation.local"}
    assert len(model_server.requests) == asked
    assert whole == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def send_late(process: Any, number: int) -> None:
    """Have a signal interrupt the main thread when the time for which that waits is up already."""
    process.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{process.pid}/stat")
    wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")
    # To the thread: any thread of the process may take what is sent to that.
    ctypes.CDLL(None, use_errno=True).tgkill(process.pid, process.pid, number)
    time.sleep(2 * POLL_S)
    process.send_signal(signal.SIGCONT)
