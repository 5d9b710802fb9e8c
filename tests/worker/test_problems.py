"""Problems that are made ahead: new each time, as many trials as asked, errors not lost."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import torch

from kbexp.worker import memory
from kbexp.worker.memory import trial_room
from kbexp.worker.problems import Ahead, new_seed, varied_trial
from kbexp.worker.reference import BadTask, Reference

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

FAILS = """
import os

def get_inputs():
    if "KBEXP_NO_INPUTS" in os.environ:
        raise {}("no inputs are left")
    return [torch.randn(64, 64)]
"""


def ahead(source: str, folder: Path) -> Ahead:
    reference = Reference(source, "cpu", str(folder))
    return Ahead(reference, reference.try_out(new_seed()), "cpu", trial_room("cpu"))


def test_every_problem_is_new_whether_made_meanwhile_or_on_demand(tmp_path: Path) -> None:
    made = ahead(TASK, tmp_path)
    problems = [made.take(3)]
    for _ in range(3):
        with made.meanwhile():
            pass
        made.make(3)
        problems.append(made.take(3))
    problems.append(made.take(3))
    assert len({id(problem) for problem in problems}) == 5
    firsts = [problem.trials[0].inputs[0] for problem in problems]
    for index, one in enumerate(firsts):
        assert not any(torch.equal(one, other) for other in firsts[index + 1 :])
    assert len({problem.weights for problem in problems}) == 5


def test_other_settings_get_a_problem_of_their_own(tmp_path: Path) -> None:
    made = ahead(TASK, tmp_path)
    made.make(1)
    problem = made.take(4)
    assert len(problem.trials) + len(problem.varied) == 5


def test_memory_that_goes_later_leaves_no_fewer_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ahead(TASK, tmp_path)
    monkeypatch.setattr(memory, "HOST_BYTES_HELD", 1)
    problem = made.take(4)
    assert len(problem.trials) + len(problem.varied) == 5


def test_a_problem_for_which_there_is_no_memory_yet_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ahead(TASK + FAILS.format("torch.OutOfMemoryError"), tmp_path)
    monkeypatch.setenv("KBEXP_NO_INPUTS", "1")
    made.try_make(3)
    with pytest.raises(torch.OutOfMemoryError):
        made.take(3)
    monkeypatch.delenv("KBEXP_NO_INPUTS")
    assert len(made.take(3).trials) == 2


def test_what_fails_meanwhile_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ahead(TASK + FAILS.format("RuntimeError"), tmp_path)
    made.take(1)
    monkeypatch.setenv("KBEXP_NO_INPUTS", "1")
    with pytest.raises(RuntimeError, match="no inputs are left"), made.meanwhile():
        pass


def test_inputs_that_the_reference_has_no_answer_to_are_not_tried(tmp_path: Path) -> None:
    # Of what is negated there is no root; of what is three times as large there is.
    source = TASK.replace("torch.relu(x)", "x.sqrt()").replace("torch.randn", "torch.rand")
    problem = Reference(source, "cpu", str(tmp_path)).problem(itertools.repeat(1), 2)
    chance = random.Random(0)
    assert varied_trial(problem, "negated", chance) is None
    scaled = varied_trial(problem, "scaled", chance)
    assert scaled is not None
    assert torch.equal(scaled.expected[0], scaled.inputs[0].sqrt())


@pytest.mark.parametrize(
    "drawn",
    [
        "torch.from_numpy(numpy.random.randn(64).astype('float32'))",
        "torch.tensor([random.random() for _ in range(64)])",
    ],
)
def test_a_seed_is_for_all_generators(drawn: str, tmp_path: Path) -> None:
    source = (
        f"import random, numpy, torch\n{TASK}\nclass Weighted(Model):\n    def __init__(self):\n"
        f"        super().__init__()\n        self.weight = torch.nn.Parameter({drawn})\n"
        f"Model = Weighted\ndef get_inputs():\n    return [{drawn}]\n"
    )
    reference = Reference(source, "cpu", str(tmp_path))
    init = reference.init_record(1)
    one, same, other = (reference.model(init, seed).weight for seed in (7, 7, 2**63 - 8))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(reference.inputs(3)[1][0], reference.inputs(3)[1][0])


def test_inputs_that_have_gradients_are_taken_without(tmp_path: Path) -> None:
    source = TASK.replace("randn(64, 64)", "randn(64, 64, requires_grad=True)")
    reference = Reference(source, "cpu", str(tmp_path))
    assert reference.try_out(1).faults == ()
    assert not reference.inputs(1)[1][0].requires_grad


@pytest.mark.parametrize(
    ("made", "kind"), [("torch.randn(64, 64)", "Tensor"), ("{'x': torch.randn(64, 64)}", "dict")]
)
def test_inputs_that_are_no_list_are_named(made: str, kind: str, tmp_path: Path) -> None:
    source = TASK.replace("[torch.randn(64, 64)]", made)
    with pytest.raises(BadTask, match=f"get_inputs returned a {kind}; give a list"):
        Reference(source, "cpu", str(tmp_path)).try_out(1)
