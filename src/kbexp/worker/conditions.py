"""What the device and the machine were like while a kernel was timed.

A figure is no better than the conditions that it was taken under, and a kernel's author can see
neither a clock that fell nor a neighbour that took the processor away. So the judge looks at both
before and after timing, and says so where they moved.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from kbexp.worker import nvml

CLOCK_MOVED = 0.05
"""The share by which the SM clock may move unremarked.

Clocks go in steps of 15 MHz, below 1 % of a recent device's, and wander by a few of them from
moment to moment. Five in a hundred are more than that, and more than the width that an interval
of the speedup is measured down to.
"""

TEMPERATURE_MOVED_C = 15
"""The degrees that a device may warm up unremarked: more than a few seconds of work add to one
that has worked before, less than the way from a cold device to a warm one."""

STEAL_SHARE = 0.03
"""The share of the processor's busy time that other machines may take from a virtual one."""

FEWEST_STEAL_TICKS = 5
"""Fewer ticks (hundredths of a second) of steal are too coarse a figure to warn of."""

SHORTEST_ENERGY_S = 0.25
"""Energy over less is not given: the counter's steps are a tenth of a second, and when it made one
is known to within a block."""

_CPU = "/sys/devices/system/cpu"
_MOST_CORES_ASKED = 64


@dataclass(frozen=True, slots=True)
class Look:
    """The state of things at one moment; ticks are those of all processors together."""

    busy_ticks: int
    stolen_ticks: int
    gpu: nvml.Reading | None


@dataclass(frozen=True, slots=True)
class _Step:
    """When the counter had moved: seconds, joules, and the calls made until then."""

    s: float
    j: float
    calls: int


class EnergyMeter:
    """Energy of calls from a device's counter; without a device it wants nothing.

    The counter moves in steps, a tenth of a second apart on an H100. So what counts is the energy
    between the first step that was seen and the last one, and the calls made between these. No
    clock of the kernel's is in it, and all that the device spends is: to wait in between costs
    what an idle device draws and gains nothing.
    """

    def __init__(self, gpu: nvml.Device | None, wanted_s: float) -> None:
        self._gpu = gpu
        self._until = time.monotonic() + wanted_s
        self._seen_j: float | None = None
        self._calls = 0
        self._steps: list[_Step] = []  # The first and the last.

    def more(self) -> bool:
        """True while there is something to wait for."""
        return self._gpu is not None and time.monotonic() < self._until

    def look(self, calls: int) -> None:
        """Look at the counter after so many more calls; to be called more often than it moves."""
        self._calls += calls
        energy_j = self._gpu.energy_j() if self._gpu is not None else None
        if energy_j is None:
            self._gpu = None
            return
        if self._seen_j is not None and energy_j != self._seen_j:
            self._steps[1:] = [_Step(time.monotonic(), energy_j, self._calls)]
        self._seen_j = energy_j

    def figures(self) -> dict[str, float]:
        """Return `energy_j` of one call and `power_w`, the mean; nothing where little was seen."""
        if len(self._steps) < 2:
            return {}
        first, last = self._steps
        taken_s, spent_j, calls = last.s - first.s, last.j - first.j, last.calls - first.calls
        if taken_s < SHORTEST_ENERGY_S or spent_j <= 0 or calls <= 0:
            return {}
        return {"power_w": spent_j / taken_s, "energy_j": spent_j / calls}


class Growth(enum.StrEnum):
    """What a device's memory grew by: the two constructors, and the kernel's first calls."""

    reference = "reference"
    kernel = "kernel"
    calls = "calls"


class Conditions:
    """Looks before and after, and at memory and energy in between; for one evaluation."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._gpu = None if device == "cpu" else gpu_of(device)
        self._before: Look | None = None
        self._grown_bytes: dict[Growth, int] = {}
        self._meter: EnergyMeter | None = None

    @contextlib.contextmanager
    def growth(self, of: Growth) -> Iterator[None]:
        """Surround what one side alone does: what the device's memory grows by is taken by it."""
        before = held_by_others(self._device)
        yield
        after = held_by_others(self._device)
        if before is not None and after is not None:
            self._grown_bytes[of] = max(0, after - before)

    def _kernel_bytes(self) -> float | None:
        """Return what the kernel took; None where that is not known.

        Of its constructor, what the reference's took too is not the kernel's: its weights.
        """
        grown = self._grown_bytes
        if len(grown) < len(Growth):
            return None
        more = max(0, grown[Growth.kernel] - grown[Growth.reference])
        return float(grown[Growth.calls] + more)

    def begin(self) -> None:
        """Timing begins."""
        self._before = self._look()

    def meter(self, wanted_s: float) -> EnergyMeter:
        """Return a meter for so many seconds of the kernel alone, to be kept for `figures`."""
        self._meter = EnergyMeter(self._gpu, wanted_s)
        return self._meter

    def figures(self) -> dict[str, float]:
        """Return what was measured: `peak_device_bytes`, `power_w` and `energy_j`.

        The last two are of the kernel's calls with what lies between them.
        """
        found = {}
        kernel_bytes = self._kernel_bytes()
        if kernel_bytes is not None:
            found["peak_device_bytes"] = kernel_bytes
        return found if self._meter is None else found | self._meter.figures()

    def end(self, contended: bool = False) -> dict[str, str]:
        """Timing is over: return what is to be known of it, `warning` among it where one is due.

        `contended` says that other programs of this machine wanted its processors meanwhile.
        """
        if self._before is None:
            return {}
        after = self._look()
        found = processor_state()
        if after.gpu is not None:
            found |= _gpu_state(self._before.gpu or nvml.Reading(), after.gpu)
        share, ticks = _steal(self._before, after)
        found["steal_share"] = f"{share:.3g}"
        warnings = gpu_warnings(self._before.gpu, after.gpu)
        if contended and self._device == "cpu":
            warnings.append(
                "other programs on this machine wanted its processors while it was timed: its "
                "interval may not hold, judge it again on a quiet machine"
            )
        if share > STEAL_SHARE and ticks >= FEWEST_STEAL_TICKS:
            warnings.append(
                f"other machines took {share:.0%} of the processor's time while it was timed"
            )
        if warnings:
            found["warning"] = "; ".join(warnings)
        return found

    def _look(self) -> Look:
        busy, stolen = processor_ticks()
        return Look(busy, stolen, self._gpu.read() if self._gpu is not None else None)


