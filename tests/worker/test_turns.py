"""Calls made one by one, each when the inputs of the one before have been answered."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kbexp.verdict import Phase, Status
from kbexp.worker import wire
from kbexp.worker.arena import Layout, create_host
from kbexp.worker.feed import Feed
from kbexp.worker.kept import Turns
from kbexp.worker.leash import obey
from kbexp.worker.memory import Lending
from kbexp.worker.outcome import Stop
from kbexp.worker.reference import Trial
from kbexp.worker.report import Kind, Leaf, send_report
from kbexp.worker.runner import Runner
from kbexp.worker.side import Side

SHAPE = (64, 64)
LAYOUT = Layout((Leaf("float32", SHAPE),), (Leaf("float32", SHAPE),))
SLOTS = 6
SOURCE = """
import torch
class ModelNew(torch.nn.Module):
    def forward(self, x):
        return torch.cumsum(x, -1)
"""


class AllAtOnce(Runner):
    """Works on the inputs of all calls at the first word."""

    def _take_turns(self, channel: socket.socket, slots: list[int], in_graphs: bool) -> None:
        send_report(channel, Kind.READY)
        for turn, _ in enumerate(slots):
            wire.await_word(channel)
            for slot in slots if turn == 0 else []:
                self._hand_over(self._call(*self._arguments_of([slot])[0]), slot)
            send_report(channel, Kind.COPIED, b"\0")


class Later(Runner):
    """Says that all is done, and does it at the last word."""

    def _take_turns(self, channel: socket.socket, slots: list[int], in_graphs: bool) -> None:
        send_report(channel, Kind.READY)
        for turn, _ in enumerate(slots):
            wire.await_word(channel)
            for slot in slots if turn == len(slots) - 1 else []:
                self._hand_over(self._call(*self._arguments_of([slot])[0]), slot)
            send_report(channel, Kind.COPIED, b"\0")


class Ends(Runner):
    """Is gone at the first word."""

    def _take_turns(self, channel: socket.socket, slots: list[int], in_graphs: bool) -> None:
        send_report(channel, Kind.READY)
        wire.await_word(channel)
        os._exit(1)


Asked = Callable[[type[Runner]], tuple[Side, Feed]]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Asked]:
    """Starts a process that serves as a runner and has loaded the kernel."""
    with contextlib.ExitStack() as ends:
        yield lambda kind: _started(kind, str(tmp_path), ends)


def _started(kind: type[Runner], folder: str, ends: contextlib.ExitStack) -> tuple[Side, Feed]:
    arena, fd = create_host(LAYOUT, SLOTS)
    ours, theirs = socket.socketpair()
    near, far = socket.socketpair()
    order: dict[str, Any] = {
        "device": "cpu",
        "layout": LAYOUT.to_record(),
        "arguments": {"list": [{"tensor": 0}]},
        "ipc": None,
        "slots": SLOTS,
        "flush_bytes": 0,
    }
    pid = os.fork()
    if pid == 0:
        serving = kind(order, [fd], folder)
        with contextlib.suppress(wire.Closed, BrokenPipeError):
            while True:
                told, _ = wire.receive(theirs)
                serving.answer(theirs, told)
        os._exit(0)
    theirs.close()

    def hold() -> None:
        while obey(far, lambda number: os.kill(pid, number)):
            pass

    threading.Thread(target=hold, daemon=True).start()
    side = Side("the kernel", ours, near, blamed=True)
    side.arena = arena
    ends.callback(os.waitpid, pid, 0)
    ends.callback(os.kill, pid, signal.SIGKILL)
    ends.callback(side.close)
    side.expose()
    side.enter(Phase.TIMING, 30)
    side.tell(
        {
            "source": SOURCE,
            "class_name": "ModelNew",
            "init": {"tree": {"list": []}, "tensors": []},
            "seed": 1,
        }
    )
    side.expect(Kind.READY)
    trials: list[Any] = [Trial([torch.rand(SHAPE)], [], "") for _ in range(3)]
    return side, Feed(arena, trials, random.Random(3), whole=(False,))


class Sums:
    """Knows the answers."""

    def expected(self, content: Any) -> list[torch.Tensor]:
        return [torch.cumsum(content.inputs()[0], -1)]

    def differences(self, given: list[torch.Tensor], expected: list[torch.Tensor]) -> list[Any]:
        right = torch.allclose(given[0], expected[0])
        return [] if right else ["wrong"]


def turns(asked: tuple[Side, Feed], graph: bool = False) -> Turns:
    side, feed = asked
    answers: Any = Sums()
    slots = list(range(SLOTS))
    return Turns(side, slots, feed, Lending("cpu"), random.Random(5), answers, graph, times=3)


def test_an_honest_runner_makes_them_one_by_one(runner: Asked) -> None:
    taken_ms = turns(runner(Runner)).call_ms()
    assert taken_ms is not None
    assert 0 < taken_ms < math.inf


def test_whoever_works_on_all_together_has_no_inputs_yet(runner: Asked) -> None:
    assert turns(runner(AllAtOnce)).call_ms() is None


def test_whoever_says_too_early_that_it_is_done_is_rejected(runner: Asked) -> None:
    with pytest.raises(Stop) as raised:
        turns(runner(Later)).call_ms()
    assert raised.value.outcome.status is Status.REJECTED
    assert "still being written" in raised.value.outcome.reasons[0]


def test_a_runner_that_ends_in_its_turn_is_blamed(runner: Asked) -> None:
    with pytest.raises(Stop) as raised:
        turns(runner(Ends)).call_ms()
    assert raised.value.outcome.status is Status.RUNTIME_ERROR


def test_a_runner_at_rest_calls_nothing_until_it_is_woken(runner: Asked) -> None:
    side, feed = runner(Runner)
    assert turns((side, feed)).call_ms() is not None
    for slot, right in ((0, False), (None, True)):
        side.let_go()
        side.tell({"idle": slot})
        side.expect(Kind.READY)
        side.hold()
        assert (turns((side, feed)).call_ms() is not None) is right
