"""What an evaluation costs beyond the calls that it times.

    python benchmarks/warm_evaluation.py --times 5

For every bundled task a kernel (the reference under another name, and with --compiled one whose
extension is already in the build cache) is judged `times` times by a warm evaluator on the CPU.
The overhead is the wall time of the evaluation less all calls of kernel and reference in it.
In between the judge makes the next inputs; with --pause it has had the time, as in a search whose
model thinks for a while, and without it the next evaluation waits for them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from machine import machine

from kbexp.config import EvaluatorConfig, GpuConfig
from kbexp.evaluation import open_evaluator
from kbexp.kernel import Kernel
from kbexp.tasks.catalog import NAMES, bundled

EXTENSION = """
from torch.utils.cpp_extension import load_inline
load_inline("nothing", cpp_sources=['extern "C" int nothing() { return 0; }'],
            is_python_module=False, no_implicit_headers=True)
"""


def main() -> None:
    """Measure every bundled task and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between evaluations")
    arguments = parser.parse_args()
    tasks = {}
    with open_evaluator(GpuConfig(name="cpu"), EvaluatorConfig(name="standard")) as evaluator:
        for name in NAMES:
            task = bundled(name, "cpu", {})
            source = task.source.replace("class Model(", "class ModelNew(")
            kernel = Kernel(source.replace("super(Model,", "super(ModelNew,"))
            if arguments.compiled:
                kernel = Kernel(kernel.source + EXTENSION)
            evaluator.evaluate(task, kernel)
            overheads, calls, references = [], [], []
            for _ in range(arguments.times):
                time.sleep(arguments.pause)
                start = time.perf_counter()
                verdict = evaluator.evaluate(task, kernel)
                wall_s = time.perf_counter() - start
                assert verdict.correct, verdict
                assert verdict.reference_ms is not None
                overheads.append(wall_s - verdict.metrics["called_s"])
                calls.append(verdict.metrics["called_s"])
                references.append(verdict.reference_ms.value)
            tasks[name] = {
                "overhead_s": [round(value, 3) for value in sorted(overheads)],
                "median_overhead_s": round(statistics.median(overheads), 3),
                "timed_calls_s": round(statistics.median(calls), 3),
                "reference_ms": round(statistics.median(references), 3),
            }
            print(name, tasks[name], flush=True)
    worst = max(float(str(task["median_overhead_s"])) for task in tasks.values())
    result = {"machine": machine(), "times": arguments.times, "worst_s": worst, "tasks": tasks}
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
