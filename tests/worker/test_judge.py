"""What a judge does when it loads a task, before it is given a kernel."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from kbexp.worker import judge, wire
from kbexp.worker.flush import flush_time_ms

TASK = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)

def get_inputs():
    return [torch.randn(64, 64)]

def get_init_inputs():
    return []
"""


def test_what_a_flush_takes_is_measured_before_any_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measured(device: str) -> float:
        asked.append(device)
        return flush_time_ms(device)

    monkeypatch.setattr(judge, "flush_time_ms", measured)
    ours, theirs = socket.socketpair()
    order = {"source": TASK, "device": "cpu", "inside": str(tmp_path), "trials": 1, "peaks": {}}
    thread = threading.Thread(target=judge.main, args=(order, [theirs.detach()]))
    thread.start()
    answer, _ = wire.receive(ours, 60)
    assert answer["loaded"]
    assert asked == ["cpu"]
    ours.close()
    thread.join()
    assert asked == ["cpu"]


def test_there_is_nothing_to_flush_on_a_cpu() -> None:
    assert flush_time_ms("cpu") == 0
