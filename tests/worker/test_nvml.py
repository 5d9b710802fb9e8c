"""What a driver says, through a library with the same functions; and that nothing is needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kbexp.worker import nvml
from kbexp.worker.nvml import Reading, open_device, slowed_by

DRIVER = r"""
#include <string.h>
#ifndef COUNT
#define COUNT 1
#endif
typedef struct { unsigned long long total, free, used; } memory_t;
static int device;
static unsigned long long energy = 5000;
int nvmlInit_v2(void) { return INIT; }
int nvmlSystemGetDriverVersion(char *to, unsigned n) { strncpy(to, "580.1", n); return 0; }
int nvmlDeviceGetCount_v2(unsigned *to) { *to = COUNT; return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **to) {
  if (strcmp(uuid, "GPU-1703747e")) return 6;
  *to = &device; return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **to) { *to = &device; return index; }
static int mine(void *handle) { return handle == &device ? 0 : 2; }
int nvmlDeviceGetClockInfo(void *h, unsigned kind, unsigned *to) {
  *to = kind == 1 ? 1755 : kind == 2 ? 2619 : 0; return mine(h);
}
int nvmlDeviceGetTotalEnergyConsumption(void *h, unsigned long long *to) {
  *to = energy += 1000; return mine(h);
}
int nvmlDeviceGetMemoryInfo(void *h, memory_t *to) {
  to->total = 85017493504ull; to->used = 506724352ull; return mine(h);
}
#ifndef OLD
int nvmlDeviceGetMaxClockInfo(void *h, unsigned kind, unsigned *to) {
  *to = kind == 1 ? 1980 : 2619; return mine(h);
}
int nvmlDeviceGetTemperature(void *h, unsigned sensor, unsigned *to) { *to = 47; return mine(h); }
int nvmlDeviceGetPowerUsage(void *h, unsigned *to) { *to = 343500; return mine(h); }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *h, unsigned long long *to) {
  *to = 0x24; return mine(h);
}
#else
int nvmlDeviceGetPowerUsage(void *h, unsigned *to) { return 3; }
#endif
"""

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")


def library(folder: Path, *defines: str) -> str:
    """Build a library that answers as a driver's does."""
    source, built = folder / "driver.c", folder / f"driver{'_'.join(defines)}.so"
    source.write_text(DRIVER)
    flags = [f"-D{name}" for name in ("INIT=0", *defines)]
    subprocess.run(
        ["gcc", "-shared", "-fPIC", *flags, str(source), "-o", str(built)],
        check=True,
        capture_output=True,
    )
    return str(built)


def test_everything_that_a_driver_says(tmp_path: Path) -> None:
    device = open_device("GPU-1703747e", library(tmp_path, "COUNT=8"))
    assert device is not None
    assert device.driver == "580.1"
    assert device.read() == Reading(
        sm_mhz=1755,
        sm_max_mhz=1980,
        memory_mhz=2619,
        memory_max_mhz=2619,
        temperature_c=47,
        power_w=343.5,
        energy_j=6.0,
        slowed_by=0x24,
        used_bytes=506724352,
    )
    assert device.energy_j() == 7.0


def test_what_a_driver_does_not_know_is_none(tmp_path: Path) -> None:
    device = open_device("GPU-1703747e", library(tmp_path, "OLD"))
    assert device is not None
    assert device.read() == Reading(
        sm_mhz=1755, memory_mhz=2619, energy_j=6.0, used_bytes=506724352
    )


def test_the_only_device_is_taken_whatever_its_name_and_of_several_none(tmp_path: Path) -> None:
    alone = open_device("GPU-another", library(tmp_path))
    assert alone is not None
    assert alone.read().sm_mhz == 1755
    assert open_device("", library(tmp_path, "COUNT=1")) is not None
    assert open_device("GPU-another", library(tmp_path, "COUNT=2")) is None
    assert open_device("", library(tmp_path, "COUNT=0")) is None


def test_without_a_driver_there_is_nothing_to_ask(tmp_path: Path) -> None:
    assert open_device("GPU-1703747e", "libnothing-of-that-name.so.1") is None
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    assert open_device("GPU-1703747e", str(broken)) is None
    failing = (tmp_path / "failing").resolve()
    failing.mkdir()
    source = DRIVER.replace("return INIT", "return 9")
    (failing / "driver.c").write_text(source)
    built = failing / "driver.so"
    subprocess.run(
        ["gcc", "-shared", "-fPIC", str(failing / "driver.c"), "-o", str(built)], check=True
    )
    assert open_device("GPU-1703747e", str(built)) is None


def test_reasons_in_words() -> None:
    assert slowed_by(None) == []
    assert slowed_by(0x01 | 0x02) == []
    assert slowed_by(0x24) == ["power cap", "too hot (software)"]
    assert slowed_by(0x24 & ~nvml.POWER_CAP) == ["too hot (software)"]
