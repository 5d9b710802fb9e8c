"""What is called without flushes, how often, and what is made of what cannot be done."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import pytest

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase, Status
from kbexp.worker.arena import Layout, create_host
from kbexp.worker.draws import Draws
from kbexp.worker.in_turn import Block
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.scrutiny import (
    BARE_BLOCKS,
    FEWEST_BLOCKS,
    FEWEST_TIMES,
    FEWEST_TURNS,
    KEPT_LIMIT_S,
    MOST_LONE,
    MOST_TURNS,
    TURNS,
    Scrutiny,
)
from kbexp.worker.timing import FEWEST_CALLS


class Device:
    """Answers as the callers of a device would: each way of each side takes what is scripted.

    Whoever has nothing scripted for a way cannot do it; an outcome is raised.
    """

    def __init__(self, **took: float | Outcome) -> None:
        self.flushes, self.looks = 4, 1
        self.can_renew = self.can_mix = self.on_device = True
        self.draws = Draws(list, 1e-5, Layout((), ()), "cpu")
        self.took = took
        self.asked: list[str] = []

    def copy_ms(self) -> float:
        return 0.01

    def idle(self, side: Any) -> None:
        self.asked.append("idle")
        side.name = "nothing"
        if isinstance(took := self.took.get("idle"), Outcome):
            raise Stop(took)

    def wake(self, side: Any) -> None:
        self.asked.append("wake")
        side.name = "reference"

    def block(
        self, side: Any, calls: int, check: bool, renew: bool = False, drawn: Any = ()
    ) -> Block:
        """Half a millisecond a call behind flushes, one without."""
        assert renew is check is (self.flushes == 0)
        if isinstance(took := self.took.get(f"{side.name}_block"), Outcome):
            raise Stop(took)
        each_ns = 500_000 if self.flushes else 1_000_000
        return Block([500_000] * calls, each_ns * calls)

    def kept_ms(self, side: Any, calls: int, graph: bool, times: int) -> float | None:
        return self._took(f"{side.name}_many_{'graph' if graph else 'kept'}")

    def turn_ms(self, side: Any, calls: int, graph: bool, times: int) -> float | None:
        return self._took(f"{side.name}_lone_{'graph' if graph else 'turns'}")

    def _took(self, asked: str) -> float | None:
        self.asked.append(asked)
        took = self.took.get(asked)
        if isinstance(took, Outcome):
            raise Stop(took)
        return took


class Runner:
    """A side that is always ready."""

    def __init__(self, name: str, slots: int) -> None:
        self.name = name
        self.arena, fd = create_host(Layout((), ()), slots)
        os.close(fd)

    def enter(self, phase: Phase, limit_s: float) -> None:
        """Nothing takes any time."""

    def apart(self) -> contextlib.AbstractContextManager[None]:
        """Nor does drawing inputs."""
        return contextlib.nullcontext()

    def end(self) -> None:
        """Nothing is left to be asked."""


def scrutiny(device: Any, slots: int = 102, calls: int = 3, ms: float = 0.5) -> Scrutiny:
    sides: list[Any] = [Runner(name, slots) for name in ("kernel", "reference")]
    return Scrutiny(device, *sides, EvaluatorConfig(), calls, ms)


def test_few_slots_make_no_shorter_blocks() -> None:
    """What is left open is a block's: of three calls it would be all of a short one."""
    many, lone = scrutiny(Device(), slots=3, ms=0.03)._planned()
    assert (many.calls, many.later_calls) == (EvaluatorConfig().max_calls, 3)
    assert (lone.calls, lone.times) == (3, MOST_TURNS // 3)


@pytest.mark.parametrize(("mixes", "calls"), [(True, 100), (False, 25)])
def test_short_calls_are_many_where_new_inputs_take_no_time(mixes: bool, calls: int) -> None:
    device = Device()
    device.can_mix = mixes
    many, lone = scrutiny(device, ms=0.03)._planned()
    assert (many.calls, many.later_calls) == (calls, calls)
    assert (lone.calls, lone.times) == (TURNS, MOST_TURNS // TURNS)


def test_inputs_that_take_long_to_draw_make_few_calls() -> None:
    device = Device()
    device.can_mix, device.draws = False, Draws(list, 0.2, Layout((), ()), "cpu")
    many, lone = scrutiny(device, ms=0.03)._planned()
    # No row is so long that its inputs could not be drawn.
    assert (many.calls, lone.calls, lone.times) == (FEWEST_CALLS, 1, FEWEST_TURNS)
    assert (many.blocks, many.times) == (3, 3)
    device.draws = Draws(list, 2.0, Layout((), ()), "cpu")
    many, _ = scrutiny(device, ms=0.03)._planned()
    assert (many.blocks, many.times) == (FEWEST_BLOCKS, FEWEST_TIMES)


def test_long_calls_are_made_alone_less_often() -> None:
    many, lone = scrutiny(Device(), ms=400.0)._planned()
    assert (many.blocks, lone.calls, lone.times) == (BARE_BLOCKS, FEWEST_TURNS, 1)


EVERY = {"many_kept": 0.6, "many_graph": 0.6, "lone_turns": 0.7, "lone_graph": 0.6}
NOTHING = {"many_kept": 0.2, "many_graph": 0.1, "lone_turns": 0.3, "lone_graph": 0.15}


def took(**kernel: float | Outcome | None) -> dict[str, Any]:
    """Return what both sides take, where the kernel's differs."""
    sides = {"kernel": EVERY | kernel, "reference": EVERY, "nothing": NOTHING}
    return {f"{side}_{way}": ms for side, ways in sides.items() for way, ms in ways.items()}


def look(device: Device) -> Any:
    looking = scrutiny(device)
    looking.look_at_kernel()
    assert device.flushes == 4
    return looking.look_at_reference()


def test_a_graph_is_compared_with_one_of_nothing() -> None:
    device = Device(**took(lone_graph=0.9))
    bare = look(device)
    assert bare.many.in_graph
    assert bare.lone.in_graph
    assert (bare.reference_ms, bare.copy_ms) == (0.5, 0.01)
    assert bare.many.bound_ms(0.5) == pytest.approx(0.6 - 0.1)
    assert bare.lone.bound_ms(0.5) == pytest.approx(0.9 - 0.15)
    assert bare.figures()["lone_replayed_ms"] == 0.9
    # The last, since it may end the reference's process.
    assert device.asked[-2:] == ["wake", "reference_many_graph"]
    assert [asked for asked in device.asked if asked.startswith("reference")] == device.asked[-1:]


def test_where_there_is_no_graph_the_references_host_is_seen() -> None:
    device = Device(**took(many_graph=None, lone_graph=None))
    bare = look(device)
    assert not bare.many.in_graph
    assert bare.many.asked_later
    assert not bare.uses_again
    assert bare.many.bound_ms(0.5) == pytest.approx(0.6 - 0.2)
    assert bare.lone.bound_ms(0.5) == pytest.approx(0.7 - 0.3)
    assert (bare.many.reference.kept_ms, bare.lone.reference.in_blocks_ms) == (0.6, 0.7)
    assert device.asked[-3:] == ["idle", "nothing_many_kept", "nothing_lone_turns"]
    assert bare.figures()["lone_bare_nothing_ms"] == 0.3


def test_a_reference_that_cannot_be_recorded_shows_nothing_by_that() -> None:
    died = Outcome(Status.INFRASTRUCTURE_ERROR, Phase.TIMING, ("the reference failed",))
    for reference in (None, died):
        bare = look(Device(**took() | {"reference_many_graph": reference}))
        assert bare.many.slower(0.5) == 0.0
        assert bare.many.bound_ms(0.5) == pytest.approx(0.6 - 0.1)
    assert look(Device(**took() | {"reference_many_graph": 0.9})).many.slower(0.5) > 0


def test_where_nothing_cannot_be_recorded_calls_in_turns_and_those_kept_are_compared() -> None:
    bare = look(Device(**took() | {"nothing_many_graph": None, "nothing_lone_graph": None}))
    assert not bare.many.in_graph
    assert bare.many.host_ms(0.5) == 0.0
    assert bare.many.bound_ms(0.5) == pytest.approx(0.6 - 0.2)
    assert bare.lone.bound_ms(0.5) == pytest.approx(0.7 - 0.3)


def test_calls_of_many_seconds_have_the_time_that_the_settings_give_them() -> None:
    looking = scrutiny(Device(**took()), ms=5000.0)
    limits = list[float]()
    looking.kernel.enter = lambda phase, limit_s: limits.append(limit_s)  # type: ignore[method-assign]
    looking.look_at_kernel()
    assert limits[0] == EvaluatorConfig().run_timeout_s
    assert set(limits[1:]) == {KEPT_LIMIT_S}


def test_a_reference_that_ends_while_it_makes_no_calls_leaves_the_flushes_as_they_were() -> None:
    """By their number the usual clocks are compared afterwards."""
    died = Outcome(Status.INFRASTRUCTURE_ERROR, Phase.TIMING, ("the reference failed",))
    device = Device(**took(), nothing_block=died)
    with pytest.raises(Stop):
        look(device)
    assert (device.flushes, device.looks) == (4, 1)


def test_without_cuda_ipc_calls_are_made_alone_in_blocks() -> None:
    device = Device()
    device.on_device = False
    _, lone = scrutiny(device, ms=0.03)._planned()
    assert (lone.calls, lone.blocks) == (1, MOST_LONE)
    bare = look(device)
    assert bare.many.nothing is bare.lone.nothing is None
    # A millisecond on both sides, of which the reference takes half.
    assert bare.many.bound_ms(0.5) == bare.lone.bound_ms(0.5) == pytest.approx(0.5)
    assert not [asked for asked in device.asked if "lone" in asked or asked == "idle"]


def test_outputs_that_cannot_be_had_later_but_one_by_one() -> None:
    bare = look(Device(**took(many_kept=None, many_graph=None)))
    assert bare.uses_again
    assert bare.lone.in_graph


def test_a_kernel_that_ends_where_it_is_recorded_is_not_to_blame() -> None:
    died = Outcome(Status.RUNTIME_ERROR, Phase.TIMING, ("its process ended",))
    bare = look(Device(**took(many_graph=died)))
    assert bare.many.kernel.kept_ms == 0.6
    assert bare.lone.kernel.replayed_ms is None
    assert bare.many.kernel.in_blocks_ms == 1.0


def test_many_calls_are_made_twice_with_others_in_between() -> None:
    device = Device(**took())
    look(device)
    kernels = [asked for asked in device.asked if asked.startswith("kernel")]
    assert kernels[-3:] == ["kernel_many_graph", "kernel_lone_graph", "kernel_many_graph"]


@pytest.mark.parametrize("way", ["many_kept", "lone_turns", "lone_graph"])
def test_one_that_lies_is(way: str) -> None:
    lies = Outcome(Status.REJECTED, Phase.TIMING, ("it lies",))
    with pytest.raises(Stop):
        look(Device(**took(**{way: lies})))
