"""A made-up landscape: kernels are texts with numbers in them, and some numbers are fast."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from kbexp.budget import Budget
from kbexp.candidate import Candidate, Proposal, ProposalRequest, Summary, Usage
from kbexp.config import BudgetConfig
from kbexp.event_records import from_record, to_record
from kbexp.events import Event
from kbexp.kernel import Kernel, text_id
from kbexp.search import Archive, Outcome, score_named, search
from kbexp.search_config import AlgorithmConfig, SearchConfig, SearchMode
from kbexp.verdict import Interval, Phase, Phases, Status, Verdict

TARGET = (7, 3, 8, 2)
COST_USD = 2.0**-7  # sums of it are exact in any order
EVALUATION_S = 0.5


def kernel_of(*numbers: int) -> Kernel:
    return Kernel(f"# a kernel of the landscape\nnumbers = {list(numbers)}\n")


def numbers_of(kernel: Kernel) -> list[int]:
    return [int(n) for n in json.loads(kernel.source.split("=")[1])]


def speedup_of(kernel: Kernel) -> float:
    """From 1 at the first kernel, (0, 0, 0, 0), to 21 at the target."""
    return 21.0 - sum(abs(n - t) for n, t in zip(numbers_of(kernel), TARGET, strict=True))


def verdict_of(kernel: Kernel, status: Status = Status.CORRECT, **more: Any) -> Verdict:
    if status is Status.CORRECT and "speedup" not in more:
        value = speedup_of(kernel)
        more["speedup"] = Interval(value, value - 0.5, value + 0.5)
    return Verdict(
        kernel_id=kernel.id,
        task_id="landscape",
        status=status,
        phase=Phase.TIMING,
        device="none",
        isolation="none",
        reasons=() if status is Status.CORRECT else (f"it is {status}",),
        phases=Phases(queue_s=9.0, build_s=EVALUATION_S),
        **more,
    )


def interval(value: float) -> Interval:
    return Interval(value, value - 0.5, value + 0.5)


def jitter() -> None:
    """Sleep for some microseconds, on purpose not repeatably."""
    time.sleep(random.random() * 3e-4)


class Mutator:
    """A proposer: moves one number by one; some calls fail, raise or bring nothing new."""

    def __init__(self, *, faults: bool = True, cost_usd: float | None = COST_USD) -> None:
        self.faults, self.cost_usd = faults, cost_usd
        self.requests: list[ProposalRequest] = []

    def propose(self, request: ProposalRequest) -> Proposal:
        jitter()
        self.requests.append(request)
        rng = random.Random(request.seed)
        usage = Usage(input_tokens=10, output_tokens=20, cost_usd=self.cost_usd)
        parents = tuple(parent.kernel.id for parent in request.parents)
        fate = rng.random() if self.faults else 1.0
        if fate < 0.05:
            raise ConnectionError("the model said nothing; key=secret")
        if fate < 0.12:
            error = "The answer held no kernel."
            return Proposal(request.number, parents, None, error=error, usage=usage)
        numbers = numbers_of(request.parents[0].kernel)
        numbers[rng.randrange(len(numbers))] += rng.choice((-1, 1))
        return Proposal(request.number, parents, kernel_of(*numbers), usage=usage)


class Summarizer:
    """Writes what it was told, and that of now; every fifth call by its seed fails."""

    def __init__(self, *, faults: bool = True) -> None:
        self.faults = faults
        self.seeds: list[int] = []

    def summarize(self, previous: str, fresh: Sequence[Candidate], seed: int) -> Summary:
        jitter()
        self.seeds.append(seed)
        if self.faults and seed % 5 == 0:
            raise ConnectionError("the model said nothing; key=secret")
        usage = Usage(input_tokens=5, output_tokens=5, cost_usd=COST_USD)
        told = ",".join(f"{c.order}:{len(c.verdicts)}" for c in fresh)
        return Summary(f"{previous}|{told}", model="summarizer", usage=usage)


class Evaluator:
    """Judges on some threads; what it says follows from the kernel's text alone."""

    def __init__(self, *, faults: bool = True, threads: int = 3) -> None:
        self.faults = faults
        self.pool = ThreadPoolExecutor(threads)
        self.judged: Counter[str] = Counter()

    def submit(self, kernel: Kernel) -> Future[Verdict]:
        self.judged[kernel.id] += 1
        return self.pool.submit(self.judge, kernel)

    def judge(self, kernel: Kernel) -> Verdict:
        jitter()
        fate = int(text_id(kernel.source + "fate"), 16) % 100
        if self.faults and kernel != kernel_of(0, 0, 0, 0):
            if fate < 4:
                raise OSError("the worker fell over; key=secret")
            if fate < 8:
                return verdict_of(kernel, Status.INFRASTRUCTURE_ERROR)
            if fate < 14:
                return verdict_of(kernel, Status.COMPILE_ERROR)
            if fate < 20:
                return verdict_of(kernel, Status.INCORRECT)
        return verdict_of(kernel)


