"""How much one decision of rounding changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbexp.worker import together
from kbexp.worker.precise import in_double
from kbexp.worker.reference import Reference
from kbexp.worker.together import changed_together
from kbexp.worker.tolerance import Tolerance

TASK = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        {body}

def get_inputs():
    return [torch.randn(1024, 64)]

def get_init_inputs():
    return []
"""
CODES = """scale = x.abs().amax(1, keepdim=True) / 127
        return (torch.round(x / scale) @ torch.ones(64, 16, dtype=x.dtype)) * scale"""
CHAOS = """start, count = x.sigmoid() * 0.01 + 0.3, torch.zeros_like(x, dtype=torch.int32)
        for _ in range(200):
            x = 3.99 * start * (1 - start)
            start, count = x, count + (x > 0.5)
        return count"""


@pytest.mark.parametrize(
    ("body", "share", "least", "most"),
    [
        ("return torch.round(x * 50).int()", None, 1, 8),
        (CODES, 1e-4, 16, 8 * 16),
        # Nearly all at first, fewer with each smaller nudge, and never none.
        (CHAOS, None, 0, 0),
        ("return x.sin()", 1e-4, 0, 0),
    ],
)
def test_a_few_decisions_change_an_element_or_a_row_each(
    body: str,
    share: float | None,
    least: int,
    most: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "TOGETHER_S", 600.0)  # However busy the machine is.
    reference = Reference(TASK.replace("{body}", body), "cpu", str(tmp_path))
    problem = reference.problem(iter(range(9)), 1)
    trial = problem.trials[0]
    (found,) = changed_together(
        in_double(problem), trial.inputs, trial.expected, [Tolerance(share)]
    )
    assert least <= found <= most
