"""What a judge does when it loads a task, before it is given a kernel."""

from __future__ import annotations

import random
import socket
import threading
from pathlib import Path

import pytest

from kbexp.config import EvaluatorConfig
from kbexp.worker import judge, wire
from kbexp.worker.flush import flush_time_ms
from kbexp.worker.judgement import Judgement
from kbexp.worker.memory import Lending
from kbexp.worker.reference import Reference

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


def test_what_a_judgement_draws_cannot_be_worked_out_from_what_it_drew(tmp_path: Path) -> None:
    reference = Reference(TASK, "cpu", str(tmp_path))
    problem = reference.problem(iter(range(100)), 1)
    pairs = [socket.socketpair() for _ in range(4)]
    judgement = Judgement(
        problem, reference.try_out(3), EvaluatorConfig(), "cpu", Lending("cpu"),
        [ours.detach() for ours, _ in pairs], flush_ms=0.0,
    )  # fmt: skip
    assert isinstance(judgement._random, random.SystemRandom)
    judgement.close()
    for _, theirs in pairs:
        theirs.close()


def test_there_is_nothing_to_flush_on_a_cpu() -> None:
    assert flush_time_ms("cpu") == 0
