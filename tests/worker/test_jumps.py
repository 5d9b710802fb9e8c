"""Elements that rounding decides, or a tie, are counted and forgiven; others are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kbexp.worker.examination import Examination
from kbexp.worker.jumps import FACTOR, FEW, MOST, UNSEEN
from kbexp.worker.reference import Reference
from kbexp.worker.tolerance import passes

TASK = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = torch.nn.Linear(128, 32, bias=False)

    def forward(self, x):
        return {answer}

def get_inputs():
    return [{inputs}]

def get_init_inputs():
    return []
"""
ROWS = "torch.randn(512, 128)"
CODES = "torch.round(x / (x.abs().amax(1, keepdim=True) / 127)).to(torch.int8)"


def task(folder: Path, answer: str, inputs: str = ROWS) -> Reference:
    source = TASK.replace("{answer}", answer).replace("{inputs}", inputs)
    return Reference(source, "cpu", str(folder))


def tried(folder: Path, answer: str, inputs: str = ROWS) -> Examination:
    found = task(folder, answer, inputs).try_out(11)
    assert found.faults == ()
    return found


@pytest.mark.parametrize(
    "answer",
    [
        "self.gate(x).topk(4).indices",
        "self.gate(x).argmax(1)",
        "self.gate(x) > 0.1",
        "torch.bucketize(self.gate(x), torch.linspace(-1, 1, 9))",
        CODES,
    ],
)
def test_elements_that_rounding_decides_are_spare(answer: str, tmp_path: Path) -> None:
    (tolerance,) = tried(tmp_path, answer).tolerances
    assert tolerance.share is None
    assert tolerance.spare >= FEW


@pytest.mark.parametrize(
    "answer",
    [
        "x.argmax(1)",
        "x > 0",
        "(x > 0).cumsum(1)",
        "x.argsort(dim=1, stable=True)",
        "torch.softmax(self.gate(x), 1)",
        "self.gate(x).relu().sum(1)",
    ],
)
def test_nothing_is_spare_where_no_rounding_decides(answer: str, tmp_path: Path) -> None:
    (tolerance,) = tried(tmp_path, answer).tolerances
    assert tolerance.spare == 0


def test_ties_are_spare_as_often_as_there_are_some(tmp_path: Path) -> None:
    # Two of a thousand values are equal in one of two rows or so.
    ties = "(torch.rand(256, 1024) * 2**20).floor()"
    values, places = tried(tmp_path, "x.sort(dim=1)", ties).tolerances
    assert values.spare == 0
    x = (torch.rand(256, 1024) * 2**20).floor()
    own = x.sort(dim=1).indices
    other = 1023 - x.flip(1).sort(dim=1).indices
    assert not torch.equal(own, other)
    assert passes(other, own, places)
    other[:20] = 0
    assert not passes(other, own, places)


def test_where_most_elements_differ_all_have_to_be_equal(tmp_path: Path) -> None:
    # Among 32 scores of eight bits there are ties in most rows.
    tolerances = tried(tmp_path, "x[:, :32].topk(8)", f"{ROWS}.mul(4).round() / 4").tolerances
    assert [tolerance.spare for tolerance in tolerances] == [0, 0]


def test_values_that_jump_are_spare_and_others_are_as_close_as_ever(tmp_path: Path) -> None:
    steps = "torch.round(self.gate(x) * 10) / 10 + x[:, :32]"
    (tolerance,) = tried(tmp_path, steps, "torch.randn(4096, 128)").tolerances
    assert tolerance.share == 1e-4
    assert FEW <= tolerance.spare < 100


def test_inputs_on_which_rounding_decides_more_are_not_used(tmp_path: Path) -> None:
    # Rounded ones are multiples of one another, halves of a code among them.
    assert "rounded" not in tried(tmp_path, CODES).kinds
    assert "rounded" in tried(tmp_path, "torch.softmax(x, 1)").kinds


