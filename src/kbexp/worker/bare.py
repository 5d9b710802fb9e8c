"""What a call on a CUDA device takes with nothing to hide behind.

A flush before each call empties the cache and hides how long the host needs to queue the call.
Behind it a kernel's process may work, or in its place: the clock around a block then shows what it
should. So a kernel that came out faster is called without flushes too, and its calls are recorded
as a CUDA graph and replayed, which takes the host no time, or made one by one where they cannot be
recorded. The outputs were made within what the judge's clock saw, whatever a process says; so no
call takes longer than its share of that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from kbexp.verdict import Interval
from kbexp.worker.clocks import Agreement, Clock

HOST_MS = 0.08
"""What the host may need, beyond what it needs for the reference, to queue a call on a CUDA device:
honest kernels took up to that."""

BLOCK_MS = 0.45
"""What a block without flushes may seem to take beyond its calls' figures, of 25 calls 0.018 ms
each. Honest calls in a graph seemed to take up to 0.02 ms more than they report on H100s with slow
hosts; a reference of several operations is faster in a graph than in its figure. What is then left
over is too little to be charged."""

MOST_OPEN_MS = 0.03
"""What of that is left open of a call at most, where slots are so large that a block has few calls.
Honest ones seemed to take up to 0.029 ms more in graphs of 4 to 23 calls."""


@dataclass(frozen=True, slots=True)
class Bare:
    """Blocks of both sides that were called on a CUDA device without flushes.

    A block has so many `calls`. `reference_ms` is what a call of the reference takes behind a
    flush, with no kernel's process beside it, and `copy_ms` what a copy of a call's outputs does.
    `kept_ms` is what a call of the kernel and of the reference takes where outputs are asked for
    later, and `replayed_ms` the same in a CUDA graph, where the host needs nothing for it; None
    where that cannot be, or was not needed. Without CUDA IPC, where memory is not `on_device`, it
    never can. `device_ms` is what a call of the reference takes in a graph, if that can be, where
    the kernel's could not be recorded.
    """

    kernel: Clock
    reference: Clock
    calls: int
    reference_ms: float
    copy_ms: float = 0.0
    kept_ms: tuple[float, float] | None = None
    replayed_ms: tuple[float, float] | None = None
    on_device: bool = True
    device_ms: float | None = None

    def figures(self) -> dict[str, float]:
        """Return what a call takes at least, by the judge's clock alone, in ms."""
        figures = {
            "bare_ms": min(self.kernel.judged_ms),
            "bare_reference_ms": min(self.reference.judged_ms),
            "reference_alone_ms": self.reference_ms,
        }
        for name, both in (("kept", self.kept_ms), ("replayed", self.replayed_ms)):
            if both is not None:
                figures[f"{name}_ms"], figures[f"{name}_reference_ms"] = both
        if self.device_ms is not None:
            figures["replayed_reference_ms"] = self.device_ms
        return figures

    @property
    def uses_again(self) -> bool:
        """True where outputs were not to be had later: whatever uses their memory again."""
        return self.kept_ms is None and self.replayed_ms is None

    def doubt(self) -> str:
        """Return in words what that leaves open."""
        open_ms = HOST_MS + self.copy_ms
        return (
            "its outputs could not be asked for after its calls, as those of most kernels can: "
            f"up to {open_ms:.2g} ms a call may be hidden"
        )

    def bound_ms(self) -> float:
        """Return the most that a call of the kernel can take."""
        in_blocks = min(self.kernel.judged_ms), min(self.reference.judged_ms)
        kernel_ms, reference_ms = self.replayed_ms or self.kept_ms or in_blocks
        # What the reference's host needs beyond its device is no part of a kernel's call: whoever
        # cannot be recorded, and hardly needs its host, would hide as much.
        around_ms = reference_ms if self.device_ms is None else min(reference_ms, self.device_ms)
        return kernel_ms - max(0.0, around_ms - self.reference_ms)

    def host_ms(self) -> float:
        """Return what the reference's host needs beyond its device, as far as that is known."""
        reference_ms = self.kept_ms[1] if self.kept_ms else min(self.reference.judged_ms)
        return max(0.0, reference_ms - max(self.device_ms or reference_ms, self.reference_ms))


def compare_bare(usual: Agreement, bare: Bare) -> Agreement:
    """Return what the clocks say once blocks without flushes are known.

    With nothing to hide behind, a call takes what it takes, or what the host needs to queue it.
    The shortest time counts, since the outputs were made within it, and what is longer was held up.
    Work that was done while the cache was flushed, or in its place, comes to light.

    What a call takes so is charged, but for its share of `BLOCK_MS`, and no more is: within a
    process the usual clocks may disagree for certain, in every block, of an honest kernel too. In
    a graph the host needs nothing. A kernel that cannot be recorded is charged what its host needs,
    since whoever calls it waits for that; it may be `HOST_MS` less, and as much less as the
    reference's host needs, which its interval has. What that needs is not taken off: a kernel that
    needs its host for one launch would hide as much. Where it uses the memory of its outputs again,
    it may have saved a copy. Without CUDA IPC these blocks show no more than the usual ones, and
    what is more counts.
    """
    beyond_ms = bare.bound_ms() - usual.reported_ms
    charged_ms = max(0.0, beyond_ms - min(BLOCK_MS / bare.calls, MOST_OPEN_MS))
    most_ms = max(0.0, beyond_ms)
    if bare.replayed_ms is not None:
        high_ms = min(max(usual.unreported.high, charged_ms), most_ms)
        return replace(usual, unreported=Interval(charged_ms, charged_ms, high_ms))
    if not bare.on_device and usual.unreported.value > charged_ms:
        return usual
    low_ms = min(charged_ms, max(0.0, beyond_ms - HOST_MS - bare.host_ms()))
    high_ms = most_ms + (bare.copy_ms if bare.uses_again else 0.0)
    return replace(usual, unreported=Interval(charged_ms, low_ms, high_ms))
