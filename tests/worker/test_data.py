"""Trees, arenas and screens: what crosses between processes, and what is refused at once."""

from __future__ import annotations

import math
import mmap
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch

from kbexp.worker import cuda_arena
from kbexp.worker.arena import Layout, create_host, leaf_of, open_host
from kbexp.worker.memory import HOST_BYTES_LENT, Lending
from kbexp.worker.report import Leaf
from kbexp.worker.runner import Runner
from kbexp.worker.screen import MAX_SOURCE_BYTES, screen
from kbexp.worker.tree import Unsupported, flatten, output_tensors, unflatten


def test_arguments_come_back_as_they_were() -> None:
    x, y = torch.rand(2), torch.arange(3)
    value = [x, (1, 2.5, None, "s", True), {"a": [y, math.inf]}, torch.float16]
    tensors: list[torch.Tensor] = []
    tree = flatten(value, tensors)
    back = unflatten(tree, tensors)
    assert back[0] is x
    assert back[1:] == [(1, 2.5, None, "s", True), {"a": [y, math.inf]}, torch.float16]
    assert back[2]["a"][0] is y


def test_what_cannot_cross_is_named() -> None:
    with pytest.raises(Unsupported, match="object"):
        flatten([object()], [])


class Liar(torch.Tensor):
    """A tensor that could lie when it is compared."""


def test_only_plain_tensors_are_outputs() -> None:
    x = torch.rand(2)
    assert output_tensors((x, [x, {"a": x}])) == [x, x, x]

    class Named(NamedTuple):
        first: torch.Tensor
        second: torch.Tensor

    assert output_tensors(Named(x, x)) == [x, x]
    assert len(output_tensors(torch.sort(torch.eye(3)))) == 2
    assert output_tensors(OrderedDict(a=x)) == [x]
    assert output_tensors((x, None, {"a": None, "b": [x]})) == [x, x]
    assert output_tensors([None]) == []

    class Lying(tuple):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[torch.Tensor]:
            return iter(())

    assert output_tensors(Lying((x,))) == [x]
    with pytest.raises(Unsupported, match="Liar"):
        output_tensors(x.as_subclass(Liar))
    with pytest.raises(Unsupported, match="float"):
        output_tensors((x, 1.0))


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda x: x.to_sparse(), "sparse_coo"),
        (lambda x: x.to_sparse_csr(), "sparse_csr"),
        (lambda x: torch._nested_tensor_from_tensor_list([x, x]), "nested"),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "quantized"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_outputs_are_dense(made: Callable[[torch.Tensor], torch.Tensor], kind: str) -> None:
    with pytest.raises(Unsupported, match=f"a {kind} tensor; outputs must be dense plain tensors"):
        output_tensors(made(torch.eye(3)))


def test_both_sides_of_an_arena_see_the_same_bytes() -> None:
    layout = Layout(
        (Leaf("float32", (3, 5)), Leaf("int64", ())), (Leaf("bfloat16", (7,)), Leaf("bool", (0, 4)))
    )
    ours, fd = create_host(layout, 3)
    theirs = open_host(Layout.from_record(layout.to_record()), 3, fd)
    x = torch.rand(3, 5)
    ours.inputs(1)[0].copy_(x)
    assert torch.equal(theirs.inputs(1)[0], x)
    assert [leaf_of(tensor) for tensor in theirs.outputs(2)] == list(layout.outputs)
    theirs.outputs(2)[0].fill_(1)
    assert ours.outputs(2)[0].float().sum().item() == 7
    ours.poison(2)
    assert torch.isnan(theirs.outputs(2)[0]).all()
    assert torch.equal(theirs.inputs(1)[0], x)
    assert theirs.inputs(0)[0].data_ptr() % 64 == 0
    os.close(fd)


def test_a_share_of_the_outputs_is_overwritten_and_nothing_else() -> None:
    layout = Layout((Leaf("float32", (10,)),), (Leaf("float32", (9, 4096)),))
    arena, fd = create_host(layout, 2)
    for place in (0.0, 0.4, 1.0):
        arena.outputs(1)[0].fill_(1)
        arena.poison(1, 1 / 16, place)
        spoilt = torch.isnan(arena.outputs(1)[0].view(-1)).nonzero().view(-1)
        assert len(spoilt) == 9 * 4096 // 16
        assert spoilt[-1] - spoilt[0] == len(spoilt) - 1
        assert not arena.inputs(1)[0].any()
    assert not arena.outputs(0)[0].any()
    os.close(fd)


