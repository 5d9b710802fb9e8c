"""What is said of the machine while a kernel was timed, and when it is worth a warning."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from kbexp.worker import conditions
from kbexp.worker.conditions import (
    Conditions,
    EnergyMeter,
    Growth,
    gpu_warnings,
    processor_state,
    processor_ticks,
)
from kbexp.worker.machine import environment, global_state
from kbexp.worker.nvml import Reading

QUIET = Reading(sm_mhz=1980, temperature_c=41, slowed_by=0)


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (replace(QUIET, sm_mhz=1950), None),  # two steps
        (replace(QUIET, sm_mhz=1755), "SM clock moved from 1980 to 1755 MHz"),
        (replace(QUIET, temperature_c=50), None),
        (replace(QUIET, temperature_c=60), "temperature went from 41 to 60"),
        (replace(QUIET, slowed_by=0x04), None),  # all the power that it may draw
        (replace(QUIET, slowed_by=0x44), "slowed down: too hot (hardware)"),
        (Reading(), None),
        (None, None),
    ],
)
def test_what_a_device_went_through(after: Reading | None, words: str | None) -> None:
    warnings = gpu_warnings(QUIET, after)
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]
    assert not gpu_warnings(None, after)


def test_a_clock_that_rose_is_said_too() -> None:
    assert "from 345 to 1980" in gpu_warnings(replace(QUIET, sm_mhz=345), QUIET)[0]


def test_this_machine() -> None:
    watched = Conditions("cpu")
    assert watched.end() == {}
    with watched.growth(Growth.calls):
        pass
    watched.begin()
    found = watched.end()
    assert float(found["load_average"]) >= 0
    assert 0 <= float(found["steal_share"]) <= 1
    assert watched.figures() == {}
    meter = watched.meter(10.0)
    assert not meter.more()
    assert watched.figures() == {}


def test_other_programs_on_a_cpu_are_warned_of() -> None:
    conditions = Conditions("cpu")
    conditions.begin()
    assert "other programs" in conditions.end(contended=True)["warning"]
    assert "other programs" not in conditions.end().get("warning", "")


def test_ticks_are_those_of_work() -> None:
    before, _ = processor_ticks()
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    after, _ = processor_ticks()
    assert after - before >= 8


def stat(busy: int, stolen: int) -> str:
    return f"cpu  {busy} 0 0 100000 7 0 0 {stolen} 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"


@pytest.mark.parametrize(
    ("busy", "stolen", "warned"),
    [(100, 0, False), (100, 2, False), (20, 4, False), (100, 10, True), (0, 0, False)],
)
def test_steal(monkeypatch: pytest.MonkeyPatch, busy: int, stolen: int, warned: bool) -> None:
    texts = {"/proc/stat": stat(5000, 300)}
    monkeypatch.setattr(conditions, "_text", lambda path: texts.get(path, ""))
    watched = Conditions("cpu")
    watched.begin()
    texts["/proc/stat"] = stat(5000 + busy, 300 + stolen)
    found = watched.end()
    assert ("warning" in found) == warned
    assert float(found["steal_share"]) == pytest.approx(stolen / max(busy + stolen, 1), abs=1e-3)


def test_a_system_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "_text", lambda _: "")
    assert processor_ticks() == (0, 0)
    assert processor_state() == {}
    watched = Conditions("cpu")
    watched.begin()
    assert watched.end() == {"steal_share": "0"}


def test_clocks_are_those_of_the_processors_that_are_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "/proc/cpuinfo": "processor\t: 0\ncpu MHz\t: 2000.5\n\nprocessor\t: 1\ncpu MHz\t: 9000\n"
    }
    monkeypatch.setattr(conditions, "_text", lambda path: texts.get(path, ""))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert processor_state() == {"processor_mhz": "2000"}
    folder = "/sys/devices/system/cpu/cpu0/cpufreq"
    texts[f"{folder}/scaling_cur_freq"] = "3100000\n"
    texts[f"{folder}/scaling_governor"] = "performance\n"
    assert processor_state() == {"processor_mhz": "3100", "governor": "performance"}


class Counter:
    """An energy counter that moves a step every tenth of a second, and a clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.spent_j = 1000.0
        self._shown = (0, self.spent_j)

    def energy_j(self) -> float:
        return self._shown[1]

    def spend(self, power_w: float, taken_s: float) -> None:
        for _ in range(round(taken_s * 1000)):
            self.now_s += 0.001
            self.spent_j += power_w * 0.001
            if int(self.now_s * 10 + 1e-6) > self._shown[0]:
                self._shown = int(self.now_s * 10 + 1e-6), self.spent_j


def metered(
    monkeypatch: pytest.MonkeyPatch, calls: int, pause_s: float, wanted_s: float = 2.0
) -> dict[str, float]:
    """Meter blocks of so many calls of 1 ms at 400 W, with a pause at 100 W after each block."""
    counter = Counter()
    monkeypatch.setattr("time.monotonic", lambda: counter.now_s)
    meter = EnergyMeter(counter, wanted_s)  # type: ignore[arg-type]
    while meter.more():
        counter.spend(400.0, calls * 0.001)
        counter.spend(100.0, pause_s)
        meter.look(calls)
    return meter.figures()


def test_energy_is_that_between_the_steps_of_the_counter_over_the_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = metered(monkeypatch, 7, 0.0)
    assert found["power_w"] == pytest.approx(400.0, rel=0.02)
    assert found["energy_j"] == pytest.approx(0.4, rel=0.02)
    # Between the first step and the last lie too few tenths of a second.
    assert metered(monkeypatch, 7, 0.0, wanted_s=0.2) == {}
    assert metered(monkeypatch, 0, 0.007) == {}


def test_whoever_sleeps_between_calls_lowers_the_power_and_not_the_energy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    awake, asleep = metered(monkeypatch, 7, 0.0), metered(monkeypatch, 7, 0.021)
    assert asleep["power_w"] < 0.5 * awake["power_w"]
    assert asleep["energy_j"] == pytest.approx(awake["energy_j"] + 100 * 0.021 / 7, rel=0.05)


def test_a_counter_that_falls_silent_is_not_waited_for() -> None:
    class Silent:
        def energy_j(self) -> None:
            return None

    meter = EnergyMeter(Silent(), 1000.0)  # type: ignore[arg-type]
    assert meter.more()
    meter.look(1)
    assert not meter.more()
    assert meter.figures() == {}


def test_the_state_that_both_sides_start_from() -> None:
    state = global_state()
    assert int(state["threads"]) >= 1
    assert int(state["interop_threads"]) >= 1
    assert set(state) >= {"default_dtype", "float32_matmul_precision", "tf32_matmul", "tf32_cudnn"}
    assert set(state.values()) & {"yes", "no"}
    assert environment("cpu")["threads"] == state["threads"]
