"""Inputs that are drawn while a kernel is timed: as many as there is time and room for."""

from __future__ import annotations

import time

import pytest
import torch

from kbexp.worker import draws
from kbexp.worker.arena import Layout, leaf_of
from kbexp.worker.draws import Draws
from kbexp.worker.memory import HOST_BYTES_HELD

LAYOUT = Layout((leaf_of(torch.zeros(4)),), (leaf_of(torch.zeros(4)),))


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is time for any number."""
    monkeypatch.setattr(draws, "BLOCK_S", 1e9)


def counted(made: list[int], pause_s: float = 0.0) -> list[torch.Tensor]:
    made.append(len(made))
    time.sleep(pause_s)
    return [torch.full((4,), float(made[-1]))]


@pytest.mark.usefixtures("patient")
def test_every_set_is_given_out_once() -> None:
    made: list[int] = []
    drawing = Draws(lambda: counted(made), LAYOUT, "cpu")
    assert drawing.most(25) == 25
    values = [float(x[0][0]) for count in (3, 1, 25) for x in drawing.some(count)]
    assert sorted(values) == [float(number) for number in range(29)]
    assert len(made) == 29  # The first, by which the time is known, too.


def test_none_where_it_would_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "BLOCK_S", 1e-4)
    made: list[int] = []
    drawing = Draws(lambda: counted(made, 0.001), LAYOUT, "cpu")
    assert (drawing.most(25), drawing.some(1), len(made)) == (0, [], 1)
    assert drawing.each_s() >= 0.001


def test_none_where_there_is_no_generator() -> None:
    drawing = Draws(None, LAYOUT, "cpu")
    assert (drawing.most(25), drawing.some(1), drawing.each_s()) == (0, [], 0.0)


@pytest.mark.usefixtures("patient")
def test_no_more_than_memory_holds() -> None:
    large = leaf_of(torch.empty(HOST_BYTES_HELD // 4 // 4, device="meta"))
    made: list[int] = []
    drawing = Draws(lambda: counted(made), Layout((large,), ()), "cpu")
    assert drawing.most(25) == 4