def test_no_more_than_a_share_of_the_elements_is_spare(tmp_path: Path) -> None:
    (few,) = tried(tmp_path, "self.gate(x).argmax(1)", "torch.randn(40, 128)").tolerances
    assert few.spare == int(MOST * 40)
    (none,) = tried(tmp_path, "self.gate(x).argmax(1)", "torch.randn(8, 128)").tolerances
    assert none.spare == 0
    assert FACTOR * MOST < 1


def test_nothing_is_spare_where_zeros_would_pass(tmp_path: Path) -> None:
    # True in four places, by scores that rounding decides.
    best = "(self.gate(x) - self.gate(x).flatten().topk(4).values[-1]) >= 0"
    (tolerance,) = tried(tmp_path, best).tolerances
    assert tolerance.spare == 0
    more = best.replace("topk(4)", "topk(400)")
    (tolerance,) = tried(tmp_path, more).tolerances
    assert tolerance.spare >= FEW


def test_another_order_of_operations_passes_every_time(tmp_path: Path) -> None:
    reference = task(tmp_path, "self.gate(x).topk(4).indices")
    (tolerance,) = reference.try_out(11).tolerances
    problem = reference.problem(iter(range(99)), 1)
    gate = problem.model.gate.weight.detach()  # type: ignore[attr-defined]
    for _ in range(50):
        x = problem.draw()[0]
        (answer,) = problem.answers([x.clone()])
        halves = x[:, :64] @ gate[:, :64].T + x[:, 64:] @ gate[:, 64:].T
        assert passes(halves.topk(4).indices, answer, tolerance)
        answer[0] = answer[1] + 1
        answer[2] = answer[3] + 1
        assert not passes(halves.topk(4).indices, answer, tolerance)


PRODUCT = "torch.round(x[:, :8] / (x.abs().amax(1, keepdim=True) / 127)) @ self.gate.weight.T[:8]"


@pytest.mark.parametrize("answer", [PRODUCT, f"({PRODUCT}).T.contiguous()"])
def test_all_that_one_decision_changes_counts_as_one(answer: str, tmp_path: Path) -> None:
    # One other code changes a row of 32, of which a few may change too little to be wrong.
    (tolerance,) = tried(tmp_path, answer, "torch.randn(4096, 128)").tolerances
    assert tolerance.share is not None
    assert tolerance.share <= 1e-3
    assert FEW * 16 <= tolerance.spare < 100 * 32


@pytest.mark.parametrize(
    "answer", ["(30 * self.gate(x)).sin()", "(x * 1.0).cumprod(1)", "torch.linalg.inv(x[:128])"]
)
def test_what_changes_quickly_does_not_jump(answer: str, tmp_path: Path) -> None:
    (tolerance,) = tried(tmp_path, answer).tolerances
    assert tolerance.anywhere <= FEW


@pytest.mark.parametrize("kind", ["bfloat16", "half"])
def test_steps_of_a_narrow_type_are_no_jumps(kind: str, tmp_path: Path) -> None:
    # Moved by a hair, inputs of 16 bits move by a whole step or not at all.
    answer, inputs = "x.float().logsumexp(1)", f"(torch.randn(512, 1024) * 3).{kind}()"
    (tolerance,) = tried(tmp_path, answer, inputs).tolerances
    # Of 25 that may be forgiven: on a busy machine there is time for one draw.
    assert tolerance.spare <= FEW + FACTOR * UNSEEN


def test_halves_that_fall_to_the_even_side_are_seen(tmp_path: Path) -> None:
    # Of rounded inputs many lie on the edge of two codes, and fall down in the reference.
    codes = "(x / (x.abs().amax(1, keepdim=True) / 448)).to(torch.float8_e4m3fn).view(torch.uint8)"
    found = tried(tmp_path, codes, "torch.randn(1024, 512)")
    assert "rounded" not in found.kinds
    assert "scaled" in found.kinds


def test_a_reference_that_moved_inputs_break_is_looked_at_without_them(tmp_path: Path) -> None:
    # Fails for all that is no whole number.
    answer = "(self.gate(x.new_tensor(x.tolist())) > 0) & bool((x == x.round()).all() or 1 // 0)"
    found = tried(tmp_path, answer, "torch.randint(-9, 9, (64, 128)).float()")
    assert found.tolerances[0].share is None
