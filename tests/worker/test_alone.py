"""What holds of a verdict once the kernel's process has ended."""

from __future__ import annotations

import pytest

from kbexp.verdict import Interval, Phase, Status
from kbexp.worker.alone import beside_nothing
from kbexp.worker.outcome import Outcome

FASTER = Outcome(
    Status.CORRECT,
    Phase.TIMING,
    time_ms=Interval(2.0, 1.9, 2.1),
    reference_ms=Interval(4.8, 4.7, 4.9),
    speedup=Interval(2.4, 2.2, 2.5),
)


def test_a_reference_that_was_slowed_down_counts_as_it_is_alone() -> None:
    found = beside_nothing(FASTER, 2.4)
    assert found.reference_ms is not None
    assert found.speedup is not None
    assert found.reference_ms.value == pytest.approx(2.4)
    assert (found.speedup.low, found.speedup.value, found.speedup.high) == pytest.approx(
        (1.1, 1.2, 1.25)
    )
    assert found.time_ms == FASTER.time_ms
    assert "took 4.8 ms a call beside the kernel's process and 2.4 ms" in found.reasons[-1]


@pytest.mark.parametrize("alone_ms", [4.4, 4.8, 20.0])
def test_one_that_was_not_counts_as_it_was(alone_ms: float) -> None:
    assert beside_nothing(FASTER, alone_ms) == FASTER
