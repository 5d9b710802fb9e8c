"""What is charged for what comes to light without flushes."""

from __future__ import annotations

import pytest
import torch

from kbexp.verdict import Interval
from kbexp.worker.bare import (
    BLOCK_MS,
    HOST_MS,
    LONE_MS,
    MOST_OFF_MS,
    MOST_SLOWER,
    Bare,
    Look,
    Seen,
    compare_bare,
)
from kbexp.worker.clocks import Agreement
from kbexp.worker.flush import copy_time_ms

COPY_MS = 0.06

ZERO = Seen(0.0, 0.0, 0.0)
LONE = Look(1, 1, ZERO, None, ZERO)
"""One that shows nothing."""


def bare(usual: Agreement, judged_ms: float, **more: float) -> Agreement:
    """What the clocks say of a kernel whose calls took so long without flushes, at least.

    The reference takes 0.3 ms, with 0.1 ms around it.
    """
    kernel = Seen(judged_ms, more.get("kept"), more.get("replayed"))
    reference = None if "replayed" in more else Seen(0.4, 0.38 if "kept" in more else None)
    nothing = Seen(0.1, 0.08 if "kept" in more else None, 0.05 if "replayed" in more else None)
    look = Look(25, 25, kernel, reference, nothing)
    return compare_bare(usual, Bare(look, LONE, 0.3, COPY_MS))


def test_work_in_the_place_of_a_flush_is_charged() -> None:
    hidden = bare(Agreement(0.02), 0.9, kept=0.4).charged
    assert hidden.value == pytest.approx(0.3)
    assert hidden.low == pytest.approx(0.3 - HOST_MS)
    assert hidden.high == pytest.approx(0.3)


def test_where_outputs_lie_in_memory_that_is_used_again_a_copy_may_be_hidden() -> None:
    hidden = bare(Agreement(0.02), 0.42).charged
    assert hidden.value == pytest.approx(0.3)
    assert hidden.high == pytest.approx(0.3 + COPY_MS)


def test_in_a_graph_the_host_needs_nothing() -> None:
    assert bare(Agreement(0.05), 0.45, kept=0.4).charged.value > 0.2
    assert bare(Agreement(0.05), 0.45, kept=0.4, replayed=0.11).charged.value == 0.0
    hidden = bare(Agreement(0.05), 0.45, kept=0.4, replayed=0.4).charged
    assert hidden.value == pytest.approx(0.3)


@pytest.mark.parametrize("figures", [{"kept": 0.14}, {"replayed": 0.12}])
def test_a_disagreement_that_they_do_not_show_is_not_charged(figures: dict[str, float]) -> None:
    unlucky = Agreement(0.06, Interval(0.03, 0.02, 0.06))
    assert unlucky.charged.value > 0
    assert bare(unlucky, 0.2, **figures).charged.value == 0.0


def test_beside_a_graph_what_the_clocks_show_too_is_in_the_interval() -> None:
    unlucky = Agreement(0.06, Interval(0.03, 0.02, 0.06))
    charged = bare(unlucky, 0.2, replayed=0.14).charged
    surely_ms = 0.03 - BLOCK_MS / 25
    assert charged.value == pytest.approx(2 * surely_ms)
    assert (charged.low, charged.high) == pytest.approx((surely_ms, 0.03))


@pytest.mark.parametrize(
    ("beyond", "charged"), [(-1.0, 0.0), (1.0, 0.0), (1.25, 0.5), (2.0, 2.0), (3.0, 3.0)]
)
@pytest.mark.parametrize("calls", [1, 25])
def test_of_what_clocks_are_off_by_nothing_is_left_open_where_it_is_sure(
    calls: int, beyond: float, charged: float
) -> None:
    """In what clocks may be off by."""
    off_ms = LONE_MS if calls == 1 else BLOCK_MS / 25
    seen, nothing = Seen(9.0, replayed_ms=0.05 + 0.01 + beyond * off_ms), Seen(9.0, 0.05, 0.05)
    look = Look(calls, calls, seen, None, nothing)
    found = compare_bare(Agreement(0.01), Bare(look, LONE, 0.3))
    assert found.unreported.value == pytest.approx(charged * off_ms)
    assert found.unreported.low == pytest.approx(max(0.0, beyond - 1) * off_ms)


