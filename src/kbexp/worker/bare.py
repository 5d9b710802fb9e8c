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
from kbexp.worker.clocks import Agreement

HOST_MS = 0.08
"""What the host may need, beyond what it needs for the reference, to queue a call on a CUDA device:
honest kernels took up to that. And the most that is left open of a call made alone for its host."""

BLOCK_MS = 0.45
"""What a block without flushes may seem to take beyond its calls' figures, of 25 calls 0.018 ms
each. Honest calls in a graph seemed to take up to 0.02 ms more than they report on H100s with slow
hosts."""

MOST_OFF_MS = 0.03
"""The most of that for a call, where slots are so large that a block has few calls.
Honest ones seemed to take up to 0.029 ms more in graphs of 4 to 23 calls."""

LONE_MS = 0.03
"""What a call that is made alone may seem to take beyond its figure, besides what its host needs
where it cannot be recorded. In graphs, honest kernels seemed to take 0.025 ms more than they report
at most (41 evaluations on an H200), and 0.039 ms once in 26 on one with a slow host."""

MOST_SLOWER = 0.25
"""The most by which calls in a graph may be slower for want of power."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a call of one side takes without flushes, at least, by the judge's clock alone, in ms.

    `in_blocks_ms` where every output is copied right after its call, `kept_ms` where outputs are
    asked for later, and `replayed_ms` in a CUDA graph, where the host needs nothing for a call;
    None where that cannot be, or was not needed. Without CUDA IPC only blocks can be.
    """

    in_blocks_ms: float | None = None
    kept_ms: float | None = None
    replayed_ms: float | None = None

    def then(self, taken_ms: float | None, graph: bool) -> Seen:
        """Return what is known once outputs were asked for later, or a graph of calls replayed.

        What was seen once stands where it cannot be seen again: no call took longer than that.
        """
        before = self.replayed_ms if graph else self.kept_ms
        seen_ms = min((ms for ms in (before, taken_ms) if ms is not None), default=None)
        return replace(self, replayed_ms=seen_ms) if graph else replace(self, kept_ms=seen_ms)


@dataclass(frozen=True, slots=True)
class Look:
    """Calls without flushes, so many at a time, and `later_calls` with outputs asked for later.

    One that is made alone is copied at once in a graph, too. `nothing` is the reference's runner
    where it makes no calls and hands over all the same: what lies around a call. It is None without
    CUDA IPC. The `reference` is None where it was not called so.
    """

    calls: int
    later_calls: int
    kernel: Seen
    reference: Seen | None
    nothing: Seen | None = None

    @property
    def in_graph(self) -> bool:
        """True where calls were recorded."""
        both = self.kernel, self.nothing
        return all(seen is not None and seen.replayed_ms is not None for seen in both)

    @property
    def asked_later(self) -> bool:
        """True where outputs were to be had later."""
        both = self.kernel, self.nothing
        kept = all(seen is not None and seen.kept_ms is not None for seen in both)
        return kept or self.in_graph

    @property
    def at_once(self) -> int:
        """Of how many calls the figure is that counts."""
        return self.later_calls if self.asked_later else self.calls

    @property
    def off_ms(self) -> float:
        """What clocks may be off by, for each call."""
        return min(BLOCK_MS / self.at_once, MOST_OFF_MS) if self.at_once > 1 else LONE_MS

    def sure_ms(self, beyond_ms: float, reference_ms: float) -> float:
        """Return by how much a call surely takes longer than reported, if it seems to by that.

        One that is made alone, and cannot be recorded, may need its host as the reference does;
        without CUDA IPC nobody knows what that needs.
        """
        if self.at_once > 1 or self.in_graph:
            return beyond_ms - self.off_ms
        host_ms = HOST_MS
        if self.nothing is not None:
            host_ms = min(self.host_ms(reference_ms), HOST_MS)
        return beyond_ms - self.off_ms - host_ms

    def slower(self, reference_ms: float) -> float:
        """Return by which share a call takes longer in a graph than behind a flush, at least.

        Known from the reference: a device lowers its clocks where it computes for long without
        pause. On an H200 honest kernels took up to a quarter longer so.
        """
        if not self.in_graph or self.reference is None or self.reference.replayed_ms is None:
            return 0.0
        longer_ms = self._least_ms(self.reference) - self._around_ms(reference_ms) - reference_ms
        return min(max(0.0, longer_ms - self.off_ms) / reference_ms, MOST_SLOWER)

    def bound_ms(self, reference_ms: float) -> float:
        """Return the most that a call of the kernel can take, where the reference takes that."""
        least_ms = self._least_ms(self.kernel) - self._around_ms(reference_ms)
        return least_ms / (1 + self.slower(reference_ms))

    def host_ms(self, reference_ms: float) -> float:
        """Return what the reference's host needs beyond its device, as far as that is known."""
        if self.reference is None:
            return 0.0
        beside_ms = self._least_ms(self.reference) - self._around_ms(reference_ms)
        return max(0.0, beside_ms - reference_ms)

    def _around_ms(self, reference_ms: float) -> float:
        # What the reference's host needs beyond its device is no part of a kernel's call: whoever
        # cannot be recorded, and hardly needs its host, would hide as much. And in a graph, with
        # nothing flushed, a reference of several operations may take less than its figure says.
        if self.nothing is not None:
            return self._least_ms(self.nothing)
        assert self.reference is not None
        return max(0.0, self._least_ms(self.reference) - reference_ms)

    def _least_ms(self, seen: Seen) -> float:
        """Return the figure of the last of the ways that kernel and `nothing` took."""
        found = seen.in_blocks_ms
        if self.in_graph and seen.replayed_ms is not None:
            found = seen.replayed_ms
        elif self.asked_later and seen.kept_ms is not None:
            found = seen.kept_ms
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Bare:
    """What was seen of a kernel without flushes: of `many` calls at a time, and of a `lone` one.

    `reference_ms` is what a call of the reference takes behind a flush, with no kernel's process
    beside it, and `copy_ms` what a copy of a call's outputs does. `on_device` says that memory is
    lent on the device itself, by CUDA IPC.
    """

    many: Look
    lone: Look
    reference_ms: float
    copy_ms: float = 0.0
    on_device: bool = True

    def figures(self) -> dict[str, float]:
        """Return what a call takes at least, by the judge's clock alone, in ms."""
        figures = {"reference_alone_ms": self.reference_ms}
        for size, look in (("", self.many), ("lone_", self.lone)):
            sides = {"": look.kernel, "reference_": look.reference, "nothing_": look.nothing}
            for side, seen in sides.items():
                if seen is None:
                    continue
                ways = ("bare", seen.in_blocks_ms), ("kept", seen.kept_ms)
                for way, ms in (*ways, ("replayed", seen.replayed_ms)):
                    if ms is not None:
                        figures[f"{size}{way}_{side}ms"] = ms
        return figures

    @property
    def uses_again(self) -> bool:
        """True where outputs were not to be had later: whatever uses their memory again."""
        return not self.many.asked_later

    def doubt(self) -> str:
        """Return in words what that leaves open."""
        open_ms = HOST_MS + self.copy_ms
        return (
            "its outputs could not be asked for after its calls, as those of most kernels can: "
            f"up to {open_ms:.2g} ms a call may be hidden"
        )