def held_by_others(device: str) -> int | None:
    """Return the bytes of a device's memory that are not this process's tensors; None on a CPU."""
    if device == "cpu":
        return None
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return int(total - free - torch.cuda.memory_reserved(device))


@functools.cache
def gpu_of(device: str) -> nvml.Device | None:
    """Return the driver's view of one of torch's CUDA devices, None where there is none."""
    import torch

    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return nvml.open_device("" if uuid is None else f"GPU-{uuid}")


def gpu_warnings(before: nvml.Reading | None, after: nvml.Reading | None) -> list[str]:
    """Return what happened to a device between two looks that its figures may suffer from."""
    warnings: list[str] = []
    if before is None or after is None:
        return warnings
    clocks = before.sm_mhz or 0, after.sm_mhz or 0
    if min(clocks) > 0 and max(clocks) - min(clocks) > CLOCK_MOVED * max(clocks):
        warnings.append(
            f"the SM clock moved from {clocks[0]} to {clocks[1]} MHz while it was timed"
        )
    warmed = abs((after.temperature_c or 0) - (before.temperature_c or 0))
    if before.temperature_c and after.temperature_c and warmed > TEMPERATURE_MOVED_C:
        warnings.append(
            f"the device's temperature went from {before.temperature_c} to {after.temperature_c} "
            "°C while it was timed"
        )
    slowed = nvml.slowed_by((after.slowed_by or 0) & ~nvml.POWER_CAP)
    if slowed:
        warnings.append(f"the device was slowed down: {', '.join(slowed)}")
    return warnings


def _gpu_state(before: nvml.Reading, after: nvml.Reading) -> dict[str, str]:
    figures = {
        "sm_mhz_before": before.sm_mhz,
        "sm_mhz": after.sm_mhz,
        "sm_mhz_max": after.sm_max_mhz,
        "memory_mhz": after.memory_mhz,
        "memory_mhz_max": after.memory_max_mhz,
        "temperature_c_before": before.temperature_c,
        "temperature_c": after.temperature_c,
        "board_power_w": after.power_w,
    }
    found = {name: f"{value:g}" for name, value in figures.items() if value is not None}
    if after.slowed_by is not None:
        found["slowed_by"] = ", ".join(nvml.slowed_by(after.slowed_by)) or "nothing"
    return found


def processor_ticks() -> tuple[int, int]:
    """Return the ticks in which the machine's processors worked, and those stolen from them.

    Steal is what the host of a virtual machine gave to others (proc(5), /proc/stat). Zeros where
    the system does not say.
    """
    words = _text("/proc/stat").partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return 0, 0
    user, nice, system, _, _, interrupts, soft, stolen = map(int, words[1:9])
    return user + nice + system + interrupts + soft, stolen


def _steal(before: Look, after: Look) -> tuple[float, int]:
    stolen = after.stolen_ticks - before.stolen_ticks
    wanted = after.busy_ticks - before.busy_ticks + stolen
    return (stolen / wanted if wanted > 0 else 0.0), stolen


def processor_state() -> dict[str, str]:
    """Return load average, governor and clock of the processor, as far as they are known."""
    found = {"load_average": _text("/proc/loadavg").partition(" ")[0]}
    cores = sorted(os.sched_getaffinity(0))[:_MOST_CORES_ASKED]
    found["governor"] = _text(f"{_CPU}/cpu{cores[0]}/cpufreq/scaling_governor").strip()
    clocks = [_text(f"{_CPU}/cpu{core}/cpufreq/scaling_cur_freq").strip() for core in cores]
    mhz = [int(clock) / 1e3 for clock in clocks if clock.isdigit()] or _clocks(set(cores))
    if mhz:
        found["processor_mhz"] = f"{sum(mhz) / len(mhz):.0f}"
    return {name: value for name, value in found.items() if value}


def _clocks(cores: set[int]) -> list[float]:
    """Return the clocks of processors from /proc/cpuinfo, where virtual machines have them."""
    found, core = [], -1
    for line in _text("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        with contextlib.suppress(ValueError):
            if name.strip() == "processor":
                core = int(value)
            elif name.strip() == "cpu MHz" and core in cores:
                found.append(float(value))
    return found


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
