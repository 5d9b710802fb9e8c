"""Inputs that are drawn while a kernel is timed: as many as there is time and room for."""

from __future__ import annotations

import torch

from kbexp.worker.arena import Layout, leaf_of
from kbexp.worker.draws import BLOCK_S, Draws
from kbexp.worker.memory import HOST_BYTES_HELD

LAYOUT = Layout((leaf_of(torch.zeros(4)),), (leaf_of(torch.zeros(4)),))


def counted(made: list[int]) -> list[torch.Tensor]:
    made.append(len(made))
    return [torch.full((4,), float(made[-1]))]


def test_every_set_is_given_out_once() -> None:
    made: list[int] = []
    drawing = Draws(lambda: counted(made), 0.0, LAYOUT, "cpu")
    assert drawing.most(25) == 25
    values = [float(x[0][0]) for count in (3, 1, 25) for x in drawing.some(count)]
    assert values == [float(number) for number in range(29)]


def test_no_more_than_there_is_time_for() -> None:
    made: list[int] = []
    drawing = Draws(lambda: counted(made), BLOCK_S / 4.5, LAYOUT, "cpu")
    assert (drawing.most(25), drawing.some(5), len(made)) == (4, [], 0)
    assert len(drawing.some(4)) == 4


def test_none_where_there_is_no_generator() -> None:
    drawing = Draws(None, 0.0, LAYOUT, "cpu")
    assert (drawing.most(25), drawing.some(1)) == (0, [])


def test_no_more_than_memory_holds() -> None:
    large = leaf_of(torch.empty(HOST_BYTES_HELD // 4 // 4, device="meta"))
    made: list[int] = []
    drawing = Draws(lambda: counted(made), 0.0, Layout((large,), ()), "cpu")
    assert drawing.most(25) == 4
