"""A made-up model and evaluator for benchmarks of the search."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from kbexp.candidate import Proposal, ProposalRequest, Usage, Vector
from kbexp.events import (
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    RunStarted,
    VerdictReached,
)
from kbexp.kernel import Kernel, text_id
from kbexp.verdict import Interval, Phase, Phases, Status, Verdict

LINES = 40
"""Lines of a made-up kernel; with them it has about 2,000 characters."""

USAGE = Usage(input_tokens=4000, output_tokens=800, cost_usd=0.01, latency_s=1.0)
ENVIRONMENT = {"torch": "2.13.0", "python": "3.11", "driver": "none", "image": "none"}
DIMENSIONS = 1024


def kernel_of(number: int) -> Kernel:
    """Return a kernel of its own for every number."""
    lines = [f"    x{i} = load(inputs, {number * 31 + i}, width={i % 8})" for i in range(LINES)]
    return Kernel("\n".join(["class ModelNew:", *lines, f"    # {number}"]) + "\n")


def verdict_of(kernel: Kernel) -> Verdict:
    """Return a verdict that follows from the text: three of four kernels are correct."""
    draw = int(text_id(kernel.source + "fate")[:8], 16) / 2**32
    correct = draw < 0.75
    speedup = 1 + 4 * draw
    return Verdict(
        kernel_id=kernel.id,
        task_id="made-up",
        status=Status.CORRECT if correct else Status.INCORRECT,
        phase=Phase.TIMING,
        device="none",
        isolation="none",
        reasons=() if correct else ("the output is wrong in 12 of 4096 elements",),
        time_ms=Interval(1 / speedup, 0.9 / speedup, 1.1 / speedup) if correct else None,
        reference_ms=Interval(1.0, 0.9, 1.1) if correct else None,
        speedup=Interval(speedup, 0.95 * speedup, 1.05 * speedup) if correct else None,
        metrics={"called_s": 0.5, "bandwidth_bytes_per_s": 1e9, "share_of_bound": 0.3},
        phases=Phases(queue_s=0.1, build_s=0.2, correctness_s=0.1, timing_s=0.5),
        environment=dict(ENVIRONMENT),
        facts={"calls": ["torch.empty", "torch.sum"], "own": ["kernel"], "suspicious": []},
    )


def events_of(candidates: int) -> Iterator[Event]:
    """Yield the events of a run that has judged so many kernels, four for each but the first."""
    first = kernel_of(0)
    yield RunStarted(about={"config": {}})
    yield EvaluationBegun(kernel_id=first.id, number=None, source=first.source)
    yield VerdictReached(verdict=verdict_of(first))
    ids, rng = [first.id], random.Random(0)
    for number in range(candidates - 1):
        parents = tuple(rng.choice(ids[-50:]) for _ in range(3))
        kernel = kernel_of(number + 1)
        yield ProposalAsked(number=number, parents=parents, seed=number)
        proposal = Proposal(number, parents, kernel, reply=kernel.source, usage=USAGE)
        yield ProposalReceived(proposal=proposal)
        yield EvaluationBegun(kernel_id=kernel.id, number=number, source=kernel.source)
        yield VerdictReached(verdict=verdict_of(kernel))
        ids.append(kernel.id)


class Model:
    """Answers after `answer_s` on average, between half of that and half as much again."""

    def __init__(self, answer_s: float = 0.0) -> None:
        self.answer_s = answer_s

    def propose(self, request: ProposalRequest) -> Proposal:
        """Return a kernel that was not there before."""
        if self.answer_s:
            time.sleep(self.answer_s * random.Random(request.seed).uniform(0.5, 1.5))
        parents = tuple(parent.kernel.id for parent in request.parents)
        return Proposal(request.number, parents, kernel_of(request.number + 1), usage=USAGE)


class Embedder:
    """Gives texts vectors of a service's length: a third of the way from one of eight centres."""

    def __init__(self) -> None:
        self.centres = np.random.default_rng(0).standard_normal((8, DIMENSIONS))

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return vectors that follow from the texts' ids."""
        return [self.vector(int(text_id(text)[:12], 16)).tolist() for text in texts]

    def vector(self, seed: int) -> np.ndarray:
        """Return the vector of a seed, of length one."""
        draw = self.centres[seed % 8] + np.random.default_rng(seed).standard_normal(DIMENSIONS) / 2
        return draw / np.linalg.norm(draw)


class Evaluator:
    """Judges on some threads, `judge_s` each; keeps when it was at work."""

    def __init__(self, judge_s: float = 0.0, threads: int = 1) -> None:
        self.judge_s = judge_s
        self.pool = ThreadPoolExecutor(threads) if judge_s else None
        self.busy: list[tuple[float, float]] = []

    def submit(self, kernel: Kernel) -> Future[Verdict]:
        """Judge a kernel, at once where judging takes no time."""
        if self.pool is not None:
            return self.pool.submit(self.judge, kernel)
        future: Future[Verdict] = Future()
        future.set_result(verdict_of(kernel))
        return future

    def judge(self, kernel: Kernel) -> Verdict:
        """Take the time that it takes."""
        begun = time.perf_counter()
        time.sleep(self.judge_s)
        self.busy.append((begun, time.perf_counter()))
        return verdict_of(kernel)
