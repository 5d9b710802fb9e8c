"""What a search maximises: a verdict's worth, by the name of a metric or by a function of yours."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

from kbexp.config import EvaluatorConfig, GpuConfig, Metric
from kbexp.errors import KbexpError
from kbexp.verdict import Verdict

Score = Callable[[Verdict], float]
"""A verdict's worth, from 0 up; higher is better."""

SMALLEST_MEMORY_BYTES = 2**20
"""A kernel that takes less memory than this counts as one that takes this much."""


def speedup(verdict: Verdict) -> float | None:
    """Return the reference's time over the kernel's."""
    return verdict.speedup.value if verdict.speedup is not None else None


def speedup_low(verdict: Verdict) -> float | None:
    """Return the low end of the speedup's 95 % interval."""
    return verdict.speedup.low if verdict.speedup is not None else None


def inverse_runtime(verdict: Verdict) -> float | None:
    """Return calls a second: one over the kernel's time in seconds."""
    return _inverse(verdict.time_ms.value / 1e3) if verdict.time_ms is not None else None


def bandwidth(verdict: Verdict) -> float | None:
    """Return the bytes that the task has to move over the kernel's time, in GB/s."""
    rate = verdict.metrics.get("bandwidth_bytes_per_s")
    return None if rate is None else rate / 1e9


def share_of_bound(verdict: Verdict) -> float | None:
    """Return the least time that the device needs over the kernel's time."""
    return verdict.metrics.get("share_of_bound")


def energy(verdict: Verdict) -> float | None:
    """Return calls a joule: one over the energy of a call."""
    return _inverse(verdict.metrics.get("energy_j"))


def peak_memory(verdict: Verdict) -> float | None:
    """Return one over the kernel's memory in GiB: the device's, on a CPU its process's."""
    metrics = verdict.metrics
    taken = metrics.get("peak_device_bytes", metrics.get("peak_host_bytes"))
    return None if taken is None else 2**30 / max(taken, SMALLEST_MEMORY_BYTES)


_FIGURES: dict[str, Callable[[Verdict], float | None]] = {
    Metric.speedup: speedup,
    Metric.speedup_low: speedup_low,
    Metric.inverse_runtime: inverse_runtime,
    Metric.bandwidth: bandwidth,
    Metric.share_of_bound: share_of_bound,
    Metric.energy: energy,
    Metric.peak_memory: peak_memory,
}


def score_for(metric: object) -> Score:
    """Return the score of a metric: 0 for what is not correct or has no such figure.

    `metric` is a name of `SCORES`, the dotted path of a function (Verdict) -> float, or a mapping
    with that path under `_target_` and the function's other arguments beside it. The function is
    asked about correct kernels only. Raises KbexpError, in one sentence, where there is none.
    """
    if isinstance(metric, Mapping):
        path = metric.get("_target_")
        if not isinstance(path, str) or not all(isinstance(name, str) for name in metric):
            raise KbexpError(
                "metric has no _target_: give a name, or {_target_: module.function, …}."
            )
        rest = {name: value for name, value in metric.items() if name != "_target_"}
        function = _FIGURES.get(path) or _imported(path)
        return _careful(functools.partial(function, **rest), path)
    name = str(metric)
    return SCORES.get(name) or _careful(_imported(name), name)


def metric_name(metric: object) -> str:
    """Return what a metric is called: its name, or the dotted path of its function."""
    return str(metric.get("_target_")) if isinstance(metric, Mapping) else str(metric)


def check_metric(metric: object, gpu: GpuConfig, evaluator: EvaluatorConfig) -> None:
    """Raise KbexpError where there is no such metric, or nothing that measures its figure."""
    score_for(metric)
    if metric == Metric.energy and gpu.is_cpu:
        raise KbexpError(
            "metric=energy needs a device that counts its energy, which NVIDIA's do: take another "
            "gpu, or metric=inverse_runtime."
        )
    if metric == Metric.energy and evaluator.energy_s <= 0:
        raise KbexpError(
            "metric=energy needs some seconds of the kernel alone to measure it in: set "
            "evaluator.energy_s=1, or more."
        )


def _careful(function: Callable[..., Any], name: str) -> Score:
    """Return `function` as a score that is 0 where it has nothing to say."""

    def score(verdict: Verdict) -> float:
        if not verdict.correct:
            return 0.0
        try:
            value = function(verdict)
            number = 0.0 if value is None else float(value)
        except Exception as error:  # A person's own function may raise anything.
            raise KbexpError(
                f"metric={name} failed on a verdict ({type(error).__name__}: {error}): it is given "
                "a Verdict and has to return a number, or None where it has none."
            ) from error
        return number if math.isfinite(number) and number > 0 else 0.0

    return score


SCORES: dict[str, Score] = {name: _careful(figure, name) for name, figure in _FIGURES.items()}
"""Every score that has a name, 0 where a verdict does not say; add to it to offer another one."""


def _imported(path: str) -> Callable[..., Any]:
    """Return what a dotted path leads to: a module's function, or a class's."""
    names = path.split(".")
    if len(names) < 2 or not all(name.isidentifier() for name in names):
        known = ", ".join(sorted(SCORES))
        raise KbexpError(
            f"There is no metric '{path}': choose one of {known}, or give the dotted path of a "
            "function, as in metric=my_module.my_metric."
        )
    found: Any = None
    for count in range(len(names) - 1, 0, -1):
        module = ".".join(names[:count])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{module}.".startswith(f"{error.name}."):
                continue
            raise _not_imported(path, error) from error
        except Exception as error:  # A module may raise anything when it is imported.
            raise _not_imported(path, error) from error
        break
    if found is None:
        raise KbexpError(
            f"metric={path}: there is no module {names[0]}; it has to lie where Python looks, so "
            "add its folder to PYTHONPATH."
        )
    for name in names[count:]:
        found = getattr(found, name, None)
    if not callable(found):
        raise KbexpError(
            f"metric={path}: {'.'.join(names[:count])} has no function {'.'.join(names[count:])}."
        )
    function: Callable[..., Any] = found
    return function


def _not_imported(path: str, error: Exception) -> KbexpError:
    return KbexpError(
        f"metric={path} cannot be imported ({type(error).__name__}: {error}): mend that module."
    )


def _inverse(value: float | None) -> float | None:
    return 1.0 / value if value is not None and value > 0 else None