def test_memory_that_was_lent_before_holds_nothing_of_it() -> None:
    layout = Layout((Leaf("float32", (5000,)),), (Leaf("float32", (700,)),))
    lending = Lending("cpu")
    arena, _, (fd,) = lending.lend(layout, 6)
    # The judge used two slots; the runner wrote everywhere, between tensors too.
    arena.inputs(1)
    with mmap.mmap(os.dup(fd), 6 * layout.slot_bytes) as theirs:
        theirs[:] = b"x" * len(theirs)
    lending.close()
    other, _, (again,) = lending.lend(layout, 6)
    assert other is arena
    with mmap.mmap(again, 6 * layout.slot_bytes) as whole:
        assert not any(whole[:])
    second, _, (another,) = lending.lend(layout, 6)
    assert second is not arena
    assert another != again
    lending.close()
    larger, _, _ = lending.lend(layout, 7)
    assert larger.slots == 7


def test_where_cuda_ipc_is_found_not_to_work_both_sides_get_as_much_of_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> None:
        raise cuda_arena.IpcUnavailable("no such thing here")

    monkeypatch.setattr(cuda_arena, "create_cuda", fails)
    monkeypatch.setattr(Lending, "ipc", True)
    monkeypatch.setattr(Lending, "why_not", "")
    layout = Layout((Leaf("float32", (2**20,)),), (Leaf("float32", (2**20,)),))
    lending = Lending("cuda:0")
    arenas = [lending.lend(layout, 102, whose)[0] for whose in (True, False)]
    assert not Lending.ipc
    assert [arena.slots for arena in arenas] == [HOST_BYTES_LENT // layout.slot_bytes] * 2


def test_what_is_handed_over_leaves_no_gradients_in_the_memory() -> None:
    """A kernel may switch gradients on and leave them so; the judge's memory is used again."""
    layout = Layout((), (Leaf("float32", (3,)),))
    arena, fd = create_host(layout, 1)
    order = {
        "device": "cpu",
        "layout": layout.to_record(),
        "slots": 1,
        "arguments": [],
        "ipc": None,
    }
    runner = Runner(order, [os.dup(fd)], "")
    weight = torch.nn.Parameter(torch.ones(3))
    with torch.no_grad():
        runner._hand_over(weight + 1, 0)
        with torch.enable_grad():
            for times in (2, 3):
                assert runner._hand_over(weight * times, 0) == b""
    assert arena.outputs(0)[0].tolist() == [3.0] * 3
    os.close(fd)


@pytest.mark.parametrize("trusted", [True, False])
def test_both_sides_have_all_their_pages_before_one_is_used(trusted: bool) -> None:
    layout = Layout((Leaf("float32", (50_000,)),), (Leaf("float32", (700,)),))
    lending = Lending("cpu")
    fds = [lending.lend(layout, 5, whose)[2][0] for whose in (trusted, not trusted)]
    files = [os.fstat(fd) for fd in fds]
    assert files[0].st_ino != files[1].st_ino
    assert [file.st_blocks * 512 for file in files] == [5 * layout.slot_bytes] * 2
    lending.close()
    again = [lending.lend(layout, 5, whose)[2][0] for whose in (trusted, not trusted)]
    assert [os.fstat(fd).st_ino for fd in again] == [file.st_ino for file in files]


def test_a_runner_cannot_shrink_or_grow_the_memory() -> None:
    _, fd = create_host(Layout((Leaf("float32", (1000,)),), ()), 4)
    for size in (0, 2**30):
        with pytest.raises(OSError, match="not permitted"):
            os.ftruncate(fd, size)
    os.close(fd)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "empty"),
        ("  \n\t\n", "empty"),
        ("def (", "line 1"),
        ("x = 1", "no ModelNew"),
        ("ModelNew = '\0'", "not Python"),
        ("ModelNew = " + "(" * 5000 + ")" * 5000, "not Python"),
        ("ModelNew = " + "-" * 200_000 + "1", "not Python"),
        ("#" * (MAX_SOURCE_BYTES + 1), "at most"),
        ("ModelNew = '\ud800'", "not Python"),
    ],
)
def test_texts_that_are_no_kernel(source: str, said: str) -> None:
    outcome = screen(source)
    assert outcome is not None
    assert said in outcome.reasons[0]


def test_text_that_may_be_a_kernel_passes() -> None:
    assert screen("from elsewhere import ModelNew") is None
