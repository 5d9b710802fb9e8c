"""All algorithms on the same tasks, seeds and budgets, by the figures of kernels judged again.

    python benchmarks/algorithms.py --folder algorithms > algorithms.md

The real search, archive and proposer (the offline playbook) with the evaluator on this machine's
processor. Every kernel that any search comes to is judged once and its verdict told to all
(`recorded.py`). What a search had found after so many evaluations is the kernel that was its best
then, and counts with a figure that had no part in choosing it: of a second, more thorough verdict.
A search that had found nothing counts as 1, and so does one whose find is wrong or slower than the
reference when judged again: one would keep the reference.

Searches go one thing at a time (a stream with one call and a staleness of 0): every proposal knows
all verdicts before it, a seed repeats, and nothing computes while a kernel is timed. Verdicts and
curves are kept in `--folder`, and a command that was cut goes on from there. Prints markdown;
`--plot` draws the curves.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from machine import machine
from recorded import Purpose, Recorded
from standings import Logs, draw, holm, middle, paired, text

from kbexp.app import configuration
from kbexp.app.confirm import confirm_settings
from kbexp.app.first import first_kernel
from kbexp.app.models import open_proposer, open_summarizer
from kbexp.budget import Budget
from kbexp.candidate import Proposal, ProposalRequest, Proposer
from kbexp.config import RunConfig
from kbexp.evaluation import open_evaluator
from kbexp.events import DuplicateFound, Event, ProposalReceived, VerdictReached
from kbexp.proposals.feedback import feedback
from kbexp.search import score_named, search
from kbexp.summary import RunSummary
from kbexp.task import Task
from kbexp.tasks.load import load

CONF = Path(__file__).resolve().parents[1] / "conf"

ALGORITHMS = (
    "ps", "ps_summarizer", "ps_epsnet", "ps_epsnet_summarizer",
    "best_of_n", "sequential", "beam", "random_restart", "gepa", "openevolve",
)  # fmt: skip

TASKS = (
    "matmul_tall_skinny", "softmax", "layernorm", "cross_entropy",
    "cumsum", "conv2d_depthwise", "swiglu", "embedding_bag",
)  # fmt: skip
"""Of many families, and those whose references are quick here."""

AGAINST = ("best_of_n", "ps")
"""With which every algorithm is compared."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One search: `best` holds the best kernel's id after each evaluation, "" for the reference."""

    algorithm: str
    task: str
    seed: int
    best: tuple[str, ...]
    proposals: int
    duplicates: int
    correct: int

    def found(self, evaluations: int) -> str:
        """Return the best kernel's id after so many evaluations beside that of the reference."""
        return self.best[min(evaluations, len(self.best) - 1)]


class Quiet:
    """A proposer that computes only while nothing is judged."""

    def __init__(self, proposer: Proposer, quiet: threading.RLock) -> None:
        self._proposer, self._quiet = proposer, quiet

    def propose(self, request: ProposalRequest) -> Proposal:
        with self._quiet:
            return self._proposer.propose(request)


def composed(algorithm: str, task: str, seed: int, evaluations: int) -> RunConfig:
    """Return the settings of one search, as the command line would."""
    from hydra import compose

    overrides = [
        f"algorithm={algorithm}", f"task={task}", f"seed={seed}", "budget=none",
        f"budget.evaluations={evaluations + 1}", f"budget.proposals={2 * evaluations}",
        "algorithm.num_steps=1000", "algorithm.num_threads=1", "search.max_staleness=0",
        "evaluator=quick", "evaluator.max_pairs=8", "evaluator.timing_s=0.6", "logger=none",
    ]  # fmt: skip
    return configuration.typed(compose("config", overrides), RunConfig)


def searched(config: RunConfig, task: Task, judge: Recorded) -> Curve:
    """Search once and return what was best after each evaluation."""
    summary, first = RunSummary(), first_kernel(task)
    best: list[str] = []
    counts = {"proposals": 0, "duplicates": 0}
    proposer = open_proposer(config, task, Path("none"))

    def record(event: Event) -> None:
        summary.apply(event)
        proposer.apply(event)
        counts["proposals"] += isinstance(event, ProposalReceived)
        counts["duplicates"] += isinstance(event, DuplicateFound)
        if isinstance(event, VerdictReached):
            found = summary.best.verdict.kernel_id if summary.best is not None else first.id
            best.append("" if found == first.id else found)

    outcome = search(
        config.algorithm,
        how=config.search,
        seed_kernel=first,
        proposer=Quiet(proposer, judge.quiet),
        summarizer=open_summarizer(config, task),
        submit=lambda kernel: judge.submit(task, kernel, Purpose.SEARCH, config.evaluator),
        record=record,
        budget=Budget(config.budget),
        score=score_named(config.metric),
        seed=config.seed,
        stop=threading.Event(),
        tell=feedback,
    )
    if outcome.error is not None:
        raise outcome.error
    verdicts = (candidate.verdict for candidate in outcome.archive.candidates.values())
    correct = sum(verdict.correct for verdict in verdicts if verdict is not None)
    return Curve(
        config.algorithm.name, config.task.name, config.seed, tuple(best), correct=correct, **counts
    )


