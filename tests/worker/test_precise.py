"""The reference in float64: types that a task writes down, complex inputs, what is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kbexp.worker.precise import Precise, in_double
from kbexp.worker.reference import Problem, Reference

TASK = """
import torch
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 8, dtype=torch.{weights})
    def forward(self, x):
        return {answer}
def get_inputs():
    return [torch.randn(64, 8, dtype=torch.{inputs})]
def get_init_inputs():
    return []
"""


def precise(
    folder: Path, answer: str, inputs: str = "float32", weights: str = "float32"
) -> tuple[Problem, Precise]:
    source = TASK.format(answer=answer, inputs=inputs, weights=weights)
    problem = Reference(source, "cpu", str(folder)).problem(iter(range(9)), 1)
    found = in_double(problem)
    assert found is not None
    return problem, found


@pytest.mark.parametrize(
    "answer",
    [
        "self.layer(x)",
        "self.layer(x).float() * torch.arange(8).float()",
        "x.to(torch.float32) @ torch.ones(8, 8)",
        "torch.zeros(8, dtype=torch.float32).index_add_(0, torch.arange(8), x[0])",
        "torch.softmax(x, 1, dtype=torch.float32)",
        "(x.half() * 3).to(torch.bfloat16)",
    ],
)
def test_narrow_types_that_are_written_down_are_float64(answer: str, tmp_path: Path) -> None:
    problem, found = precise(tmp_path, answer)
    (truth,) = found.answers(problem.trials[0].inputs, problem.trials[0].expected) or [None]
    assert truth is not None
    assert truth.dtype == torch.float64
    error = (truth - problem.trials[0].expected[0]).abs().max()
    assert 0 < error < 0.1 or "zeros" in answer or "@" in answer
    assert torch.get_default_dtype() == torch.float32


def test_types_of_eight_bits_and_whole_numbers_are_what_was_asked_for(tmp_path: Path) -> None:
    problem, found = precise(tmp_path, "(x.to(torch.float8_e4m3fn).float(), x.int())")
    trial = problem.trials[0]
    rounded, whole = found.answers(trial.inputs, trial.expected) or []
    assert torch.equal(rounded, trial.expected[0].double())
    assert whole.dtype == torch.int32


def test_where_wider_types_do_not_run_they_stay_as_they_are_written(tmp_path: Path) -> None:
    answer = "x.float().view(torch.int32).view(torch.float32) + 0 * self.layer(x)"
    problem, found = precise(tmp_path, answer)
    trial = problem.trials[0]
    (truth,) = found.answers(trial.inputs, trial.expected) or [None]
    assert truth is not None
    assert truth.shape == (64, 8)
    assert torch.get_default_dtype() == torch.float32


def test_complex_inputs_are_widened(tmp_path: Path) -> None:
    problem, found = precise(tmp_path, "x * x.abs()", inputs="complex64")
    trial = problem.trials[0]
    (truth,) = found.answers(trial.inputs, trial.expected) or [None]
    assert truth is not None
    assert truth.dtype == torch.complex128


def test_a_reference_that_writes_to_its_inputs_leaves_those_that_are_given(tmp_path: Path) -> None:
    problem, found = precise(tmp_path, "x.mul_(2)", inputs="float64")
    x = problem.draw()[0]
    before = x.clone()
    assert found.answers([x], problem.trials[0].expected) is not None
    assert torch.equal(x, before)
