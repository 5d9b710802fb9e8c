"""What an NVIDIA driver says of a device: clocks, temperature, power, energy, what slows it down.

Through libnvidia-ml, which comes with every driver, by ctypes, so that no package is needed.
Nothing here raises: without the library, on a device or a driver that does not know a question,
the answer is None. Names and numbers are those of the NVML API Reference Guide (NVIDIA).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

LIBRARY = "libnvidia-ml.so.1"

_SUCCESS = 0
_CLOCK_SM = 1
_CLOCK_MEMORY = 2
_SENSOR_GPU = 0
_VERSION_BYTES = 80

REASONS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "too hot (software)",
    0x40: "too hot (hardware)",
    0x80: "power brake",
}
"""Why a device runs slower than it could. Left out: an idle device (0x01), clocks that a person
has set (0x02), boost kept in step with other devices (0x10), a display's clock (0x100)."""

POWER_CAP = 0x04
"""The one that is usual: a device that draws all the power it may."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a device; None is what it does not say.

    `slowed_by` is a set of bits, those of `REASONS` among them; `used_bytes` is what all processes
    together hold of its memory.
    """

    sm_mhz: int | None = None
    sm_max_mhz: int | None = None
    memory_mhz: int | None = None
    memory_max_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    energy_j: float | None = None
    slowed_by: int | None = None
    used_bytes: int | None = None


class _Memory(ctypes.Structure):
    _fields_ = [
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    ]


class Device:
    """One device, as `open_device` found it."""

    def __init__(self, library: ctypes.CDLL, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle

    @property
    def driver(self) -> str | None:
        """The driver's version."""
        text = ctypes.create_string_buffer(_VERSION_BYTES)
        length = ctypes.c_uint(_VERSION_BYTES)
        if not _succeeds(self._library, "nvmlSystemGetDriverVersion", text, length):
            return None
        return text.value.decode("ascii", "replace") or None

    def read(self) -> Reading:
        """Ask everything once."""
        memory = _Memory()
        asked = self._ask("nvmlDeviceGetMemoryInfo", ctypes.byref(memory))
        power_mw = self._number("nvmlDeviceGetPowerUsage")
        return Reading(
            sm_mhz=self._number("nvmlDeviceGetClockInfo", _CLOCK_SM),
            sm_max_mhz=self._number("nvmlDeviceGetMaxClockInfo", _CLOCK_SM),
            memory_mhz=self._number("nvmlDeviceGetClockInfo", _CLOCK_MEMORY),
            memory_max_mhz=self._number("nvmlDeviceGetMaxClockInfo", _CLOCK_MEMORY),
            temperature_c=self._number("nvmlDeviceGetTemperature", _SENSOR_GPU),
            power_w=None if power_mw is None else power_mw / 1e3,
            energy_j=self.energy_j(),
            slowed_by=self._long("nvmlDeviceGetCurrentClocksThrottleReasons"),
            used_bytes=int(memory.used) if asked else None,
        )

    def energy_j(self) -> float | None:
        """Return the energy that the device has used since its driver was loaded, in joules."""
        energy_mj = self._long("nvmlDeviceGetTotalEnergyConsumption")
        return None if energy_mj is None else energy_mj / 1e3

    def _number(self, name: str, *which: int) -> int | None:
        answer = ctypes.c_uint()
        given = [ctypes.c_uint(number) for number in which]
        return answer.value if self._ask(name, *given, ctypes.byref(answer)) else None

    def _long(self, name: str) -> int | None:
        answer = ctypes.c_ulonglong()
        return answer.value if self._ask(name, ctypes.byref(answer)) else None

    def _ask(self, name: str, *arguments: object) -> bool:
        return _succeeds(self._library, name, self._handle, *arguments)


def open_device(uuid: str = "", library: str = LIBRARY) -> Device | None:
    """Return the device with this UUID (`GPU-…`), or the only one there is; None where none is.

    A machine with several devices and none of that UUID gives None too: NVML counts them in
    another order than CUDA does.
    """
    try:
        loaded = ctypes.CDLL(library)
    except OSError:
        return None
    if not _succeeds(loaded, "nvmlInit_v2"):
        return None
    handle = ctypes.c_void_p()
    found = bool(uuid) and _succeeds(
        loaded, "nvmlDeviceGetHandleByUUID", ctypes.c_char_p(uuid.encode()), ctypes.byref(handle)
    )
    if not found:
        count = ctypes.c_uint()
        alone = _succeeds(loaded, "nvmlDeviceGetCount_v2", ctypes.byref(count)) and count.value == 1
        found = alone and _succeeds(
            loaded, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(0), ctypes.byref(handle)
        )
    return Device(loaded, handle) if found else None


def slowed_by(bits: int | None) -> list[str]:
    """Return in words what slows a device down, nothing where that is not known."""
    return [text for bit, text in REASONS.items() if (bits or 0) & bit]


def _succeeds(library: ctypes.CDLL, name: str, *arguments: object) -> bool:
    """Call a function of the library; False where it fails or an old driver has not got it."""
    function = getattr(library, name, None)
    return function is not None and function(*arguments) == _SUCCESS