@dataclass
class Run:
    """One search of the landscape and everything that was seen of it."""

    config: AlgorithmConfig = field(default_factory=lambda: AlgorithmConfig(name="ps"))
    limits: BudgetConfig = field(default_factory=lambda: BudgetConfig(name="none"))
    proposer: Any = field(default_factory=Mutator)
    evaluator: Any = field(default_factory=Evaluator)
    clock: Callable[[], float] = time.monotonic
    gpu_usd_per_s: float = 0.0
    seed: int = 0
    metric: str = "speedup"
    stop: threading.Event = field(default_factory=threading.Event)
    grace_s: float = 3.0
    archive: Archive | None = None
    seed_kernel: Kernel = field(default_factory=lambda: kernel_of(0, 0, 0, 0))
    record: Callable[[Event], None] = lambda event: None
    commit: Callable[[], None] = lambda: None
    journal: list[Event] = field(default_factory=list)
    retest: Any = None
    summarizer: Any = None
    embedder: Any = None
    tell: Callable[[Verdict], str] | None = None
    how: SearchConfig = field(default_factory=lambda: SearchConfig(mode=SearchMode.steps))

    def go(self) -> Outcome:
        thread = threading.get_ident()

        def record(event: Event) -> None:
            assert threading.get_ident() == thread
            line = json.dumps(to_record(event))
            self.record(event)
            self.journal.append(from_record(json.loads(line)))

        return search(
            self.config,
            how=self.how,
            seed_kernel=self.seed_kernel,
            proposer=self.proposer,
            submit=self.evaluator.submit,
            record=record,
            commit=self.commit,
            budget=Budget(self.limits, gpu_usd_per_s=self.gpu_usd_per_s, clock=self.clock),
            score=score_named(self.metric),
            seed=self.seed,
            stop=self.stop,
            archive=self.archive,
            retest=self.retest,
            summarizer=self.summarizer,
            embedder=self.embedder,
            tell=self.tell,
            grace_s=self.grace_s,
        )


def snapshot(archive: Archive) -> dict[str, Any]:
    """Everything in an archive that must not depend on timing."""
    return {
        "candidates": [
            (
                c.kernel,
                c.order,
                c.proposal and (c.proposal.number, c.proposal.parents),
                [(v.status, v.speedup) for v in c.verdicts],
            )
            for c in archive.candidates.values()
        ],
        "asked": {n: (a.parents, a.seed) for n, a in sorted(archive.asked.items())},
        "received": {
            n: (p.parents, p.kernel, p.error) for n, p in sorted(archive.proposals.items())
        },
        "duplicates": {n: (d.kernel_id, d.distance) for n, d in sorted(archive.duplicates.items())},
        "left": (dict(archive.undecided), dict(archive.unjudged)),
        "steps": (archive.steps_done, archive.settled, archive.step_start, sorted(archive.retests)),
        "summary": (archive.summary and archive.summary.summary, archive.summaries),
        "spent": (
            archive.spending.proposals,
            archive.spending.evaluations,
            archive.spending.llm_usd,
            archive.spending.device_s,
            archive.spending.input_tokens,
        ),
    }


@pytest.fixture(scope="session")
def land() -> SimpleNamespace:
    """The landscape's parts, under one name."""
    return SimpleNamespace(
        COST_USD=COST_USD,
        EVALUATION_S=EVALUATION_S,
        Evaluator=Evaluator,
        Mutator=Mutator,
        Run=Run,
        interval=interval,
        replace=replace,
        Summarizer=Summarizer,
        TARGET=TARGET,
        kernel_of=kernel_of,
        snapshot=snapshot,
        speedup_of=speedup_of,
        verdict_of=verdict_of,
    )
