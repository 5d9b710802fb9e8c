"""What judging in containers costs beside judging here, and whether any verdict is lost.

    PYTHONPATH=tests:tests/modal python benchmarks/containers.py overhead
    PYTHONPATH=tests:tests/modal python benchmarks/containers.py losses
    PYTHONPATH=tests:tests/modal python benchmarks/containers.py builds

All on the local Modal of the tests, so what is measured is the client, the protocol and the
container's entry point, and no network. `overhead`: the same kernels on warm evaluators, in turn
with gpu=cpu and gpu=modal_cpu; what the second takes longer. `losses`: 200 evaluations over four
containers of which three are killed at random. `builds`: kernels with extensions, compiled ahead
in containers of their own and beside the device.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import threading
import time
from collections import Counter
from pathlib import Path

from kernels import SOFTMAX_C, TASK, compiled_kernel, kernel, quick
from local_modal import LocalModal
from machine import machine

from kbexp.config import ContainerConfig, GpuConfig, ImageConfig, Provider
from kbexp.evaluation import Evaluator, open_evaluator
from kbexp.kernel import Kernel
from kbexp.task import Task

SMALL = Task("small", TASK)
SETTINGS = quick(timing_s=0.1)


def here() -> GpuConfig:
    return GpuConfig(name="cpu")


def there(**changes: int) -> GpuConfig:
    box = ContainerConfig(image=ImageConfig(base=""))
    return GpuConfig(name="modal_cpu", provider=Provider.modal, container=box, **changes)


def softmax(number: int) -> Kernel:
    return kernel(f"return torch.softmax(x * self.weight, dim=-1)  # {number}")


def took(evaluator: Evaluator, subject: Kernel) -> float:
    """Seconds of one evaluation beyond what the worker itself counts for it."""
    began = time.perf_counter()
    verdict = evaluator.evaluate(SMALL, subject)
    seconds = time.perf_counter() - began
    assert verdict.correct, verdict
    phases = verdict.phases
    return seconds - phases.build_s - phases.correctness_s - phases.timing_s


def overhead(count: int) -> dict[str, object]:
    with open_evaluator(here(), SETTINGS) as cpu, open_evaluator(there(), SETTINGS) as rented:
        for number in range(3):  # Both are warm then, and so are their stocks.
            took(cpu, softmax(-number - 1))
            took(rented, softmax(-number - 1))
        pairs = [
            (took(cpu, softmax(number)), took(rented, softmax(number))) for number in range(count)
        ]
    beyond = sorted(1e3 * (far - near) for near, far in pairs)
    return {
        "evaluations": count,
        "median_ms": statistics.median(beyond),
        "p90_ms": beyond[int(0.9 * (count - 1))],
        "cpu_median_ms": 1e3 * statistics.median(near for near, _ in pairs),
        "modal_median_ms": 1e3 * statistics.median(far for _, far in pairs),
    }


def losses(count: int, modal: LocalModal, seed: int) -> dict[str, object]:
    draw, killed = random.Random(seed), list[str]()
    began = time.perf_counter()
    with open_evaluator(there(count=4), SETTINGS) as evaluator:
        futures = [evaluator.submit(SMALL, softmax(number)) for number in range(count)]
        done = threading.Semaphore(0)
        for future in futures:
            future.add_done_callback(lambda _: done.release())
        moments = sorted(draw.sample(range(5, int(0.9 * count)), 3))
        for finished in range(1, count + 1):
            done.acquire()
            if finished in moments:
                busy = [c["task_id"] for c in modal.containers() if c["working_on"]]
                killed.append(draw.choice(busy))
                modal.kill(killed[-1])
        verdicts = [future.result() for future in futures]
    ids = Counter(verdict.kernel_id for verdict in verdicts)
    return {
        "evaluations": count,
        "verdicts": len(verdicts),
        "different_kernels": len(ids),
        "correct": sum(verdict.correct for verdict in verdicts),
        "containers_killed": len(killed),
        "containers_used": len({v.environment.get("container") for v in verdicts}),
        "seconds": time.perf_counter() - began,
        "containers_left": len(modal.wait_containers(0)),
    }


def builds(count: int) -> dict[str, object]:
    """Half of the kernels compile; the figure is how long the judging containers were held."""
    result: dict[str, object] = {"kernels": count}
    for builders in (0, 2):
        subjects = [
            compiled_kernel(SOFTMAX_C + "\n".join(f"int f{n}_{number}(){{return {n};}}"
                                                  for n in range(2000)), f"b{builders}_{number}")
            if number % 2 else softmax(number)
            for number in range(count)
        ]  # fmt: skip
        began = time.perf_counter()
        with open_evaluator(there(builders=builders), SETTINGS) as evaluator:
            verdicts = evaluator.evaluate_batch(SMALL, subjects)
        assert all(verdict.correct for verdict in verdicts), verdicts
        held = sum(v.phases.build_s + v.phases.correctness_s + v.phases.timing_s for v in verdicts)
        compiling = sum(verdict.phases.build_s for verdict in verdicts)
        result[f"builders_{builders}"] = {
            "device_held_s": held,
            "of_it_compiling_s": compiling,
            "seconds": time.perf_counter() - began,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["overhead", "losses", "builds"])
    parser.add_argument("--count", type=int, help="evaluations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    with LocalModal() as modal:
        os.environ.update(modal.environment)
        if arguments.what == "overhead":
            figures = overhead(arguments.count or 50)
        elif arguments.what == "losses":
            figures = losses(arguments.count or 200, modal, arguments.seed)
        else:
            figures = builds(arguments.count or 8)
    text = json.dumps({"what": arguments.what, "machine": machine(), **figures}, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
