"""What a run says on stdout when it is over."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from kbexp.app.result import Result, over_baseline
from kbexp.tracking.figures import TIMES, worth
from kbexp.tracking.plain import origin
from kbexp.tracking.text import one_line
from kbexp.verdict import Interval, Verdict
from kbexp.winner import Winner


def summary_text(result: Result, folder: Path) -> str:
    """Return a few lines: what was found, what it took, where it is, what to try next."""
    counted = result.summary
    lines = [f"{result.task} on {result.device or result.config.gpu.name}: {_found(result)}"]
    lines.append(_ended(result))
    lines += _comparisons(result)
    if counted.winner is not None:
        lines += _conditions(counted.winner.verdict)
    lines += [f"note:   {one_line(note)}" for note in result.notes]
    shown = _relative(folder)
    lines.append(f"files:  {shown}/")
    if result.state == "stopped" or (result.state == "failed" and counted.verdicts):
        lines.append(f"go on:  {_python()} run.py {shlex.quote(f'resume={shown}')}")
    if counted.winner is not None:
        lines.append(f"next:   {_python()} {shlex.quote(str(shown / 'best_kernel.py'))}")
    elif result.state != "failed" and counted.verdicts:
        lines.append(f"next:   read {shown / 'journal.jsonl'} for what went wrong with each kernel")
    elif result.state == "complete":
        place = shlex.quote(f"hydra.run.dir={shown}")
        lines.append(f"next:   give the same command with a larger budget and {place}")
    return "\n".join(lines)


def _ended(result: Result) -> str:
    """Return how the run ended and what it took; why one failed is the program's last word."""
    counted = result.summary
    judged = counted.statuses.total()
    kernels = "1 kernel" if judged == 1 else f"{judged} kernels"
    found = f"{kernels} judged, {counted.correct} correct," if judged else "Nothing was judged,"
    why = "" if result.state == "failed" else f"{result.reason} "
    return (
        f"{result.state}: {why}{found} in {result.wall_s:.0f} s; "
        f"model ${counted.llm_usd:.4f}, device ${counted.gpu_usd:.4f}"
    )


def _found(result: Result) -> str:
    best = result.summary.winner
    if best is None:
        return "no correct kernel" if result.summary.verdicts else "nothing found, nothing judged"
    if result.summary.by_speedup:
        return _speed(best)
    words = worth(result.summary.metric, best.score).replace(TIMES, "x")
    return f"{words} is the best; {_speed(best)}"


def _speed(best: Winner) -> str:
    """Return how fast the best kernel is, and how sure that is."""
    verdict = best.verdict
    if verdict.speedup is None or verdict.time_ms is None or verdict.reference_ms is None:
        return f"{origin(best.searched.number)}, whose speed was not measured"
    speedup, before, after = verdict.speedup, verdict.reference_ms, verdict.time_ms
    known = f"95 % interval {_ends(speedup)}"
    searched = best.searched.verdict.speedup
    if best.confirmed is not None and searched is not None:
        known = f"confirmed, {known}; {searched.value:.3g}x when searched"
    if best.searched.number is None:
        return (
            "no kernel came out faster than the reference, which is the best itself: judged "
            f"against itself, it has {speedup.value:.3g}x its own speed ({known})"
        )
    if speedup.low <= 1.0:
        return (
            f"no kernel is surely faster than the reference; the best, "
            f"{origin(best.searched.number)}, has {speedup.value:.3g}x its speed ({known})"
        )
    return (
        f"{speedup.value:.3g}x the reference's speed ({known}), "
        f"{before.value:.4g} ms -> {after.value:.4g} ms, {origin(best.searched.number)}"
    )


def _comparisons(result: Result) -> list[str]:
    """Return a line for every baseline and for every other size of the task."""
    summary = result.summary
    winner = summary.winner
    if winner is None:
        return []
    lines = []
    for name, judged in summary.baselines.items():
        baseline = judged.verdict
        over = over_baseline(winner, baseline)
        if over is None or baseline.speedup is None:
            continue
        lines.append(
            f"beside: {over.value:.3g}x the speed of {name.replace('_', '.')} of the reference "
            f"(95 % interval {_ends(over)}), which has {baseline.speedup.value:.3g}x its own"
        )
    for again in summary.confirmations:
        if again.sizes and again.verdict.kernel_id == winner.verdict.kernel_id:
            sizes = one_line(", ".join(f"{k}={v}" for k, v in again.sizes.items()))
            lines.append(f"with {sizes}: {_elsewhere(again.verdict)}")
    return lines


def _conditions(verdict: Verdict) -> list[str]:
    """Return how near a kernel is to what is possible, and what its figures may suffer from."""
    said, lines = verdict.environment, []
    share = verdict.metrics.get("share_of_bound")
    if share is not None and share <= 1 and "bound_by" in said:
        whose = "measured here" if said.get("peaks") == "measured" else "by its vendor's figures"
        lines.append(
            f"bound:  {share:.0%} of what the device's {one_line(said['bound_by'])} allows, {whose}"
        )
    notes = [said[name] for name in ("beyond_bound", "warning") if name in said]
    notes += verdict.reasons  # Of a correct kernel: what its figures are to be read with.
    return lines + [f"note:   {one_line(note)}" for note in notes]


def _elsewhere(verdict: Verdict) -> str:
    if verdict.correct and verdict.speedup is not None:
        speedup = verdict.speedup
        return f"{speedup.value:.3g}x (95 % interval {_ends(speedup)})"
    reason = f" ({one_line(verdict.reasons[0])})" if verdict.reasons else ""
    return f"{str(verdict.status).replace('_', ' ')}{reason}"


def _ends(interval: Interval) -> str:
    return f"{interval.low:.3g} to {interval.high:.3g}"


def _python() -> str:
    """Return how this Python is called from here; another may have nothing installed."""
    here = Path(sys.executable)
    if shutil.which("python") == str(here):
        return "python"
    cwd = Path.cwd()
    return shlex.quote(str(here.relative_to(cwd) if here.is_relative_to(cwd) else here))


def _relative(folder: Path) -> Path:
    """Return the folder as seen from where the program was started, where it lies below."""
    try:
        return folder.resolve().relative_to(Path.cwd())
    except ValueError:
        return folder
