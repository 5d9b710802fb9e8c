"""What the reference takes where no kernel's process is left to slow it down.

A held process runs no more, but what it has queued on a CUDA device goes on beside the reference's
calls. On an H100 the driver gives processes turns of some 2 ms: calls of 0.3 ms took as long as
ever, calls of 2.3 ms 4.8 ms. So the reference is timed once more when a kernel that came out faster
has ended.
"""

from __future__ import annotations

from dataclasses import replace

from kbexp.verdict import Interval
from kbexp.worker.outcome import Outcome

SLOWED_SHARE = 0.1
"""The share by which the reference may be slower beside a kernel's process. A kernel that draws
more power lowers the clock of the device for both."""


def beside_nothing(outcome: Outcome, alone_ms: float) -> Outcome:
    """Return an outcome by the reference's speed alone, where it was slower beside the kernel.

    `alone_ms` is what a call of it took then, in ms.
    """
    if outcome.reference_ms is None or outcome.speedup is None:
        return outcome
    beside_ms = outcome.reference_ms.value
    if alone_ms * (1 + SLOWED_SHARE) > beside_ms:
        return outcome
    share = alone_ms / beside_ms
    reason = (
        f"the reference took {beside_ms:.3g} ms a call beside the kernel's process and "
        f"{alone_ms:.3g} ms once that had ended, which counts"
    )
    return replace(
        outcome,
        reference_ms=_scaled(outcome.reference_ms, share),
        speedup=_scaled(outcome.speedup, share),
        reasons=(*outcome.reasons, reason),
    )


def _scaled(interval: Interval, factor: float) -> Interval:
    return Interval(factor * interval.value, factor * interval.low, factor * interval.high)
