"""One evaluation as the judge sees it: load both sides, check answers, take the time."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from kbexp.config import EvaluatorConfig, Profile
from kbexp.verdict import Phase, ProfileRow, Status
from kbexp.worker.alone import beside_nothing
from kbexp.worker.bare import Bare, compare_bare
from kbexp.worker.calling import CHECKED_SHARE, Caller
from kbexp.worker.clocks import Agreement, Clock, compare_clocks
from kbexp.worker.conditions import Conditions, Growth
from kbexp.worker.examination import Examination
from kbexp.worker.loading import Loading
from kbexp.worker.memory import Lending
from kbexp.worker.outcome import Outcome, Stop
from kbexp.worker.problems import secret_chance, varied_trial
from kbexp.worker.profile import PROFILE_CALLS, PROFILE_LIMIT_S
from kbexp.worker.reference import Problem
from kbexp.worker.scrutiny import Scrutiny
from kbexp.worker.side import Side
from kbexp.worker.timing import FEWEST_CALLS, RESOLUTION, Stopwatch, calls_per_block

CHECKED_BLOCKS = 6
"""Blocks of which an output was checked before a kernel is called faster. Whoever leaves out the
work in six calls of ten, which the median of a block needs, is found out in all but one of 240
evaluations."""

RENEWED_PAIRS = 6
MOST_RENEWED_PAIRS = 30
"""Pairs of blocks on inputs that are new as a whole, before a kernel is called faster; the second
where the first few say that it is slower, or their clocks disagree, which may be noise."""

MOST_UNCLEAR_PAIRS = 30
UNCLEAR_TIME = 2.0
"""Pairs, and the multiple of the settings' time, that are spent on clocks that disagree unclearly.
With 30 pairs the clock around blocks of 25 short calls is known to some 0.003 ms a call."""

Clocks = tuple[Clock, Clock]
"""The kernel's and the reference's."""


class Judgement:
    """One evaluation, over the sockets of two fresh runners that are treated alike.

    `lent` are the descriptors of their channels and of their leashes, the kernel's first. Memory
    for them comes from `lending`. `flush_ms` is the least that a flush takes on a CUDA device.
    """

    def __init__(
        self,
        problem: Problem,
        examined: Examination,
        settings: EvaluatorConfig,
        device: str,
        lending: Lending,
        lent: list[int],
        flush_ms: float,
    ) -> None:
        self._problem = problem
        self._examined = examined
        self._settings = settings
        self._device = device
        ends = [socket.socket(fileno=fd) for fd in lent]
        self._kernel = Side("the kernel", ends[0], ends[2], blamed=True)
        self._baseline = Side("the reference", ends[1], ends[3], blamed=False)
        self._random = secret_chance()
        self._lending = lending
        self._flush_ms = flush_ms
        self._conditions = Conditions(device)
        sides = self._kernel, self._baseline
        self._caller = Caller(*sides, problem, examined, self._lending, device, self._random)
        self._loading = Loading(
            *sides,
            self._caller,
            problem,
            examined.layout,
            lending,
            settings,
            device,
            self._conditions,
            self._random,
        )

    def close(self) -> None:
        """Take back the memory that was lent to the runners, and hang up."""
        self._kernel.close()
        self._baseline.close()
        self._lending.close()

    def outcome(
        self,
        kernel: str,
        task: str,
        meanwhile: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> Outcome:
        """Judge `kernel` against the reference `task`, both as module texts.

        What `meanwhile` gives surrounds all that comes before timing.
        """
        started = timing_started = time.monotonic()
        try:
            with meanwhile():
                self._loading.load(kernel, task)
                with self._conditions.growth(Growth.calls):
                    kernel_ns = self._check_correctness()
            timing_started = time.monotonic()
            outcome = self._time(kernel_ns)
        except Stop as stop:
            outcome = stop.outcome
        ended = time.monotonic()
        timed = timing_started > started
        return replace(
            outcome,
            transport=self._lending.transport,
            correctness_s=(timing_started if timed else ended) - started,
            timing_s=ended - timing_started if timed else 0.0,
        )

    def _check_correctness(self) -> int:
        """Call the kernel on every trial's inputs, in random order; return its last time in ns.

        Some come twice, so that nobody can count on when the timed calls begin.
        """
        self._kernel.enter(Phase.CORRECTNESS, self._settings.run_timeout_s)
        trials = self._problem.trials + self._problem.varied
        trials = trials + self._random.choices(trials, k=self._random.randrange(2))
        self._random.shuffle(trials)
        return self._caller.on_trials(trials).times_ns[-1]

    def _check_variants(self) -> None:
        """Call the kernel once more on every kind of varied inputs, late and unannounced."""
        self._kernel.enter(Phase.CORRECTNESS, self._settings.run_timeout_s)
        for kind in self._random.sample(self._examined.kinds, len(self._examined.kinds)):
            promised = self._examined.promised
            trial = varied_trial(self._problem, kind, self._random, promised)
            if trial is not None:
                self._caller.on_trials([trial])

    def _enter_timing(self) -> None:
        """Give both sides the time that a part of the measuring may take."""
        settings = self._settings
        limit_s = settings.run_timeout_s + UNCLEAR_TIME * settings.timing_s + settings.energy_s
        for side in (self._kernel, self._baseline):
            side.enter(Phase.TIMING, limit_s)

    def _time(self, kernel_ns: int) -> Outcome:
        """Alternate blocks of kernel and reference until the figures are good enough."""
        settings = self._settings
        self._enter_timing()
        calls = self._settle_calls(kernel_ns)
        resolution = RESOLUTION[self._device.partition(":")[0]]
        watch = Stopwatch(settings, self._random.getrandbits(32), resolution)
        self._conditions.begin()
        while not watch.enough() or self._too_little_checked(watch) or self._unclear(watch):
            self._time_pair(watch, calls, check=watch.enough())
        usual = self._kernel.clock, self._baseline.clock
        fresh = Stopwatch(settings, self._random.getrandbits(32), resolution)
        if watch.seems_faster() and self._caller.can_renew:
            self._time_renewed(watch, fresh, calls)
        renewed = self._kernel.clock, self._baseline.clock
        self._check_variants()
        self._enter_timing()
        conditions = self._conditions.end(self._caller.neighbours.contended())
        # What other machines take of the processor comes in bursts, which blocks do not average.
        stolen = float(conditions["steal_share"]) if self._device == "cpu" else 0.0
        self._measure_energy(calls)
        again = self._device == "cpu" and watch.seems_faster() and self._uses_again()
        bare, profile = self._last_looks(watch, calls)
        writing_ms = self._writing_ms(bare) if watch.seems_faster() else 0.0
        agreement = self._agreement(usual, stolen, bare)
        watch.charge(agreement.charged)
        raised = watch.raise_to(writing_ms)
        if fresh.kernel_ms:
            other = self._agreement(renewed, stolen, bare)
            fresh.charge(other.charged)
            raised_too = fresh.raise_to(writing_ms)
            if watch.seems_slower(fresh):
                watch, agreement, raised = fresh, other, raised_too
        watch.widen(stolen / 2)
        figures = watch.figures()
        outcome = Outcome(
            Status.CORRECT,
            Phase.TIMING,
            self._remarks(agreement, bare, again) + (_written(writing_ms) if raised else ()),
            time_ms=figures.time_ms,
            reference_ms=figures.reference_ms,
            speedup=figures.speedup,
            metrics={
                "pairs": figures.pairs,
                "calls": figures.calls,
                "called_s": self._caller.called_ns / 1e9,
                "checked": self._caller.checked,
                "unreported_ms": agreement.unreported.value,
                **(bare.figures() if bare is not None else {}),
                **self._conditions.figures(),
            },
            conditions=conditions,
            profile=profile,
        )
        return outcome if bare is None else beside_nothing(outcome, bare.reference_ms)

    def _time_renewed(self, watch: Stopwatch, fresh: Stopwatch, calls: int) -> None:
        """Take the time on inputs that are new as a whole, in clocks of their own.

        Among many others, those of six pairs would not show. Where inputs take long to draw, blocks
        have fewer calls.
        """
        self._enter_timing()
        self._kernel.clock, self._baseline.clock = Clock(), Clock()
        anew = self._caller.draws.most(calls)
        few = calls if self._caller.can_mix else min(calls, FEWEST_CALLS)
        fewer = anew if anew >= FEWEST_CALLS else few
        while self._renew_more(watch, fresh):
            self._time_pair(fresh, fewer, check=True, renew=True)

    def _writing_ms(self, bare: Bare | None) -> float:
        """Return what writing the outputs of a call takes at least, where that has to be done.

        Half of a copy, which reads them, too. Outputs that are made only where they are asked for,
        in the place of a copy, would else take no time at all. A reference may hand over parts of
        its inputs, or few elements again and again; then a kernel may.
        """
        if self._examined.aliases or self._baseline.clock.strided:
            return 0.0
        return (self._caller.copy_ms() if bare is None else bare.copy_ms) / 2

    def _last_looks(
        self, watch: Stopwatch, calls: int
    ) -> tuple[Bare | None, tuple[ProfileRow, ...]]:
        """Look closer at a kernel that came out faster on a device, and profile it where asked to.

        It is not called any more after this, and its process may have ended.
        """
        scrutiny = None
        if watch.seems_faster() and self._device != "cpu":
            self._enter_timing()
            reference_ms = min(watch.reference_ms)  # Others may have slowed down the rest.
            sides = self._kernel, self._baseline
            scrutiny = Scrutiny(self._caller, *sides, self._settings, calls, reference_ms)
            scrutiny.look_at_kernel()
        profile = self._profile() if self._settings.profile == Profile.torch else ()
        if scrutiny is None:
            return None, profile
        self._enter_timing()
        return scrutiny.look_at_reference(), profile

    def _uses_again(self) -> bool:
        """Return whether a kernel's call overwrites what the call before it returned, on a CPU.

        Nothing is left to be measured but a profile.
        """
        self._kernel.enter(Phase.TIMING, self._settings.run_timeout_s)
        try:
            return self._caller.uses_again()
        except Stop:
            return False

    def _remarks(self, agreement: Agreement, bare: Bare | None, again: bool) -> tuple[str, ...]:
        """Return what is to be said of a correct kernel.

        `again` says that a call overwrites what the one before returned.
        """
        remarks = [str(agreement)] if agreement.charged.value else []
        if bare is not None and bare.uses_again:
            remarks.append(bare.doubt())
        if again:
            remarks.append(
                "a call overwrites what the call before it returned, which whoever called it may "
                "still need"
            )
        if self._caller.overwrites:
            remarks.append("it writes to its inputs, which whoever calls it may still need")
        return tuple(remarks)

    def _profile(self) -> tuple[ProfileRow, ...]:
        """Have the kernel profiled, now that nothing is left to be measured.

        Whatever its process does meanwhile, the figures stand: the worst is that there is no
        profile.
        """
        self._kernel.enter(Phase.TIMING, min(PROFILE_LIMIT_S, self._settings.run_timeout_s))
        try:
            return self._caller.profiled(PROFILE_CALLS)
        except Stop:
            return ()

    def _settle_calls(self, kernel_ns: int) -> int:
        """Return how many calls a block has, for a kernel that takes about so long."""
        # Blocks of both sides have equally many calls: the first of a block are slower, so that
        # blocks of different length would differ for one and the same kernel. The first pair only
        # settles how many.
        reference_ns = self._caller.block(self._baseline, 1, check=False).times_ns[0]
        calls = calls_per_block(max(kernel_ns, reference_ns), self._settings)
        warm = self._caller.pair(calls)
        return calls_per_block(max(min(b.times_ns) for b in warm.values()), self._settings)

    def _time_pair(
        self, watch: Stopwatch, calls: int, check: bool = False, renew: bool = False
    ) -> None:
        """Run a pair of blocks; `watch` and the clocks of both sides take it in."""
        pair = self._caller.pair(calls, check, renew)
        watch.add(pair[self._kernel].times_ns, pair[self._baseline].times_ns)
        for side, block in pair.items():
            side.clock.add(watch.last_ms(side is self._kernel), block.judged_ns / calls / 1e6)

    def _measure_energy(self, calls: int) -> None:
        """Call the kernel alone for as long as the settings want its energy measured.

        Without flushes: they would take more than many a call, and the kernel's process, which
        makes them, could leave them out.
        """
        flushes, self._caller.flushes = self._caller.flushes, 0
        meter = self._conditions.meter(self._settings.energy_s)
        while meter.more():
            # Comparing leaves the device idle: seldom enough that most of the time is the kernel's.
            self._caller.block(self._kernel, calls, check=self._random.random() < CHECKED_SHARE)
            meter.look(calls)
        self._caller.flushes = flushes

    def _too_little_checked(self, watch: Stopwatch) -> bool:
        """Return True where a kernel that looks faster has not been looked at often enough."""
        return self._caller.checked < CHECKED_BLOCKS and watch.may_be_faster()

    def _renew_more(self, watch: Stopwatch, fresh: Stopwatch) -> bool:
        """Return whether another pair on renewed inputs is worth its time."""
        pairs = len(fresh.kernel_ms)
        if pairs < RENEWED_PAIRS:
            return True
        if pairs >= MOST_RENEWED_PAIRS or fresh.late(UNCLEAR_TIME):
            return False
        return watch.seems_slower(fresh) or self._clocks_now().unclear

    def _unclear(self, watch: Stopwatch) -> bool:
        """Return whether more pairs are worth their time to know what a fast kernel is charged."""
        if len(watch.kernel_ms) >= MOST_UNCLEAR_PAIRS or watch.late(UNCLEAR_TIME):
            return False
        return watch.may_be_faster() and self._clocks_now().unclear

    def _clocks_now(self) -> Agreement:
        """Compare the clocks as far as they have come."""
        return self._compared((self._kernel.clock, self._baseline.clock), 0.0)

    def _agreement(self, clocks: Clocks, stolen: float, bare: Bare | None) -> Agreement:
        """Compare the runners' clocks with this process's; a disagreement ends the evaluation."""
        agreement = self._compared(clocks, stolen)
        if agreement.rejected:
            raise Stop(Outcome(Status.REJECTED, Phase.TIMING, (str(agreement),)))
        if bare is None:
            return agreement
        return compare_bare(agreement, bare)

    def _compared(self, clocks: Clocks, stolen: float) -> Agreement:
        contended = self._caller.neighbours.contended()
        flushes_ms = self._caller.flushes * self._flush_ms
        return compare_clocks(*clocks, flushes_ms, contended, stolen)


def _written(writing_ms: float) -> tuple[str, ...]:
    return (
        f"writing its outputs takes {writing_ms:.3g} ms a call at least on this device, which is "
        "more than its process reports, and counts",
    )
