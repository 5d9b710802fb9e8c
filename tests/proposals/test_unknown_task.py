"""What is said where the playbook does not know a task."""

from __future__ import annotations

import pytest

from kbexp.candidate import Candidate, ProposalRequest
from kbexp.config import LlmConfig
from kbexp.kernel import Kernel
from kbexp.proposals.device import DeviceFacts
from kbexp.proposals.proposer import NO_ENTRY, LlmProposer
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
    ("task", "notes"),
    [
        (Task("mine", OF_MINE), 1),
        (bundled("softmax"), 0),
    ],
)
def test_a_run_on_a_task_that_the_playbook_does_not_know_says_so(task: Task, notes: int) -> None:
    config = LlmConfig(name="offline", model="offline/playbook")
    proposer = LlmProposer(task, CPU, config)
    assert NO_ENTRY not in proposer.notes
    first = Candidate(Kernel(task.source.replace("Model", "ModelNew")), 0)
    for number in range(2):
        proposer.propose(ProposalRequest(number, (first,), seed=number))
    assert proposer.notes.count(NO_ENTRY) == notes