@pytest.mark.parametrize("kind", ["kept", "replayed"])
def test_where_a_device_has_room_for_few_slots_no_whole_call_is_left_open(kind: str) -> None:
    """A call reads little of a table of gigabytes: two slots, and 0.02 ms of 0.2 are reported."""
    seen, nothing = Seen(0.25, **{f"{kind}_ms": 0.25}), Seen(0.05, **{f"{kind}_ms": 0.05})
    look = Look(2, 2, seen, seen, nothing)
    charged = compare_bare(Agreement(0.02), Bare(look, LONE, 0.2)).charged
    assert charged.value == pytest.approx(0.18)
    assert charged.low == pytest.approx(0.18 - (MOST_OFF_MS if kind == "replayed" else HOST_MS))


def test_without_cuda_ipc_what_the_usual_clocks_show_is_charged_too() -> None:
    """Of a call of 0.03 ms, a twentieth is reported; three calls leave 0.15 ms open."""
    lies = Agreement(0.0015, Interval(0.0285, 0.02, 0.04))

    def seen(calls: int) -> Bare:
        lone = Look(1, 1, Seen(0.1), Seen(0.2))
        return Bare(Look(calls, calls, Seen(8.0), Seen(8.0)), lone, 0.03, on_device=False)

    assert compare_bare(lies, seen(3)).charged == lies.charged
    assert compare_bare(Agreement(0.0015), seen(100)).charged.value > 0.02


def test_what_the_references_host_needs_hides_nothing() -> None:
    """24 operations: 0.075 ms of a device, 0.115 ms of its host; the kernel's in one launch."""
    look = Look(67, 67, Seen(0.133, 0.074), Seen(0.133, 0.133), Seen(0.01, 0.01))
    charged = compare_bare(Agreement(0.017), Bare(look, LONE, 0.075)).charged
    assert charged.value == pytest.approx(0.074 - 0.01 - 0.017)
    assert charged.low == 0.0


def test_what_a_reference_is_faster_by_in_a_graph_is_charged_to_no_kernel() -> None:
    """It takes 0.08 ms behind a flush; what it takes in a graph is not even asked."""
    look = Look(100, 100, Seen(0.2, 0.1, 0.06), None, Seen(0.05, 0.05, 0.049))
    assert look.bound_ms(0.08) == pytest.approx(0.011)
    assert compare_bare(Agreement(0.01), Bare(look, LONE, 0.08)).charged.value == 0.0


def test_where_the_reference_is_slower_without_flushes_a_kernel_may_be() -> None:
    """Of 25 calls 2 ms each, one after another, the device computes with lower clocks."""

    def charged(reference_ms: float) -> float:
        seen = Seen(9.0, 9.0, reference_ms)
        look = Look(25, 25, Seen(2.5, 2.5, 2.4), seen, Seen(0.2, 0.2, 0.1))
        return compare_bare(Agreement(2.0), Bare(look, LONE, 8.0)).charged.value

    assert charged(8.1) == pytest.approx(0.3)
    slower = (0.3 - BLOCK_MS / 25) / 8
    assert charged(8.4) == pytest.approx(2.3 / (1 + slower) - 2.0)
    assert charged(99.0) == 0.0
    # A short one may seem to be, by what clocks are off.
    short = Look(25, 25, Seen(0.5, 0.5, 0.07), Seen(0.5, 0.5, 0.077), Seen(0.1, 0.1, 0.01))
    assert short.slower(0.05) == 0.0


