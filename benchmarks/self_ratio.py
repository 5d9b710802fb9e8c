"""How often a kernel counts as faster or slower than itself.

    python benchmarks/self_ratio.py --times 200
    python benchmarks/self_ratio.py --device cuda:0 --times 200 --cold 10

The references of the bundled tasks are judged against themselves in turn, `times` evaluations in
all. At a confidence of 95 % an interval should lie beside 1 in few of them, and the median of all
ratios should be 1. With --cold, one task's reference is also judged by so many evaluators that
were started for it alone, and its times are compared with those of the warm one.

Needs torch and numpy alone: with PYTHONPATH=src it runs on a bare machine.
"""

from __future__ import annotations

import argparse
import json
import statistics

from machine import machine

from kbexp.config import EvaluatorConfig, SizeClass
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.tasks.catalog import NAMES, bundled
from kbexp.verdict import Interval
from kbexp.worker.worker import Worker

COLD_TASK = "softmax"


def itself(task: Task) -> Kernel:
    """Return a task's reference as a kernel."""
    source = task.source.replace("class Model(", "class ModelNew(")
    return Kernel(source.replace("super(Model,", "super(ModelNew,"))


def judged(worker: Worker, task: Task) -> tuple[Interval, float]:
    """Judge a task's reference against itself; return the ratio and the reference's ms."""
    verdict = worker.evaluate(task, itself(task))
    if verdict.speedup is None or verdict.time_ms is None:
        raise SystemExit(f"{task.name}: {verdict.status}: {verdict.reasons}")
    return verdict.speedup, verdict.time_ms.value


def main() -> None:
    """Measure, print a line for every ratio beside 1, and the whole result at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--cold", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", default=list(NAMES))
    arguments = parser.parse_args()
    sizes = SizeClass.cpu if arguments.device == "cpu" else SizeClass.gpu
    tasks = [bundled(name, sizes) for name in arguments.tasks]
    settings = EvaluatorConfig(name="standard")
    ratios: dict[str, list[Interval]] = {task.name: [] for task in tasks}
    warm_ms: list[float] = []
    worker = Worker(arguments.device, settings)
    worker.start()
    # Task after task, since a judge is kept for one of them.
    for index, task in enumerate(tasks):
        for _ in range(
            arguments.times * (index + 1) // len(tasks) - arguments.times * index // len(tasks)
        ):
            ratio, time_ms = judged(worker, task)
            ratios[task.name].append(ratio)
            if task.name == COLD_TASK:
                warm_ms.append(time_ms)
            if not ratio.low <= 1 <= ratio.high:
                print(
                    f"{task.name}: {ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]",
                    flush=True,
                )
    worker.close()
    every = [ratio for of_task in ratios.values() for ratio in of_task]
    values = [ratio.value for ratio in every]
    result = {
        "machine": machine(),
        "device": worker.environment.get("device_name"),
        "isolation": worker.isolation,
        "evaluations": len(every),
        "faster": sum(ratio.low > 1 for ratio in every),
        "slower": sum(ratio.high < 1 for ratio in every),
        "median_ratio": statistics.median(values),
        "ratio_deviation": statistics.stdev(values),
        "half_width": statistics.median((ratio.high - ratio.low) / 2 for ratio in every),
        "by_task": {
            name: {
                "median": statistics.median(ratio.value for ratio in of_task),
                "deviation": statistics.stdev(ratio.value for ratio in of_task),
                "half_width": statistics.median((r.high - r.low) / 2 for r in of_task),
                "beside": sum(not r.low <= 1 <= r.high for r in of_task),
            }
            for name, of_task in ratios.items()
            if len(of_task) > 1
        },
        **_cold(arguments.device, settings, arguments.cold, sizes, warm_ms),
    }
    print(json.dumps(result, indent=2))


def _cold(
    device: str, settings: EvaluatorConfig, times: int, sizes: SizeClass, warm_ms: list[float]
) -> dict[str, object]:
    """Judge in evaluators of their own; return both medians."""
    task = bundled(COLD_TASK, sizes)
    cold_ms = []
    for _ in range(times):
        worker = Worker(device, settings)
        worker.start()
        cold_ms.append(judged(worker, task)[1])
        worker.close()
    if not cold_ms or not warm_ms:
        return {}
    return {
        "task": COLD_TASK,
        "warm_ms": [min(warm_ms), statistics.median(warm_ms), max(warm_ms)],
        "cold_ms": [min(cold_ms), statistics.median(cold_ms), max(cold_ms)],
        "cold_over_warm": statistics.median(cold_ms) / statistics.median(warm_ms),
    }


if __name__ == "__main__":
    main()