def compare_bare(usual: Agreement, bare: Bare) -> Agreement:
    """Return what the clocks say once calls without flushes are known.

    With nothing to hide behind, a call takes what it takes, or what the host needs to queue it.
    The shortest time counts, since the outputs were made within it, and what is longer was held up.
    Work that was done while the cache was flushed, or in its place, comes to light; and where a
    call is made alone, work that is done for many calls at once.

    What a call takes so is charged where it is more than its clock may be off by: what is beyond
    that, twice, until all of it is. So what clocks of honest kernels are off by counts for little,
    and of a call that surely took longer nothing is left open. No more is charged: within a
    process the usual clocks may disagree for certain, in every block, of an honest kernel too. In
    a graph the host needs nothing. A kernel that cannot be recorded is charged what its host needs,
    since whoever calls it waits for that; it may be `HOST_MS` less, and as much less as the
    reference's host needs, which its interval has. What that needs is not taken off: a kernel that
    needs its host for one launch would hide as much. Where it uses the memory of its outputs again,
    it may have saved a copy. Without CUDA IPC these calls show no more than the usual ones, and
    what is more counts.
    """
    looks = bare.many, bare.lone
    beyond_ms = [look.bound_ms(bare.reference_ms) - usual.reported_ms for look in looks]
    charged, low = [0.0], [0.0]
    for look, ms in zip(looks, beyond_ms, strict=True):
        sure_ms = look.sure_ms(ms, bare.reference_ms)
        charged.append(sure_ms + min(max(0.0, sure_ms), look.off_ms))
        host_ms = 0.0 if look.in_graph else HOST_MS + look.host_ms(bare.reference_ms)
        low.append(min(sure_ms, ms - host_ms))
    charged_ms, low_ms = max(charged), max(low)
    if not bare.on_device and usual.unreported.value > charged_ms:
        return usual
    if bare.many.in_graph:
        high_ms = min(max(usual.unreported.high, charged_ms), beyond_ms[0])
    else:
        high_ms = max(0.0, *beyond_ms) + (bare.copy_ms if bare.uses_again else 0.0)
    return replace(usual, unreported=Interval(charged_ms, low_ms, max(high_ms, charged_ms)))
