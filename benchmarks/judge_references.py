"""Every bundled task's reference judged against itself: what an evaluation takes, how true it is.

    python benchmarks/judge_references.py --gpu local --times 2

A kernel that is the reference under another name should come out at 1.00. Prints, for each task,
the reference's time, the speedup with its interval, and the seconds of a warm evaluation.
"""

from __future__ import annotations

import argparse
import json
import time

from machine import machine

from kbexp.config import EvaluatorConfig, GpuConfig, Provider, SizeClass
from kbexp.evaluation import open_evaluator
from kbexp.kernel import Kernel
from kbexp.tasks.catalog import NAMES, bundled


def main() -> None:
    """Judge every task's reference and print a JSON object a line, the machine first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", choices=["cpu", "local"], default="cpu")
    parser.add_argument("--times", type=int, default=2)
    arguments = parser.parse_args()
    on_cpu = arguments.gpu == "cpu"
    gpu = GpuConfig(
        name=arguments.gpu,
        provider=Provider.cpu if on_cpu else Provider.local,
        sizes=SizeClass.cpu if on_cpu else SizeClass.gpu,
    )
    print(json.dumps({"machine": machine()}))
    with open_evaluator(gpu, EvaluatorConfig(name="standard")) as evaluator:
        for name in NAMES:
            task = bundled(name, gpu.sizes.value, {})
            source = task.source.replace("class Model(", "class ModelNew(")
            kernel = Kernel(source.replace("super(Model,", "super(ModelNew,"))
            evaluator.evaluate(task, kernel)
            for _ in range(arguments.times):
                start = time.perf_counter()
                verdict = evaluator.evaluate(task, kernel)
                record = {
                    "task": name,
                    "evaluation_s": round(time.perf_counter() - start, 3),
                    **{
                        key: verdict.to_record()[key]
                        for key in ("status", "reference_ms", "speedup_low", "speedup",
                                    "speedup_high", "phases", "metrics", "reasons")
                    },
                }  # fmt: skip
                print(json.dumps(record), flush=True)
        print(json.dumps({"environment": dict(verdict.environment)}))


if __name__ == "__main__":
    main()
