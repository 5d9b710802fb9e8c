"""Where a kernel's time goes: real traces of real processes, and what a hostile one can say."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
from kernels import kernel, quick

from kbexp.config import Profile
from kbexp.proposals.feedback import feedback
from kbexp.task import Task
from kbexp.verdict import MAX_PROFILE_NAME, MAX_PROFILE_ROWS, Status, Verdict, profile_row
from kbexp.worker.profile import OUTSIDE
from kbexp.worker.worker import Worker

GOOD = "return torch.softmax(x * self.weight, dim=-1)"

TRACED = quick(profile=Profile.torch)

SAYS = (
    """
import kbexp.worker.profile as tracing, kbexp.worker.runner as runner
class Row:
    def __init__(self, name, ms, times):
        self.name, self.on_device, self.ms, self.times = name, True, ms, times
def say(*call, **how):
    return [{rows}]
runner.traced = say
"""
    + GOOD
)
"""A kernel that answers in the profiler's place, as one that has taken its process over may."""


def test_a_profile_names_the_operators_of_a_kernel(worker: Worker, task: Task) -> None:
    verdict = worker.evaluate(task, kernel(GOOD), TRACED)
    assert verdict.status is Status.CORRECT, verdict
    names = [row.name for row in verdict.profile]
    assert {"aten::mul", "aten::_softmax", OUTSIDE} <= set(names), names
    assert len(names) <= MAX_PROFILE_ROWS
    rows = {row.name: row for row in verdict.profile}
    assert rows["aten::mul"].times == 1.0
    assert all(row.ms > 0 and not row.on_device for row in verdict.profile)
    assert [row.ms for row in verdict.profile] == sorted(r.ms for r in verdict.profile)[::-1]
    assert Verdict.from_record(json.loads(json.dumps(verdict.to_record()))) == verdict
    said = feedback(verdict)
    assert "aten::_softmax: " in said
    assert "profile of its operators" in said


def test_none_is_taken_unless_it_is_asked_for(worker: Worker, task: Task) -> None:
    raises = SAYS.format(rows="tracing.OUTSIDE / 0")
    verdict = worker.evaluate(task, kernel(raises))
    assert verdict.status is Status.CORRECT, verdict
    assert verdict.profile == ()
    assert "profile" not in verdict.to_record()
    assert "profile" not in feedback(verdict)


HOSTILE = {
    "huge": "*[Row('x' * 10**6, 1.0, 1.0)] * 10**5",
    "not_numbers": "Row('x', float('nan'), 1.0)",
    "negative": "Row('x', -1.0, 1.0)",
    "wrong_types": "Row(7, 'soon', [])",
    "never": "time.sleep(1000)",
    "raises": "1 / 0",
    "exits": "os._exit(0)",
    "answers_otherwise": "*[os.write(fd, b'x' * 4096) for fd in range(3, 40) if _open(fd)]",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_profile_changes_nothing(worker: Worker, task: Task, name: str) -> None:
    body = SAYS.format(rows=HOSTILE[name])
    opener = (
        "def _open(fd):\n    try: os.fstat(fd); return True\n    except OSError: return False\n"
    )
    settings = quick(profile=Profile.torch, run_timeout_s=3.0 if name == "never" else 20.0)
    verdict = worker.evaluate(task, kernel(opener + body), settings)
    assert verdict.status is Status.CORRECT, verdict
    assert verdict.speedup is not None
    assert len(verdict.profile) <= MAX_PROFILE_ROWS
    assert all(len(row.name) <= MAX_PROFILE_NAME for row in verdict.profile)
    good = worker.evaluate(task, kernel(GOOD))
    assert good.status is Status.CORRECT, good


def test_names_are_plain_text(worker: Worker, task: Task) -> None:
    rows = r"Row('\x1b[2J<script>al\nert(1)</script>`" + "\N{SNOWMAN}" + r"', 1.0, 2.0)"
    verdict = worker.evaluate(task, kernel(SAYS.format(rows=rows)), TRACED)
    assert [asdict(row) for row in verdict.profile] == [
        {
            "name": "?[2J[script]al?ert(1)[/script]?",
            "on_device": True,
            "ms": 1.0,
            "times": 2.0,
        }
    ]
    assert "kernels on the device" in feedback(verdict)


def test_rows_that_cannot_be_are_refused() -> None:
    for ms, times in ((math.nan, 1.0), (math.inf, 1.0), (-1.0, 1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="from 0 up"):
            profile_row("x", False, ms, times)
    assert profile_row("\x1b" * 50, False, 1.0, 1.0).name == "?"
    assert len(profile_row("x" * 10**6, False, 1.0, 1.0).name) == MAX_PROFILE_NAME


def test_a_record_of_a_profile_is_cut_and_cleaned(worker: Worker, task: Task) -> None:
    record = worker.evaluate(task, kernel(GOOD)).to_record()
    row = {"name": "<b>" * 400, "on_device": "yes", "ms": 1.0, "times": 1.0}
    profile = Verdict.from_record({**record, "profile": [row] * 500}).profile
    assert len(profile) == MAX_PROFILE_ROWS
    assert profile[0].name == ("[b]" * 400)[:MAX_PROFILE_NAME]
    assert not profile[0].on_device
    for bad in ([7], 7, [{"name": "x"}], [{**row, "ms": "NaN"}]):
        with pytest.raises((TypeError, ValueError, KeyError)):
            Verdict.from_record({**record, "profile": bad})
