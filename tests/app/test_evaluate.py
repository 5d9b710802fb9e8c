"""Judging kernels by hand: whatever is in the file, there is a verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kbexp.app.judge_files import in_words
from kbexp.verdict import Interval, Phase, Status, Verdict

KERNEL = """
import torch


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1)
"""


def test_every_file_gets_a_line_in_the_order_given(command_line, tmp_path: Path) -> None:
    texts = {
        "right.py": KERNEL.encode(),
        "wrong.py": KERNEL.replace("dim=-1", "dim=0").encode(),
        "empty.py": b"",
        "noise.py": bytes(range(256)) * 4,
        "prose.py": b"Here is the kernel you asked for.\n",
    }
    for name, data in texts.items():
        (tmp_path / name).write_bytes(data)
    done = command_line(
        "scripts/evaluate.py",
        f"kernel=[{','.join(texts)}]",
        "task=softmax",
        "task.sizes.rows=64",
        "task.sizes.cols=128",
        "evaluator=quick",
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == list(texts)
    status = {line["file"]: line["status"] for line in lines}
    assert status.pop("right.py") == "correct"
    assert status.pop("wrong.py") == "incorrect"
    assert set(status.values()) <= {"compile_error", "runtime_error", "rejected"}
    right = lines[0]
    assert right["speedup_low"] <= right["speedup"] <= right["speedup_high"]
    assert right["time_ms"] > 0
    assert right["reference_ms"] > 0
    assert set(right["phases"]) == {"queue_s", "build_s", "correctness_s", "timing_s"}
    assert right["device"]
    assert right["facts"]["operators"] == ["torch.softmax"]
    assert right["facts"]["own_kernel"] == ""
    assert right["isolation"]
    assert all(line["reasons"] for line in lines[1:])
    assert [line["kernel"] for line in lines] == list(texts)
    about = {(line["task"], line["evaluator"], line["policy"]) for line in lines}
    assert about == {("softmax", "quick", "any")}
    assert done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(texts)


def test_on_a_terminal_a_line_for_people_stands_beside_the_one_for_programs(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "prose.py").write_text("Here is the kernel you asked for.\n")
    reader, terminal = os.openpty()
    program = [sys.executable, str(repository / "scripts" / "evaluate.py"), "kernel=prose.py"]
    done = subprocess.run(
        program, cwd=tmp_path, stdout=terminal, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(terminal)
    shown = os.read(reader, 2**20).decode()
    os.close(reader)
    assert done.returncode == 0
    (line,) = shown.splitlines()
    record = json.loads(line)
    assert (record["kernel"], record["task"]) == ("prose.py", "rmsnorm")
    task, words = done.stderr.splitlines()
    assert "task=rmsnorm" in task
    assert words == f"prose.py: compile error; {record['reasons'][0]}"


def test_words_for_people_have_the_interval_and_every_reason() -> None:
    verdict = Verdict(
        kernel_id="k",
        task_id="t",
        status=Status.CORRECT,
        phase=Phase.TIMING,
        device="cpu",
        isolation="process",
        reasons=("the task is faulty", "the two\x1b[2J clocks"),
        time_ms=Interval(2.0, 1.9, 2.1),
        reference_ms=Interval(5.0, 4.9, 5.1),
        speedup=Interval(2.4567, 2.3, 2.6),
    )
    said = in_words("a.py", verdict)
    assert "\x1b" not in said
    for words in ("a.py: correct", "2.46x", "2.3 to 2.6", "5 ms -> 2 ms", "faulty", "clocks"):
        assert words in said


SLOW = """
import time

import torch


class ModelNew(torch.nn.Module):
    def forward(self, x, *more):
        time.sleep(600)
"""


@pytest.mark.parametrize("whom", [os.kill, os.killpg])
def test_ctrl_c_ends_judging_with_a_sentence(whom, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "prose.py").write_text("Here is the kernel you asked for.\n")
    (tmp_path / "slow.py").write_text(SLOW)
    program = [
        *(sys.executable, str(repository / "scripts" / "evaluate.py"), "task=softmax"),
        *("kernel=[prose.py,slow.py]", "task.sizes.rows=64", "evaluator.run_timeout_s=600"),
    ]
    with subprocess.Popen(
        program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["file"] == "prose.py"
        whom(process.pid, signal.SIGINT)
        rest, said = process.communicate(timeout=60)
    assert (process.returncode, rest) == (130, "")
    assert said == "Interrupted: 1 of 2 kernels has a verdict.\n"
