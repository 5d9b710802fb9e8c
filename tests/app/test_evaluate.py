"""Judging kernels by hand: whatever is in the file, there is a verdict."""

from __future__ import annotations

import json
from pathlib import Path

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
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(texts)
