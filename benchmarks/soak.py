"""Whether an evaluator stays as it was, and how soon it is itself again after a hostile kernel.

    python benchmarks/soak.py --times 1000
    python benchmarks/soak.py --device cuda:0 --times 1000

Evaluations in a row on one warm worker, every tenth of a kernel that hangs, crashes, exits, fills
memory, forks or prints without end (on CUDA: and reads where it must not, or trips an assertion
on the device). After each of those the next verdict must be correct; what passes between the
end of the hostile evaluation and that verdict is noted. Every hundred evaluations the worker's
processes, descriptors, memory, shared memory and device memory are counted.

Needs torch and numpy alone: with PYTHONPATH=src it runs on a bare machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

from machine import machine

from kbexp.config import EvaluatorConfig
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.worker.worker import Worker

TASK = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1)

def get_inputs():
    return [torch.randn(256, 1024)]

def get_init_inputs():
    return []
"""

KERNEL = """
import ctypes, os, sys, time
import torch

class ModelNew(torch.nn.Module):
    def forward(self, x):
        {body}
        return torch.softmax(x, dim=-1)
"""

HOSTILE = {
    "hangs": "time.sleep(3600)",
    "crashes": "ctypes.string_at(0)",
    "exits": "os._exit(0)",
    "fills memory": "held = [bytearray(2**26) for _ in iter(int, 1)]",
    "forks": "[os.fork() for _ in range(9)]; time.sleep(3600)",
    "prints": "[print('x' * 65536) for _ in range(4000)]; raise ValueError('done')",
}

ON_CUDA = {
    "illegal access": 'torch.cuda._compile_kernel(\'extern "C" __global__ void f(int* p) '
    "{ p[1ll << 40] = 1; }', 'f')((1, 1, 1), (1, 1, 1), (x,)); torch.cuda.synchronize()",
    "device assert": "x[torch.tensor([9999], device=x.device)].sum().item()",
    "fills device memory": "held = [torch.empty(2**30, device=x.device) for _ in iter(int, 1)]",
}


def counts(worker_pid: int, device: str) -> dict[str, float]:
    """Return what the worker and all that it started hold."""
    family = [worker_pid]
    for pid in family:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            family += [int(child) for child in task.read_text().split()]
    held: dict[str, float] = {
        "processes": len(family),
        "descriptors": _descriptors(worker_pid),
        "worker_mib": _resident_mib(worker_pid),
        "family_descriptors": sum(_descriptors(pid) for pid in family),
        "shared_mib": _shared_mib(),
        "folders": len(list(Path("/tmp").glob(f"kbexp-worker-{worker_pid}-*/*"))),
    }
    if device != "cpu":
        held["device_mib"] = _device_mib()
    return held


def _resident_mib(pid: int) -> float:
    return round(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20, 1)


def _descriptors(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def _shared_mib() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Shmem:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


def _device_mib() -> float:
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout.split()[0]) if done.returncode == 0 else -1.0


def main() -> None:
    """Run the soak; print the counts as they come and the whole result at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--times", type=int, default=1000)
    arguments = parser.parse_args()
    settings = EvaluatorConfig(
        name="soak", correctness_trials=1, min_pairs=6, max_pairs=6, block_ms=1.0,
        timing_s=0.5, run_timeout_s=1.0 if arguments.device == "cpu" else 2.5,
    )  # fmt: skip
    hostile = HOSTILE | (ON_CUDA if arguments.device != "cpu" else {})
    kinds = list(hostile)
    task = Task(name="soak", source=TASK)
    worker = Worker(arguments.device, settings)
    worker.start()
    seen, recovery_s, statuses = [], {kind: [] for kind in kinds}, {}
    after = ""
    for number in range(arguments.times):
        if number % 100 == 50:
            seen.append({"evaluations": number, **counts(os.getpid(), arguments.device)})
            print(seen[-1], flush=True)
        kind = kinds[number // 10 % len(kinds)] if number % 10 == 5 else ""
        # A text of its own each, so that nothing is served from a cache.
        body = hostile[kind] if kind else f"pass  # {number}"
        begun = time.monotonic()
        verdict = worker.evaluate(task, Kernel(KERNEL.format(body=body)))
        if kind:
            statuses.setdefault(kind, []).append(str(verdict.status))
            assert not verdict.correct, (kind, verdict)
        else:
            assert verdict.correct, (number, after, verdict)
            if after:
                recovery_s[after].append(time.monotonic() - begun)
        after = kind
    seen.append({"evaluations": arguments.times, **counts(os.getpid(), arguments.device)})
    worker.close()
    result = {
        "machine": machine(),
        "device": worker.environment.get("device_name"),
        "isolation": worker.isolation,
        "evaluations": arguments.times,
        "counts": seen,
        "statuses": {kind: sorted(set(of_kind)) for kind, of_kind in statuses.items()},
        "next_verdict_s": {
            kind: {"median": round(statistics.median(times), 3), "most": round(max(times), 3)}
            for kind, times in recovery_s.items()
            if times
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
