"""What is charged for what comes to light without flushes."""

from __future__ import annotations

import pytest

from kbexp.verdict import Interval
from kbexp.worker.bare import HOST_MS, REPLAYED_BLOCK_MS, Bare, compare_bare
from kbexp.worker.clocks import Agreement, Clock


def bare(usual: Agreement, judged_ms: float, **more: float) -> Agreement:
    """What the clocks say of a kernel whose calls took so long without flushes, at least.

    The reference takes 0.3 ms, with 0.1 ms around it.
    """
    sides = [Clock(), Clock()]
    for side, call_ms in zip(sides, (judged_ms, more.get("beside", 0.4)), strict=True):
        for index in range(6):
            side.add(call_ms, call_ms + 0.05 * (index % 3))
            side.beside_ms.append(0.1 + 0.05 * (index % 3))
    replayed = (more["replayed"], 0.35) if "replayed" in more else None
    return compare_bare(usual, Bare(*sides, 25, replayed), reference_ms=0.3)


def test_work_in_the_place_of_a_flush_is_charged() -> None:
    hidden = bare(Agreement(0.02), 0.42).charged
    assert hidden.value == pytest.approx(0.3 - HOST_MS)


def test_what_the_host_needs_to_queue_a_short_call_is_not() -> None:
    assert bare(Agreement(0.05), 0.05 + 0.1 + 0.07).charged.value == 0.0
    # A busy host needs long, but nothing where the calls are in a graph.
    assert bare(Agreement(0.05), 0.05 + 0.1 + 0.3).charged.value > 0.2
    assert bare(Agreement(0.05), 0.05 + 0.1 + 0.3, replayed=0.11).charged.value == 0.0
    hidden = bare(Agreement(0.05), 0.05 + 0.1 + 0.3, replayed=0.4).charged
    assert hidden.value == pytest.approx(0.3 - REPLAYED_BLOCK_MS / 25)
    # The reference's host is slow too: 0.2 ms for what takes 0.1 ms.
    assert bare(Agreement(0.05), 0.05 + 0.1 + 0.2, beside=0.6).charged.value == 0.0


def test_a_disagreement_by_chance_is_charged_no_more_than_a_call_takes() -> None:
    unlucky = Agreement(0.06, Interval(0.04, 0.02, 0.06))
    assert bare(unlucky, 0.17).charged.value == pytest.approx(0.01)
    assert bare(unlucky, 0.15).charged.value == 0.0
    late = Agreement(0.5, Interval(0.4, 0.39, 0.41))
    assert bare(late, 1.05).charged == late.charged


def test_beside_a_graph_only_what_it_shows_is_charged() -> None:
    unlucky = Agreement(0.06, Interval(0.03, 0.02, 0.06))
    assert bare(unlucky, 0.2).charged.value == pytest.approx(0.03)
    assert bare(unlucky, 0.2, replayed=0.12).charged.value == 0.0
    charged = bare(unlucky, 0.2, replayed=0.14).charged
    surely_ms = 0.03 - REPLAYED_BLOCK_MS / 25
    assert (charged.value, charged.low, charged.high) == pytest.approx((surely_ms, surely_ms, 0.03))
