"""Containers cost from their start to their end."""

from __future__ import annotations

import pytest

from kbexp.evaluation.modal.ledger import GRACE_S, START_S, Ledger


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_ledger(clock: Clock, **changes: float) -> Ledger:
    values = {"idle_s": 60.0, "most": 2, "kept": 0, **changes}
    ledger = Ledger(0.5, clock=clock, **values)  # type: ignore[arg-type]
    ledger.open()
    return ledger


def test_a_container_costs_from_its_start_while_it_waits_too(clock: Clock) -> None:
    ledger = a_ledger(clock)
    assert ledger.usd == 0
    clock.now += 30
    ledger.saw("a", 20.0)
    assert ledger.seconds == START_S + 20
    clock.now += 40
    assert ledger.seconds == START_S + 60
    assert ledger.usd == (START_S + 60) / 2
    assert ledger.usd_per_s == 0.5


def test_one_that_is_idle_for_longer_has_ended_unless_it_answers_again(clock: Clock) -> None:
    ledger = a_ledger(clock)
    clock.now += 10
    ledger.saw("a", 10.0)
    clock.now += 500
    assert ledger.seconds == 10 + 60
    ledger.saw("a", 510.0)  # It was busy all the while.
    assert ledger.seconds == 510


def test_those_that_are_kept_do_not_end_by_idling(clock: Clock) -> None:
    ledger = a_ledger(clock, kept=1)
    clock.now += 10
    ledger.saw("a", 10.0)
    ledger.saw("b", 10.0)
    clock.now += 1
    ledger.saw("b", 11.0)
    clock.now += 500
    assert ledger.seconds == (10 + 60) + 511


def test_one_that_retires_ends_in_the_time_it_is_given(clock: Clock) -> None:
    ledger = a_ledger(clock, kept=1)
    clock.now += 5
    ledger.saw("a", 5.0, last=True)
    clock.now += 100
    assert ledger.seconds == 5 + GRACE_S
    assert ledger.usd_per_s == 0


def test_one_that_starts_costs_before_it_answers(clock: Clock) -> None:
    ledger = a_ledger(clock)
    clock.now += 60  # Nothing is charged while there is none.
    assert ledger.usd_per_s == 0
    ledger.starting()
    clock.now += 10
    assert ledger.seconds == START_S + 10
    assert ledger.usd_per_s == 0.5
    ledger.saw("a", 10.0)
    assert ledger.seconds == START_S + 10


def test_one_of_which_nothing_more_is_known_is_counted_for_as_long_as_it_may_live(
    clock: Clock,
) -> None:
    ledger = a_ledger(clock)
    clock.now += 3
    ledger.saw("a", 3.0)
    ledger.close(60.0)
    assert ledger.seconds == 63
    assert ledger.usd_per_s == 0


def test_a_new_one_beyond_the_most_says_that_another_has_ended(clock: Clock) -> None:
    ledger = a_ledger(clock, most=1)
    clock.now += 10
    ledger.saw("a", 10.0)
    clock.now += 20
    # `a` was lost before `b` began, not quite 15 s after it was heard of.
    assert ledger.saw("b", 5.0) == ["a"]
    clock.now += 10
    assert ledger.seconds == (10 + 15 - START_S) + (15 + START_S)
    assert ledger.containers == 2


def test_no_container_is_older_than_the_app(clock: Clock) -> None:
    ledger = a_ledger(clock)
    clock.now += 3
    ledger.saw("deployed long ago", 90_000.0)
    assert ledger.seconds == 3


def test_nothing_is_counted_after_the_end(clock: Clock) -> None:
    ledger = a_ledger(clock)
    clock.now += 3
    ledger.saw("a", 3.0)
    ledger.close()
    clock.now += 1000
    ledger.close()
    assert ledger.seconds == 3
