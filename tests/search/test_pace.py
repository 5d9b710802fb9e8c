"""The pace of a stream: with a slow model all calls, with a slow evaluator a few kernels ready."""

from __future__ import annotations

from kbexp.search.pace import Pace


def test_what_is_not_known_holds_nothing_up() -> None:
    pace = Pace(1)
    assert pace.allows(100, 100)
    pace.sent(0)
    pace.answered(0)
    assert pace.allows(100, 100)


def paced(ready: int, call_s: float, verdict_s: float) -> Pace:
    now = 0.0
    pace = Pace(ready, lambda: now)
    for number in range(20):
        pace.sent(number)
        now += call_s
        pace.answered(number)
        pace.begun()
        now += verdict_s
        pace.judged(idle=True)
    return pace


def test_a_slow_evaluator_has_a_few_kernels_ready() -> None:
    pace = paced(3, call_s=0.01, verdict_s=5.0)
    assert pace.allows(2, 0)
    assert pace.allows(1, 1)
    assert not pace.allows(3, 1)
    assert not pace.allows(0, 4)


def test_a_slow_model_has_as_many_calls_as_the_evaluator_can_follow() -> None:
    pace = paced(3, call_s=20.0, verdict_s=1.0)
    assert pace.allows(0, 16)
    assert pace.allows(10, 12)
    assert not pace.allows(16, 8)


def test_devices_that_work_side_by_side_are_faster_than_one() -> None:
    now = 0.0
    pace = Pace(2, lambda: now)
    pace.sent(0)
    now = 4.0
    pace.answered(0)
    for _ in range(40):  # two verdicts a second, each after two seconds of work
        pace.begun()
        now += 0.5
        pace.judged(idle=False)
    assert pace.allows(0, 9)
    assert not pace.allows(0, 10)
