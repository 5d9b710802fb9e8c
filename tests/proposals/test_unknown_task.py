"""What is said where the playbook does not know a task."""

from __future__ import annotations

import pytest

from kbexp.config import LlmConfig
from kbexp.proposals.device import DeviceFacts
from kbexp.proposals.proposer import LlmProposer
from kbexp.task import Task
from kbexp.tasks.catalog import bundled

CPU = DeviceFacts(name="a CPU", kind="cpu", cores=4)
OF_MINE = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.tanh(x) + 3

def get_inputs():
    return [torch.randn(8)]

def get_init_inputs():
    return []
"""


@pytest.mark.parametrize(
    ("task", "model", "notes"),
    [
        (Task("mine", OF_MINE), "offline/playbook", 1),
        (bundled("softmax"), "offline/playbook", 0),
        (Task("mine", OF_MINE), "openai/of_mine", 0),
    ],
)
def test_a_run_on_a_task_that_the_playbook_does_not_know_says_so(
    task: Task, model: str, notes: int
) -> None:
    config = LlmConfig(name="m", model=model, api_base="http://127.0.0.1:9")
    said = [n for n in LlmProposer(task, CPU, config).notes if "playbook has no entry" in n]
    assert len(said) == notes