@pytest.mark.parametrize("in_graph", [True, False])
def test_work_on_many_calls_at_once_shows_where_a_call_is_made_alone(in_graph: bool) -> None:
    """64 steps that wait for one another take 0.8 ms, for ten calls as for one."""
    many = Look(10, 10, Seen(0.1, 0.1, 0.1), None, ZERO)
    if in_graph:
        lone = Look(1, 1, Seen(1.3, replayed_ms=1.0), None, Seen(0.3, replayed_ms=0.2))
    else:
        lone = Look(1, 1, Seen(1.1), Seen(1.15), Seen(0.3))
    assert compare_bare(Agreement(0.08), Bare(many, LONE, 0.8)).charged.value == 0.0
    charged = compare_bare(Agreement(0.08), Bare(many, lone, 0.8)).charged
    # The reference's host needs 0.05 ms.
    assert charged.value == pytest.approx(0.72 - (0.0 if in_graph else 0.05))
    assert charged.high == pytest.approx(charged.value)
    assert charged.low == pytest.approx(0.72 - (LONE_MS if in_graph else HOST_MS + 0.05))


@pytest.mark.parametrize("graph", [True, False])
def test_the_shorter_of_two_times_counts(graph: bool) -> None:
    once = Seen(0.5).then(0.3, graph)
    assert (once.replayed_ms if graph else once.kept_ms) == 0.3
    assert once == once.then(0.4, graph)
    assert once.then(0.2, graph) == Seen(0.5).then(0.2, graph)
    assert once.then(None, graph) == once
    assert Seen(0.5).then(None, graph) == Seen(0.5)


def test_of_a_call_alone_no_more_is_left_open_for_the_host_than_the_references_needs() -> None:
    def charged(reference_ms: float) -> float:
        lone = Look(1, 1, Seen(0.43), Seen(reference_ms), Seen(0.25))
        return compare_bare(Agreement(0.08), Bare(LONE, lone, 0.3)).charged.value

    assert charged(0.3 + 0.25 + 0.08) == 0.0
    assert charged(0.3 + 0.25) == pytest.approx(0.1)
    assert charged(0.2) == pytest.approx(0.1)
    # A reference of many operations lets nobody hide as much as its host needs.
    longer = Look(1, 1, Seen(0.63), Seen(9.0), Seen(0.25))
    hidden = compare_bare(Agreement(0.08), Bare(LONE, longer, 0.3)).charged.value
    assert hidden == pytest.approx(0.3 - HOST_MS)


def test_memory_may_be_used_again_where_outputs_of_many_calls_are_not_to_be_had_later() -> None:
    kept, seen = Seen(0.4, 0.4), Seen(0.4)
    lone = Look(1, 1, seen, seen, seen)
    assert not Bare(Look(25, 25, kept, kept, kept), lone, 0.3).uses_again
    assert Bare(Look(25, 25, seen, seen, seen), lone, 0.3).uses_again


def test_a_call_alone_is_not_held_back_by_what_slows_many() -> None:
    seen, nothing = Seen(9.0, 9.0, 9.5), Seen(0.2, 0.2, 0.1)
    many = Look(25, 25, Seen(9.0, 1.1, 1.1), seen, nothing)
    lone = Look(1, 1, Seen(9.0, replayed_ms=8.0), None, Seen(0.3, replayed_ms=0.1))
    assert many.slower(7.0) == MOST_SLOWER
    charged = compare_bare(Agreement(1.0), Bare(many, lone, 7.0)).charged
    assert charged.value == pytest.approx(7.9 - 1.0)


def test_without_cuda_ipc_a_call_alone_may_need_its_host() -> None:
    lone = Look(1, 1, Seen(0.45), Seen(0.36))
    blocks = Look(100, 100, Seen(0.1), Seen(0.2))
    usual = Agreement(0.05)
    charged = compare_bare(usual, Bare(blocks, lone, 0.06, on_device=False)).charged
    assert charged.value == 0.0


def test_what_a_copy_takes() -> None:
    large, small = [torch.zeros(2**22)], [torch.zeros(3)]
    assert copy_time_ms(large) > copy_time_ms(small) > copy_time_ms([]) == 0.0
