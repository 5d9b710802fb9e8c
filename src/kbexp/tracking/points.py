"""The figures that MLflow and W&B draw, one set an evaluation."""

from __future__ import annotations

import math
import re

from kbexp.events import BaselineJudged, Confirmed, Event, RunEnded, VerdictReached
from kbexp.summary import RunSummary

_METRIC_NAME = re.compile(r"[A-Za-z0-9_.\-/ ]{1,100}")


def point(event: Event, summary: RunSummary) -> dict[str, float] | None:
    """Return what to draw at the step `summary.verdicts`, or None where nothing changed.

    `summary` has taken the event in already. Figures of one kernel come with its verdict, totals
    with each verdict and once more at the end. What is judged again after the search, and the
    baselines, are totals: figures of the winner as it stands then.
    """
    if not isinstance(event, VerdictReached | Confirmed | BaselineJudged | RunEnded):
        return None
    values = _totals(summary)
    if isinstance(event, VerdictReached):
        verdict = event.verdict
        values["correct"] = float(verdict.correct)
        value = summary.score(verdict)
        if value is not None:
            values["score"] = value
        if verdict.speedup is not None:
            values["speedup"] = verdict.speedup.value
            values["speedup_low"] = verdict.speedup.low
            values["speedup_high"] = verdict.speedup.high
        if verdict.time_ms is not None:
            values["time_ms"] = verdict.time_ms.value
        for name, figure in list(verdict.metrics.items())[:50]:
            if _METRIC_NAME.fullmatch(name):
                values[f"kernel/{name}"] = figure
    return {name: figure for name, figure in values.items() if math.isfinite(figure)}


def _totals(summary: RunSummary) -> dict[str, float]:
    values = {
        "cost_usd": summary.llm_usd + summary.gpu_usd,
        "llm_usd": summary.llm_usd,
        "gpu_usd": summary.gpu_usd,
        "input_tokens": float(summary.input_tokens),
        "output_tokens": float(summary.output_tokens),
        "proposals": float(summary.proposals),
        "duplicates": float(summary.duplicates),
        "evaluations": float(summary.evaluations),
        "correct_kernels": float(summary.correct),
        "wall_s": summary.wall_s,
    }
    best = summary.best
    if best is not None:
        values["best_score"] = best.score
        if best.verdict.speedup is not None:
            values["best_speedup"] = best.verdict.speedup.value
            values["best_speedup_low"] = best.verdict.speedup.low
            values["best_speedup_high"] = best.verdict.speedup.high
        if best.verdict.time_ms is not None:
            values["best_time_ms"] = best.verdict.time_ms.value
    return values | _after(summary)


def _after(summary: RunSummary) -> dict[str, float]:
    """Return the winner's confirmed figures, and the baselines' speedups over the reference."""
    values = {}
    winner = summary.winner
    if winner is not None and winner.confirmed is not None:
        speedup, time_ms = winner.confirmed.speedup, winner.confirmed.time_ms
        values["confirmed_score"] = winner.score
        if speedup is not None:
            values["confirmed_speedup"] = speedup.value
            values["confirmed_speedup_low"] = speedup.low
            values["confirmed_speedup_high"] = speedup.high
        if time_ms is not None:
            values["confirmed_time_ms"] = time_ms.value
        if winner.shrunk is not None:
            values["shrunk"] = winner.shrunk
    for name, judged in summary.baselines.items():
        if judged.verdict.speedup is not None:
            values[f"{name}_speedup"] = judged.verdict.speedup.value
    return values
