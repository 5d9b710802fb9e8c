"""What a reference consists of."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbexp.worker.operators import names_any_of_equals, wants_probabilities
from kbexp.worker.reference import Problem, Reference

TASK = """
import torch

class Model(torch.nn.Module):
    calls = 0

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(8, 8))

    def forward(self, x):
        Model.calls += 1
        return {answer}

def get_inputs():
    return [torch.randn(64, 8)]

def get_init_inputs():
    return []
"""


def problem_of(tmp_path: Path, answer: str) -> Problem:
    """Return the task that answers so."""
    source = TASK.replace("{answer}", answer)
    return Reference(source, "cpu", str(tmp_path)).problem(iter(range(9)), 1)


@pytest.mark.parametrize(
    ("answer", "wants"),
    [
        ("torch.nn.functional.binary_cross_entropy(torch.rand_like(x), torch.rand_like(x))", True),
        ("torch.bernoulli(torch.rand_like(x))", True),
        ("torch.empty_like(x).bernoulli_(torch.rand_like(x))", True),
        ("torch.multinomial(x.abs(), 2)", True),
        ("torch.nn.functional.binary_cross_entropy_with_logits(x, x.sigmoid())", False),
        ("torch.nn.functional.dropout(x, 0.5)", False),
    ],
)
def test_a_reference_that_takes_nothing_but_probabilities(
    tmp_path: Path, answer: str, wants: bool
) -> None:
    assert wants_probabilities(problem_of(tmp_path, answer)) is wants


@pytest.mark.parametrize(
    ("answer", "any_of_equals"),
    [
        ("x.topk(2).indices", True),
        ("x.sort().indices", True),
        ("x.median(dim=1)", True),
        ("x.topk(2).values", False),
        ("x.argmax(dim=1)", False),
        ("(x > 0).long()", False),
    ],
)
def test_a_reference_that_may_name_any_of_equal_values(
    tmp_path: Path, answer: str, any_of_equals: bool
) -> None:
    assert names_any_of_equals(problem_of(tmp_path, answer)) is any_of_equals


def test_a_reference_is_watched_once(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "x @ self.weight")
    called = type(problem.model).calls  # type: ignore[attr-defined]
    assert problem.watched() is problem.watched()
    assert type(problem.model).calls == called + 1  # type: ignore[attr-defined]
    (weight,) = problem.model.parameters()  # type: ignore[attr-defined]
    assert weight.untyped_storage().data_ptr() in problem.watched().read
    assert "mm.default" in problem.watched().operators
