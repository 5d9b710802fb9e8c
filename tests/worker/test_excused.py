"""What is wrong and forgiven lies where rounding decides, or soon counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from kbexp.worker import excused
from kbexp.worker.answers import Answers
from kbexp.worker.excused import FEWEST_LOOKS, Excused
from kbexp.worker.reference import Reference
from kbexp.worker.tolerance import Tolerance

TASK = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(256, {width}, bias=False)

    def forward(self, x):
        return {answer}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""
CALLS = 10


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at every call, however busy the machine is."""
    monkeypatch.setattr(excused, "TIME_S", 600.0)
    monkeypatch.setattr(excused, "LONGEST_S", 600.0)


Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def said(folder: Path, answer: str, kernel: Kernel, inputs: str, width: int = 64) -> list[str]:
    """Return what is said of the kernel's outputs in so many calls, all of which pass alone."""
    source = TASK.format(answer=answer, inputs=inputs, width=width)
    reference = Reference(source, "cpu", str(folder))
    tolerances = reference.try_out(11).tolerances
    problem = reference.problem(itertools.count(5), 1)
    looking = Excused(problem, tolerances)
    weight = problem.model.gate.weight.detach()  # type: ignore[attr-defined]
    for _ in range(CALLS):
        drawn = problem.draw()
        expected = problem.answers([tensor.clone() for tensor in drawn])
        given = [kernel(drawn[0], weight)]
        assert not Answers(problem, tolerances).differences(given, expected)
        reasons = looking.too_many(given, expected, drawn)
        if reasons:
            return reasons
    return []


def codes(x: torch.Tensor) -> torch.Tensor:
    return torch.round(x * (127 / x.abs().amax(1, keepdim=True))).to(torch.int8)


@pytest.mark.parametrize(
    ("answer", "kernel", "inputs"),
    [
        (
            "self.gate(x).topk(8, -1).indices",
            lambda x, weight: (x.double() @ weight.double().T).topk(8, -1).indices,
            "torch.randn(2048, 256)",
        ),
        (
            "torch.round(x / (x.abs().amax(1, keepdim=True) / 127)).to(torch.int8)",
            lambda x, _: codes(x),
            "torch.randn(512, 1024)",
        ),
        (
            "torch.round(x / (x.abs().amax(1, keepdim=True) / 127)).to(torch.int8)",
            lambda x, _: codes(x.float()),
            "torch.randn(512, 512).half()",
        ),
        (
            "x.sort(-1).indices",
            lambda x, _: x.shape[1] - 1 - x.flip(-1).sort(dim=-1, stable=True).indices,
            "torch.randn(2, 32768)",
        ),
        (
            "x.topk(4, -1).indices",
            lambda x, _: 63 - x.flip(-1).topk(4, -1).indices,
            "torch.randn(512, 64).bfloat16()",
        ),
    ],
)
def test_what_another_order_or_ties_decide_is_excused(
    answer: str, kernel: Kernel, inputs: str, tmp_path: Path
) -> None:
    assert said(tmp_path, answer, kernel, inputs) == []


def test_few_wrong_elements_of_every_answer_are_too_many(tmp_path: Path) -> None:
    def rough(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        found = (x @ weight.T).argmax(-1)
        found[0] = (found[0] + 1) % len(weight)
        return found

    (reason,) = said(tmp_path, "self.gate(x).argmax(-1)", rough, "torch.randn(128, 256)", 512)
    assert "neither rounding nor ties decide" in reason


def test_where_inputs_are_whole_numbers_parameters_are_moved(tmp_path: Path) -> None:
    def exact(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return (weight.double()[x].sum(1) * 1e5).round().int()

    def last_left_out(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        found = exact(x, weight)
        found[-1, 128:] = 0
        return found

    answer = "torch.round(self.gate.weight[x].sum(1) * 1e5).int()"
    inputs = "torch.randint(64, (512, 8))"
    assert said(tmp_path, answer, exact, inputs) == []
    assert said(tmp_path, answer, last_left_out, inputs)


def test_a_few_calls_on_the_tasks_own_inputs_are_looked_at_in_any_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = "torch.round(x / (x.abs().amax(1, keepdim=True) / 127)).to(torch.int8)"
    source = TASK.format(answer=answer, inputs="torch.randn(512, 1024)", width=64)
    reference = Reference(source, "cpu", str(tmp_path))
    looking = Excused(reference.problem(itertools.count(5), 1), [Tolerance(None, 100, 50)])
    monkeypatch.setattr(excused, "TIME_S", -1.0)  # None is left.
    problem = reference.problem(itertools.count(50), 1)
    (expected,) = problem.trials[0].expected
    inputs, given = problem.trials[0].inputs, expected.clone()
    given[0, :20] += 1
    assert [len(looking.too_many([given], [expected], inputs, True)) for _ in range(5)] == [0] * 5
    said = [len(looking.too_many([given], [expected], inputs)) for _ in range(FEWEST_LOOKS + 2)]
    # Twenty more are wrong each time.
    assert said == [0, 0, 1, 0, 0]
