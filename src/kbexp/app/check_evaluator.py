"""What `scripts/check_evaluator.py` does: three evaluations of a reference, and what they say."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TextIO

from kbexp.app.configuration import typed
from kbexp.app.evaluator_settings import check_evaluator_settings
from kbexp.app.first import first_kernel
from kbexp.errors import EvaluatorUnavailable
from kbexp.script_config import CheckConfig
from kbexp.tracking.text import one_line
from kbexp.verdict import Verdict

if TYPE_CHECKING:
    from omegaconf import DictConfig

TIMES = 3


def check_evaluator(composed: DictConfig, out: TextIO = sys.stdout) -> None:
    """Judge a task's own reference three times on one device; say where, how fast, how dear.

    Raises EvaluatorUnavailable where that is not possible, or one of them is not correct.
    """
    from kbexp.evaluation import open_evaluator
    from kbexp.tasks.load import load

    config = typed(composed, CheckConfig)
    check_evaluator_settings(config.evaluator)
    gpu = config.gpu
    gpu.count = 1
    task = load(config.task, gpu.sizes)
    kernel = first_kernel(task)

    def say(label: str, text: str) -> None:
        print(f"{label:<11} {one_line(text)}", file=out, flush=True)

    say("asked for", f"gpu={gpu.name} ({gpu.provider}), task {task.name}")
    began = time.monotonic()
    with open_evaluator(gpu, config.evaluator) as evaluator:
        while not evaluator.wait_ready(1.0):
            pass
        say("ready", f"after {time.monotonic() - began:.1f} s")
        verdicts = []
        for number in range(1, TIMES + 1):
            asked = time.monotonic()
            verdict = evaluator.evaluate(task, kernel)
            verdicts.append(verdict)
            say(f"{number}.", f"{time.monotonic() - asked:.2f} s, {_outcome(verdict)}")
        billed_usd = evaluator.billed_usd
    say("device", verdicts[-1].device)
    say("walls", verdicts[-1].isolation or "unknown")
    said = [verdict.environment for verdict in verdicts]
    containers = list(dict.fromkeys(each["container"] for each in said if "container" in each))
    if containers:
        start_s = said[0].get("container_start_s")
        warm = f"warm {start_s} s after its start" if start_s else "warm from before"
        say("container", f"{', '.join(containers)}, {warm}")
    if billed_usd is not None:
        price = f"${gpu.usd_per_s:.6f} a second (prices of {gpu.price_date})"
        say("price", f"{price}; this took ${billed_usd:.4f}")
    else:
        say("price", "nothing is rented")
    if not all(verdict.correct for verdict in verdicts):
        raise EvaluatorUnavailable(
            f"gpu={gpu.name} does not judge the reference of {task.name} as correct: see above."
        )


def _outcome(verdict: Verdict) -> str:
    speedup = verdict.speedup
    if verdict.correct and speedup is not None and verdict.time_ms is not None:
        return (
            f"correct, {verdict.time_ms.value:.4g} ms, {speedup.value:.3g}x its own speed "
            f"({speedup.low:.3g} to {speedup.high:.3g})"
        )
    return f"{verdict.status}: {verdict.reasons[0] if verdict.reasons else ''}"
