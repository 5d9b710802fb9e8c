"""A verdict in words: what a model is told about a kernel."""

from __future__ import annotations

import math

from kbexp.proposals.diagnostics import first_error
from kbexp.verdict import Interval, Phase, Status, Verdict

_MAX_REASONS = 6
_MAX_REASON_CHARS = 600
_MAX_METRICS = 12

_WITHOUT_FLUSHES = tuple(
    f"{size}{way}_{side}ms"
    for size in ("", "lone_")
    for way in ("bare", "kept", "replayed")
    for side in ("", "reference_", "nothing_")
)

# How a figure was got, which its interval says already, and figures that stand in a sentence.
_BOOKKEEPING = (
    *_WITHOUT_FLUSHES, "reference_alone_ms", "calls", "called_s", "checked", "pairs",
    "unreported_ms", "bytes", "nonzero_bytes", "flops", "bound_ms", "bound_speedup",
    "share_of_bound", "bandwidth_bytes_per_s", "flops_per_s",
)  # fmt: skip

_LITTLE_LEFT = 0.85
"""A share of the bound above which nothing worth the trouble is left."""

_MAX_ROWS = 6
"""Rows of a profile that a model is shown."""

_HEADLINES = {
    Status.CORRECT: "Success: the kernel is correct.",
    Status.INCORRECT: "Correctness failure: the kernel ran, and its output is wrong.",
    Status.COMPILE_ERROR: "Compilation failure: the kernel does not build.",
    Status.RUNTIME_ERROR: "Runtime failure: the kernel raised an error or crashed.",
    Status.TIMEOUT: "Timeout: the kernel did not finish in the time allowed.",
    Status.REJECTED: "Rejected: the kernel breaks a rule.",
    Status.INFRASTRUCTURE_ERROR: "Not judged: the evaluator failed; the kernel is not to blame.",
}
_PHASES = {
    Phase.QUEUE: "before it was begun",
    Phase.SCREEN: "when its source was read",
    Phase.BUILD: "when it was built",
    Phase.LOAD: "when it was loaded and ModelNew was constructed",
    Phase.CORRECTNESS: "when its output was compared with the reference's",
    Phase.TIMING: "when it was timed",
}
_ADVICE = {
    Status.INCORRECT: "Make it correct first, then fast.",
    Status.COMPILE_ERROR: "Mend this error; the source must build with the calls given above.",
    Status.RUNTIME_ERROR: "Mend this error; check sizes, types, strides and bounds.",
    Status.TIMEOUT: "Look for a loop that does not end, a deadlock, or far too much work.",
    Status.REJECTED: "Do the work of each call on that call's inputs, in the ways given above.",
}


def feedback(verdict: Verdict | None, *, max_chars: int = 6000) -> str:
    """Return what a verdict says to the kernel's author, in at most `max_chars` characters.

    The phase, the reasons (where and by how much an output was wrong is among them), the first
    error of the log, the times, the speedup with its interval and what that means.
    """
    if verdict is None:
        return "Not judged yet."
    parts = [_HEADLINES[verdict.status]]
    if not verdict.correct:
        parts.append(f"It ended {_PHASES[verdict.phase]}.")
        parts += [_shortened(reason) for reason in verdict.reasons[:_MAX_REASONS]]
        error = first_error(verdict.log) if verdict.log.strip() else ""
        if error and not any(error in part for part in parts):
            parts.append(f"The first error:\n{error}")
        if verdict.status in _ADVICE:
            parts.append(_ADVICE[verdict.status])
    else:
        parts += [_shortened(reason) for reason in verdict.reasons[:_MAX_REASONS]]
        parts += _performance(verdict)
    text = "\n".join(part for part in parts if part)
    return text if len(text) <= max_chars else text[:max_chars].rstrip() + " …"


def _performance(verdict: Verdict) -> list[str]:
    """Times, speedup and its meaning."""
    parts = []
    if verdict.time_ms is not None:
        parts.append(f"One call takes {_interval(verdict.time_ms)} ms.")
    if verdict.reference_ms is not None:
        parts.append(f"One call of the reference takes {_interval(verdict.reference_ms)} ms.")
    if verdict.speedup is not None:
        parts.append(f"Speedup over the reference: {_interval(verdict.speedup)}.")
        parts.append(_meaning(verdict.speedup))
    parts += _left(verdict)
    metrics = [
        f"{name}={value:.4g}"
        for name, value in sorted(verdict.metrics.items())
        if math.isfinite(value) and name not in _BOOKKEEPING
    ]
    if metrics:
        parts.append("Measured: " + ", ".join(metrics[:_MAX_METRICS]) + ".")
    return parts + _profile(verdict)


def _profile(verdict: Verdict) -> list[str]:
    """Say where the time of a call goes, as the kernel's own process was told by torch."""
    rows = verdict.profile[:_MAX_ROWS]
    if not rows:
        return []
    what = "kernels on the device" if any(row.on_device for row in rows) else "operators"
    whole = math.fsum(row.ms for row in verdict.profile)
    said = [
        f"- {row.name}: {row.ms:.4g} ms ({row.ms / whole if whole else 0.0:.0%}), "
        f"{row.times:.4g} times"
        for row in rows
    ]
    return [
        f"Where the time of one call goes, by a profile of its {what} (taken apart from the "
        "timing, and slower; names as they stand in the kernel and its libraries):",
        *said,
    ]


def _meaning(speedup: Interval) -> str:
    """Say what an interval of the speedup means; an interval that holds 1 is noise."""
    if speedup.low <= 1.0 <= speedup.high:
        return "That is within noise of the reference: it is neither faster nor slower."
    if speedup.high < 1.0:
        return "It is slower than the reference; find out what it does more of than it must."
    return "It is faster than the reference beyond the noise; find what bounds it now."


def _left(verdict: Verdict) -> list[str]:
    """Say how much faster a kernel could be, where the device's peaks are known."""
    metrics, environment = verdict.metrics, verdict.environment
    bound_ms, share = metrics.get("bound_ms"), metrics.get("share_of_bound")
    if not bound_ms or not share or not math.isfinite(share) or share > 1:
        return []  # Above 1 the bound does not hold here: caches, structure, fewer operations.
    if environment.get("bound_by") == "arithmetic":
        limit = (
            f"With as many operations as the reference does ({metrics.get('flops', 0.0):.3g} a "
            f"call), this device needs at least {bound_ms:.4g} ms"
        )
        past = "; only fewer operations lead past that"
    else:
        limit = (
            f"This task has to move {metrics.get('bytes', 0.0):.4g} bytes, for which this device "
            f"needs at least {bound_ms:.4g} ms"
        )
        past = ""
    if environment.get("peaks") == "measured":
        limit += " by what was measured on it (data that stays in its caches can move faster)"
    if "bound_speedup" in metrics:
        limit += f": at most {metrics['bound_speedup']:.3g} times the reference's speed"
    reached = f"The kernel is at {share:.0%} of that bound"
    if share >= _LITTLE_LEFT:
        reached += "; little is left to gain"
    return [f"{limit}{past}.", f"{reached}."]


def _interval(interval: Interval) -> str:
    return f"{interval.value:.4g} (95 % interval {interval.low:.4g} to {interval.high:.4g})"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_REASON_CHARS else text[:_MAX_REASON_CHARS].rstrip() + " …"
