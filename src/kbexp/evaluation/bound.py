"""How much is possible: the least time that a device needs for a task, beside what a kernel takes.

The work of a task comes with every verdict (`kbexp.worker.work`), the device's peaks from
`conf/gpu` by the device's own name, on a CPU from a measurement that comes with the verdict too.
What that leads to are figures for people and models. No verdict changes its status for them: a
kernel may know more of a task than a count of its bytes does.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import kbexp
from kbexp.config import GpuConfig
from kbexp.verdict import Verdict

CONF = Path(kbexp.__file__).resolve().parents[2] / "conf" / "gpu"

TYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "int8": "int8"}
"""Element types by the names that data sheets have for them."""

FP32_BY_PARTS = {"tf32": 3, "fp16": 3, "bf16": 3}
"""A product in float32 can be had from so many products of a shorter type, with the error of
float32 or little more (Ootomo and Yokota, Recovering single precision accuracy from Tensor Cores,
2022). So the shorter type's rate over this number is within an honest kernel's reach."""

BEYOND = 0.5
"""A time below this share of what memory alone needs is worth a person's look."""


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a device can do at best: bytes a second, operations a second by type.

    `measured` says that it was found by trying, so that a kernel can exceed it.
    """

    bytes_per_s: float | None
    flops_per_s: Mapping[str, float] = field(default_factory=dict)
    measured: bool = False

    def flops_for(self, types: Sequence[str]) -> float | None:
        """Return the highest rate at which operations on these element types can be done."""
        rates = [
            self.flops_per_s[TYPES[name]]
            for name in types
            if TYPES.get(name, "") in self.flops_per_s
        ]
        if "float32" in types and not self.measured:
            rates += [
                self.flops_per_s[name] / parts
                for name, parts in FP32_BY_PARTS.items()
                if name in self.flops_per_s
            ]
        return max(rates, default=None)


def with_bound(verdict: Verdict, gpu: GpuConfig) -> Verdict:
    """Return a verdict with rates and bounds among its metrics, as far as they follow from it.

    Bandwidth and operations a second follow from the work and the time; `bound_ms`,
    `bound_speedup` and `share_of_bound` from the device's peaks too.
    """
    moved = verdict.metrics.get("bytes")
    if not verdict.correct or verdict.time_ms is None or not moved:
        return verdict
    time_s = verdict.time_ms.value / 1e3
    flops = verdict.metrics.get("flops", 0.0)
    metrics = {**verdict.metrics, "bandwidth_bytes_per_s": moved / time_s}
    if flops:
        metrics["flops_per_s"] = flops / time_s
    environment = dict(verdict.environment)
    peaks = peaks_of(verdict, gpu)
    memory_s = moved / peaks.bytes_per_s if peaks is not None and peaks.bytes_per_s else 0.0
    rate = None
    if peaks is not None:
        rate = peaks.flops_for(environment.get("flops_types", "").split(","))
    compute_s = flops / rate if rate else 0.0
    bound_s = max(memory_s, compute_s)
    if peaks is not None and bound_s > 0:
        metrics["bound_ms"] = bound_s * 1e3
        metrics["share_of_bound"] = bound_s / time_s
        if verdict.reference_ms is not None:
            metrics["bound_speedup"] = verdict.reference_ms.value / 1e3 / bound_s
        environment["bound_by"] = "memory" if memory_s >= compute_s else "arithmetic"
        environment["peaks"] = "measured" if peaks.measured else "vendor"
        if not peaks.measured:
            environment |= _beyond(verdict, peaks)
    return replace(verdict, metrics=metrics, environment=environment)


def _beyond(verdict: Verdict, peaks: Peaks) -> dict[str, str]:
    """Say so where a kernel is faster than memory can be, by a rule that honest work keeps.

    Counted is only what is not zero, less twice the L2 cache: what it may still hold of the
    inputs, and what of the outputs it may not have written yet. Of the time that memory needs for
    that, half is allowed for what shows in no zero (a symmetric matrix, one half of which is
    enough), and the kernel's time is taken at the upper end of its interval.
    """
    needed = verdict.metrics.get("nonzero_bytes", 0.0)
    cache = float(verdict.environment.get("l2_bytes", "") or "nan")
    if verdict.time_ms is None or peaks.bytes_per_s is None:
        return {}
    least_ms = (needed - 2 * cache) / peaks.bytes_per_s * 1e3
    if not verdict.time_ms.high < BEYOND * least_ms:  # also where the cache's size is not known
        return {}
    return {
        "beyond_bound": (
            f"a call takes {verdict.time_ms.value:.3g} ms, and the device's memory needs "
            f"{least_ms:.3g} ms for what the task reads and writes: look at the kernel"
        )
    }


def peaks_of(verdict: Verdict, gpu: GpuConfig) -> Peaks | None:
    """Return the peaks of the device that a verdict was reached on, None where they are unknown.

    The configured ones hold where the device bears one of the configured names, or none is
    configured; otherwise the device's own name is looked up among all of `conf/gpu`.
    """
    if gpu.is_cpu:
        return _measured(verdict.environment)
    given = gpu.memory_bytes_per_s is not None or gpu.peak_flops
    if given and (not gpu.own_names or verdict.device in gpu.own_names):
        return Peaks(gpu.memory_bytes_per_s, dict(gpu.peak_flops))
    return known_peaks().get(verdict.device)


def _measured(environment: Mapping[str, str]) -> Peaks | None:
    try:
        return Peaks(
            float(environment["peak_bytes_per_s"]),
            {"fp32": float(environment["peak_fp32_flops_per_s"])},
            measured=True,
        )
    except (KeyError, ValueError):
        return None


@functools.cache
def known_peaks(folder: Path = CONF) -> dict[str, Peaks]:
    """Return the peaks of all devices in `conf/gpu`, by the devices' own names.

    Empty where there is no such folder: the package alone does not bring it.
    """
    import yaml

    found: dict[str, Peaks] = {}
    for path in sorted(folder.glob("*.yaml")):
        values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        rate = values.get("memory_bytes_per_s")
        flops = {str(name): float(value) for name, value in values.get("peak_flops", {}).items()}
        peaks = Peaks(None if rate is None else float(rate), flops)
        found |= {str(name): peaks for name in values.get("own_names", [])}
    return found
