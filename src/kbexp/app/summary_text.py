"""What a run says on stdout when it is over."""

from __future__ import annotations

from pathlib import Path

from kbexp.app.result import Result


def summary_text(result: Result, folder: Path) -> str:
    """Return a few lines: what was found, what it took, where it is, what to try next."""
    counted = result.summary
    lines = [f"{result.task} on {result.device or result.config.gpu.name}: {_found(result)}"]
    lines.append(
        f"{result.state}: {result.reason} {counted.evaluations} kernels judged, "
        f"{counted.correct} correct, in {result.wall_s:.0f} s; "
        f"model ${counted.llm_usd:.4f}, device ${counted.gpu_usd:.4f}"
    )
    shown = _relative(folder)
    lines.append(f"files:  {shown}/")
    if result.state == "stopped":
        lines.append(f"go on:  give the same command with hydra.run.dir={shown}")
    if counted.best is not None:
        lines.append(f"next:   python {shown / 'best_kernel.py'}")
    elif result.state != "failed":
        lines.append(f"next:   read {shown / 'journal.jsonl'} for what went wrong with each kernel")
    return "\n".join(lines)


def _found(result: Result) -> str:
    best = result.summary.best
    if best is None:
        return "no correct kernel"
    verdict = best.verdict
    if verdict.speedup is None or verdict.time_ms is None or verdict.reference_ms is None:
        return f"best score {best.score:.4g}"
    speedup, before, after = verdict.speedup, verdict.reference_ms, verdict.time_ms
    if speedup.low <= 1.0:
        return (
            f"no kernel is surely faster than the reference; the best has {speedup.value:.3g}x its "
            f"speed (95 % interval {speedup.low:.3g} to {speedup.high:.3g})"
        )
    return (
        f"{speedup.value:.3g}x the reference's speed (95 % interval {speedup.low:.3g} to "
        f"{speedup.high:.3g}), {before.value:.4g} ms -> {after.value:.4g} ms"
    )


def _relative(folder: Path) -> Path:
    """Return the folder as seen from where the program was started, where it lies below."""
    try:
        return folder.resolve().relative_to(Path.cwd())
    except ValueError:
        return folder
