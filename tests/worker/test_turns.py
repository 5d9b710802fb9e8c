"""Calls made one by one, each when the inputs of the one before have been answered."""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from runners import fork

from kbexp.verdict import Phase, Status
from kbexp.worker import wire
from kbexp.worker.arena import Arena, Layout, create_host
from kbexp.worker.copies import Withheld
from kbexp.worker.feed import Feed
from kbexp.worker.kept import Turns
from kbexp.worker.memory import Lending
from kbexp.worker.outcome import Stop
from kbexp.worker.reference import Trial
from kbexp.worker.report import Kind, Leaf, send_report
from kbexp.worker.runner import Runner
from kbexp.worker.side import Side

SHAPE = (64, 64)
LAYOUT = Layout((Leaf("float32", SHAPE),), (Leaf("float32", SHAPE),))
SLOTS = 6
CHANCE = random.Random(5)
SOURCE = """
import torch
class ModelNew(torch.nn.Module):
    def forward(self, x):
        return torch.cumsum(x, -1)
"""


class Cheat(Runner):
    """Reports every call at its word, and makes those that it likes then."""

    def _take_turns(self, channel: socket.socket, slots: list[int], in_graphs: bool) -> None:
        send_report(channel, Kind.READY)
        for turn, _ in enumerate(slots):
            wire.await_word(channel)
            for slot in self._made(turn, slots):
                self._hand_over(self._call(*self._arguments_of([slot])[0]), slot)
            send_report(channel, Kind.COPIED, b"\0")

    def _made(self, turn: int, slots: list[int]) -> list[int]:
        raise NotImplementedError


class AllAtOnce(Cheat):
    """Works on the inputs of all calls at the first word."""

    def _made(self, turn: int, slots: list[int]) -> list[int]:
        return slots if turn == 0 else []


class Later(Cheat):
    """Says that all is done, and does it at the last word."""

    def _made(self, turn: int, slots: list[int]) -> list[int]:
        return slots if turn == len(slots) - 1 else []


class LeavesOneOut(Cheat):
    """Says at once that one of the calls is done, and never makes it."""

    def _made(self, turn: int, slots: list[int]) -> list[int]:
        return [slots[turn]] if turn else []


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
    order: dict[str, Any] = {
        "device": "cpu",
        "layout": LAYOUT.to_record(),
        "arguments": {"list": [{"tensor": 0}]},
        "ipc": None,
        "slots": SLOTS,
        "flush_bytes": 0,
    }

    def serve(channel: socket.socket) -> None:
        told, lent = wire.receive(channel)
        serving = kind(told, lent, folder)
        send_report(channel, Kind.READY)
        with contextlib.suppress(wire.Closed, BrokenPipeError):
            while True:
                told, _ = wire.receive(channel)
                serving.answer(channel, told)

    channel, leash = (socket.socket(fileno=one) for one in fork(serve, ends))
    side = Side("the kernel", channel, leash, blamed=True)
    side.arena = arena
    ends.callback(side.close)
    side.enter(Phase.LOAD, 30)
    side.tell(order, (fd,))
    side.expect(Kind.READY)
    os.close(fd)
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


def turns(asked: tuple[Side, Feed], graph: bool = False, times: int = 3) -> Turns:
    side, feed = asked
    answers: Any = Sums()
    slots = list(range(SLOTS))
    return Turns(side, slots, feed, Lending("cpu"), CHANCE, answers, graph, times)


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


def test_of_few_calls_none_can_be_left_out(runner: Asked) -> None:
    """The quickest of them would count."""
    asked = runner(LeavesOneOut)
    assert [turns(asked, times=1).call_ms() for _ in range(10)] == [None] * 10


def test_what_is_kept_back_never_stands_in_a_slot_before(
    runner: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a held process has left on a device may read there."""
    side, feed = runner(Runner)

    def write() -> None:
        pytest.fail("inputs were written as a whole")

    monkeypatch.setattr(feed, "prepared", lambda *_: write)
    assert turns((side, feed)).call_ms() is not None


def renewed(*shapes: tuple[int, ...], dtype: str = "float32") -> tuple[Arena, Feed]:
    """Return an arena, in whose slot 0 inputs are to be written, of which all differ."""
    arena, fd = create_host(Layout(tuple(Leaf(dtype, shape) for shape in shapes), ()), 1)
    os.close(fd)

    def made(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        kind = getattr(torch, dtype)
        if not kind.is_floating_point and not kind.is_complex:
            return [torch.randint(-9, 9, shape, generator=generator).to(kind) for shape in shapes]
        return [torch.randn(shape, generator=generator, dtype=kind) for shape in shapes]

    trials: list[Any] = [Trial(made(seed), []) for seed in (1, 2)]
    feed = Feed(arena, trials, random.Random(3), lambda: made(4), (False,) * len(shapes))
    feed.renew(0, made(3))
    return arena, feed


def pairs(arena: Arena, feed: Feed) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(arena.inputs(0), feed.content(0).inputs(), strict=True))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "int8", "bool", "complex64"])
def test_small_inputs_are_kept_back_as_a_whole(dtype: str) -> None:
    arena, feed = renewed((40, 50), (0, 3), (), (77,), *[(9,)] * 9, dtype=dtype)
    withheld = Withheld(arena, 0, feed, random.Random(1))
    for number, (place, real) in enumerate(pairs(arena, feed)):
        if real.numel() >= 9 and dtype != "bool":
            assert float((place == real).float().mean()) < 0.9, number
    withheld.give()
    assert all(torch.equal(place, real) for place, real in pairs(arena, feed))


@pytest.mark.parametrize("shapes", [((2**21,),), ((2**19,), (8,), (2**14,), (2**20,))])
def test_of_larger_inputs_nobody_has_one_or_an_end_of_one(shapes: list[tuple[int, ...]]) -> None:
    arena, feed = renewed(*shapes)
    withheld = Withheld(arena, 0, feed, random.Random(1))
    for place, real in pairs(arena, feed):
        # Of 512 elements that are changed anyway each end has none, or few.
        ends = [slice(0, 8), slice(-8, None), slice(None)]
        assert not any(torch.equal(place[end], real[end]) for end in ends)
    if len(shapes) == 1:
        eighths = zip(place.chunk(8), real.chunk(8), strict=True)
        assert not any(torch.equal(*eighth) for eighth in eighths)
    assert (place == real).float().mean() > 0.8
    withheld.give()
    assert all(torch.equal(place, real) for place, real in pairs(arena, feed))


def test_a_task_may_have_no_inputs() -> None:
    arena, feed = renewed()
    Withheld(arena, 0, feed, random.Random(1)).give()


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
