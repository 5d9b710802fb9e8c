"""How much work a call is: what has to be read and written, and how many operations it takes."""

from __future__ import annotations

import pytest
import torch

from kbexp.worker.gauge import PEAKS, gauge
from kbexp.worker.reference import Reference
from kbexp.worker.work import Work, reference_work, work_of

F = 4  # bytes of a float32


def of(function, *arguments: object) -> Work:
    with torch.no_grad():
        return work_of(lambda: function(*arguments))


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


def test_a_product_of_matrices() -> None:
    work = of(torch.matmul, ones(8, 16), ones(16, 32))
    assert work == Work(
        bytes=F * (8 * 16 + 16 * 32 + 8 * 32),
        nonzero_bytes=F * (8 * 16 + 16 * 32 + 8 * 32),
        flops=2 * 8 * 16 * 32,
        types=("float32",),
    )


def test_a_layer_counts_its_parameters_once_and_what_is_in_between_not_at_all() -> None:
    layer = torch.nn.Linear(16, 32)
    work = of(lambda x: torch.relu(layer(layer(x)[:, :16])), ones(8, 16))
    assert work.bytes == F * (8 * 16 + 32 * 16 + 32 + 8 * 32)
    assert work.flops == 2 * 2 * 8 * 16 * 32
    assert work.uncounted == ("relu",)


def test_what_the_counter_does_not_know_is_named() -> None:
    work = of(lambda x: torch.softmax(x, -1).cumsum(0), ones(8, 16))
    assert (work.flops, work.types) == (0, ())
    assert work.uncounted == ("_softmax", "cumsum")
    assert work.environment() == {"flops_not_counted": "_softmax, cumsum"}


def test_only_what_is_read_counts() -> None:
    table = ones(1000, 16)
    indices = torch.arange(10)
    row = 16 * F
    assert of(torch.nn.functional.embedding, indices, table).bytes == 10 * 8 + 10 * row * 2
    bag = of(lambda i: torch.nn.functional.embedding_bag(i, table, mode="sum"), indices.view(5, 2))
    assert bag.bytes == 10 * 8 + 10 * row + 5 * row
    assert of(lambda x: x[:3] * 2, table).bytes == 2 * 3 * row
    assert of(lambda x: x[:3] + x[:3].exp(), ones(4, 16)).bytes == (4 + 3) * row  # at most once
    assert of(lambda x: x.expand(100, 16).sum(0), ones(1, 16)).bytes == 2 * row


def test_outputs_that_need_not_be_written() -> None:
    x = ones(64, 16)
    assert of(lambda x: x, x).bytes == 0
    assert of(lambda x: x[2:].t(), x).bytes == 0
    assert of(lambda x: (x * 2)[0].expand(64, 16), x).bytes == 64 * 16 * F * 2


def test_inputs_that_are_overwritten_count_once() -> None:
    assert of(lambda x: x.mul_(2), ones(64, 16)).bytes == 64 * 16 * F


def test_zeros_are_not_needed() -> None:
    diagonal = torch.diag(ones(64))
    work = of(torch.matmul, diagonal, ones(64, 64))
    assert work.bytes == 3 * 64 * 64 * F
    assert work.nonzero_bytes == (64 + 2 * 64 * 64) * F
    assert of(torch.mul, torch.zeros(64), ones(64)).nonzero_bytes == 64 * F


@pytest.mark.parametrize(
    ("call", "flops"),
    [
        (lambda x: torch.einsum("bij,bjk->bik", x, x), 2 * 4 * 8 * 8 * 8),
        (lambda x: torch.nn.functional.conv1d(x, ones(16, 8, 3)), 2 * 4 * 16 * 8 * 3 * 6),
        (
            lambda x: torch.nn.functional.scaled_dot_product_attention(*[x[None]] * 3),
            2 * 2 * 4 * 8 * 8 * 8,
        ),
        (lambda x: x.sort().values, 0),
    ],
)
def test_operations(call, flops: int) -> None:
    assert of(call, ones(4, 8, 8)).flops == flops


def test_types_are_those_that_were_multiplied() -> None:
    def mixed(x: torch.Tensor) -> torch.Tensor:
        return (x.bfloat16() @ x.bfloat16()).float() @ x

    assert of(mixed, ones(8, 8)).types == ("bfloat16", "float32")
    assert of(lambda x: x.double() @ x.double(), ones(8, 8)).types == ("float64",)


TASK = """
import torch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, 32)
        self.calls = 0

    def forward(self, x, times):
        {first}
        self.calls += 1
        x.add_(1)
        return self.linear(x) * times

def get_inputs():
    return [torch.rand(8, 16), 3]

def get_init_inputs():
    return []
"""


def problem_of(tmp_path, first: str):
    reference = Reference(TASK.format(first=first), "cpu", str(tmp_path))
    return reference, reference.problem(iter(range(100)), 1)


def test_a_task_is_left_as_it_was(tmp_path) -> None:
    reference, problem = problem_of(tmp_path, "pass")
    before = [tensor.clone() for tensor in problem.trials[0].inputs]
    calls = problem.model.calls
    work = reference_work(reference, problem)
    assert work is not None
    assert work.flops == 2 * 8 * 16 * 32
    assert problem.model.calls == calls
    for tensor, was in zip(problem.trials[0].inputs, before, strict=True):
        assert torch.equal(tensor, was)


def test_a_task_that_cannot_be_watched_has_no_figures(tmp_path) -> None:
    watched = "from torch.utils._python_dispatch import _get_current_dispatch_mode as mode"
    reference, problem = problem_of(tmp_path, f"{watched}; assert mode() is None")
    assert reference_work(reference, problem) is None


def test_a_cpu_is_gauged() -> None:
    found = gauge()
    assert tuple(found) == PEAKS
    assert all(1e8 < float(rate) < 1e15 for rate in found.values())
