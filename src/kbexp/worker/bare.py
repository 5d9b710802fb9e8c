"""What a call on a CUDA device takes with nothing to hide behind.

A flush before each call empties the cache and hides how long the host needs to queue the call.
Behind it a kernel's process may work, or in its place: the clock around a block then shows what it
should. So a kernel that came out faster is called without flushes too, and its calls are recorded
as a CUDA graph and replayed, which takes the host no time. The outputs of such a block were made
within it, whatever its process says; so no call takes longer than its share of the block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kbexp.verdict import Interval
from kbexp.worker.clocks import Agreement, Clock

HOST_MS = 0.08
"""What the host may need, beyond what it needs for the reference, to queue one call on a CUDA
device: honest kernels took up to that. What is done during flushes can hide no more than this."""

REPLAYED_BLOCK_MS = 0.3
"""What a graph may seem to take beyond its calls' figures, of 25 calls 0.012 ms each. Honest ones
seemed to take up to 0.015 ms more on an H100, where copying 67 MB took longer after a fast kernel
than after a slow reference; what is then left over is too little to be charged."""


@dataclass(frozen=True, slots=True)
class Bare:
    """Blocks of both sides that were called on a CUDA device without flushes.

    A block has so many `calls`. `replayed_ms` is what a call takes in a CUDA graph, where the host
    needs nothing for it, of the kernel and of the reference; None where calls of either cannot be
    recorded.
    """

    kernel: Clock
    reference: Clock
    calls: int
    replayed_ms: tuple[float, float] | None = None

    def figures(self) -> dict[str, float]:
        """Return what a call takes at least, by the judge's clock alone, in ms."""
        figures = {
            "bare_ms": min(self.kernel.judged_ms),
            "bare_reference_ms": min(self.reference.judged_ms),
        }
        if self.replayed_ms is not None:
            figures["replayed_ms"], figures["replayed_reference_ms"] = self.replayed_ms
        return figures


def compare_bare(usual: Agreement, bare: Bare, reference_ms: float) -> Agreement:
    """Return what the clocks say once blocks without flushes are known.

    With nothing to hide behind, a call takes what it takes, or what the host needs to queue it; the
    shortest block counts, since the outputs of each were made within it, and what is longer was
    held up. That is the most that may be charged: what lies around a call by chance in one process
    is not its work. And work that was done while the cache was flushed, or in its place, comes to
    light, but for `HOST_MS`: as much the host may need beyond what it needs for the reference. In a
    graph it needs nothing, and no more than a call's share of `REPLAYED_BLOCK_MS` is left open;
    there, nothing is charged beyond what the graph shows: within a process clocks may disagree for
    certain, in every block, of an honest kernel too.

    `reference_ms` is what a call of the reference takes behind a flush.
    """
    call_ms = min(bare.kernel.judged_ms)
    beside_ms = max(0.0, min(bare.reference.beside_ms))
    bound_ms = call_ms - beside_ms
    if bare.replayed_ms is None:
        around_ms = max(beside_ms, min(bare.reference.judged_ms) - reference_ms)
        surely_ms = call_ms - around_ms - HOST_MS
    else:
        kernel_ms, replayed_reference_ms = bare.replayed_ms
        bound_ms = min(bound_ms, kernel_ms - max(0.0, replayed_reference_ms - reference_ms))
        surely_ms = bound_ms - REPLAYED_BLOCK_MS / bare.calls
    most_ms = max(0.0, bound_ms - usual.reported_ms)
    least_ms = max(0.0, surely_ms - usual.reported_ms)
    # The clock around a block of short calls is known to some 0.012 ms a call, as much as a graph
    # leaves open, and is off by that for all blocks of some processes.
    figure = usual.unreported
    wanted_ms = (figure.value, figure.low, figure.high)
    if bare.replayed_ms is not None:
        wanted_ms = (least_ms, least_ms, figure.high)
    between = [min(max(ms, least_ms), most_ms) for ms in wanted_ms]
    return replace(usual, unreported=Interval(*between))