def kept(path: Path) -> dict[tuple[str, str, int], Curve]:
    """Return the curves of earlier commands."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    curves = [Curve(**{**record, "best": tuple(record["best"])}) for record in records]
    return {(curve.algorithm, curve.task, curve.seed): curve for curve in curves}


def search_all(
    judge: Recorded, path: Path, algorithms: Sequence[str], tasks: Sequence[str], seeds: int,
    evaluations: int,
) -> dict[tuple[str, str, int], Curve]:  # fmt: skip
    """Run every search that was not run yet; return the curves of all."""
    curves = kept(path)
    for task_name in tasks:
        for algorithm in algorithms:
            for seed in range(seeds):
                if (algorithm, task_name, seed) in curves:
                    continue
                config = composed(algorithm, task_name, seed, evaluations)
                curve = searched(config, load(config.task, config.gpu.sizes), judge)
                curves[algorithm, task_name, seed] = curve
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(curve)) + "\n")
            print(f"{task_name} {algorithm}: {judge.judged} judged", file=sys.stderr, flush=True)
    return curves


def confirmed(
    judge: Recorded, curves: Sequence[Curve], points: Sequence[int], evaluations: int
) -> dict[tuple[str, str], float]:
    """Judge again what was best at any of `points`; return speedups by task and kernel.

    At least 1: what is wrong, or slower than the reference, is not put in the reference's place.
    """
    speedups: dict[tuple[str, str], float] = {}
    for task_name in dict.fromkeys(curve.task for curve in curves):
        config = composed("ps", task_name, 0, evaluations)
        task = load(config.task, config.gpu.sizes)
        settings = confirm_settings(config.evaluator, config.confirm.evaluator)
        speedups[task_name, ""] = 1.0
        mine = [curve for curve in curves if curve.task == task_name]
        for kernel_id in sorted({curve.found(point) for curve in mine for point in points} - {""}):
            kernel = judge.kernel(kernel_id)
            verdict = judge.verdict(task, kernel, Purpose.CONFIRM, settings)
            figure = verdict.speedup.value if verdict.correct and verdict.speedup else 1.0
            speedups[task_name, kernel_id] = max(1.0, figure)
        print(f"{task_name} again: {judge.judged} judged", file=sys.stderr, flush=True)
    return speedups


@dataclass(frozen=True, slots=True)
class Report:
    """All that is printed: curves, their kernels' figures, and at which points."""

    curves: dict[tuple[str, str, int], Curve]
    speedups: dict[tuple[str, str], float]
    algorithms: tuple[str, ...]
    tasks: tuple[str, ...]
    seeds: int
    points: tuple[int, ...]

    def logs(self, algorithm: str, point: int) -> Logs:
        """Return the logarithms of speedups after `point` evaluations, (tasks, seeds)."""
        return np.array([
            [
                math.log(self.speedups[task, self.curves[algorithm, task, seed].found(point)])
                for seed in range(self.seeds)
            ]
            for task in self.tasks
        ])  # fmt: skip

    def print(self) -> None:
        """Print the tables as markdown."""
        self._print_points()
        for other in AGAINST:
            if other in self.algorithms:
                self._print_against(other)
        self._print_tasks()

    def _print_points(self) -> None:
        print("| algorithm |", " | ".join(f"after {point}" for point in self.points), end=" ")
        print("| proposals | duplicates | correct |")
        print("|---|" + "---|" * (len(self.points) + 3))
        for name in self.algorithms:
            figures = [text(middle(self.logs(name, point))) for point in self.points]
            mine = [curve for key, curve in self.curves.items() if key[0] == name]
            means = [
                f"{sum(getattr(curve, field) for curve in mine) / len(mine):.1f}"
                for field in ("proposals", "duplicates", "correct")
            ]
            print(f"| `{name}` |", " | ".join([*figures, *means]), "|")

    def _print_against(self, other: str) -> None:
        names = [name for name in self.algorithms if name != other]
        last = self.points[-1]
        results = [paired(self.logs(name, last), self.logs(other, last)) for name in names]
        adjusted = holm([result.p for result in results])
        print(f"\n| against `{other}` | ratio after {last} | p | p (Holm) | tasks better, worse |")
        print("|---|---|---|---|---|")
        for name, result, p in zip(names, results, adjusted, strict=True):
            print(f"| `{name}` | {text(result.ratio)} | {result.p:.4f} | {p:.4f} |", end=" ")
            print(f"{result.won}, {result.lost} |")

    def _print_tasks(self) -> None:
        print("\n| geometric mean over seeds |", " | ".join(self.tasks), "|")
        print("|---|" + "---|" * len(self.tasks))
        for name in self.algorithms:
            means = np.exp(self.logs(name, self.points[-1]).mean(axis=1))
            print(f"| `{name}` |", " | ".join(f"{mean:.2f}" for mean in means), "|")


def main() -> None:
    """Search, judge again, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--algorithms", nargs="*", default=ALGORITHMS)
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--evaluations", type=int, default=16)
    parser.add_argument("--points", type=int, nargs="*", default=(4, 8, 12, 16))
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    from hydra import initialize_config_dir

    configuration.register(CONF)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = composed("ps", given.tasks[0], 0, given.evaluations)
        with open_evaluator(config.gpu, config.evaluator) as evaluator:
            judge = Recorded(evaluator, given.folder / "verdicts.jsonl")
            path = given.folder / "curves.jsonl"
            found = search_all(
                judge, path, given.algorithms, given.tasks, given.seeds, given.evaluations
            )
            chosen = {
                (algorithm, task, seed): found[algorithm, task, seed]
                for algorithm in given.algorithms
                for task in given.tasks
                for seed in range(given.seeds)
            }
            speedups = confirmed(judge, [*chosen.values()], given.points, given.evaluations)
    report = Report(
        chosen, speedups, tuple(given.algorithms), tuple(given.tasks), given.seeds,
        tuple(given.points),
    )  # fmt: skip
    print(f"`{' '.join(sys.argv)}` on {machine()}.\n")
    report.print()
    if given.plot is not None:
        draw(given.plot, {
            name: [(point, middle(report.logs(name, point))) for point in report.points]
            for name in report.algorithms
        })  # fmt: skip


if __name__ == "__main__":
    main()
