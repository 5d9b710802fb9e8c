"""What a search costs beyond its model and its evaluator.

    python benchmarks/loop.py > loop.md

The real loop, archive, board, ε-net and journal over a made-up model and evaluator that take no
time: milliseconds a candidate with 1,000 and with 100,000 kernels held, without a journal
and with one on this disk; admission to the ε-net; a journal of 100,000 events read back; memory.
Every line is measured in a process of its own. Prints markdown.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from landscape import Embedder, Evaluator, Model, events_of, kernel_of
from machine import machine

from kbexp.budget import Budget
from kbexp.config import BudgetConfig
from kbexp.events import Event
from kbexp.search import Archive, new_archive, score_named, search
from kbexp.search.epsilon_net import EpsilonNet
from kbexp.search.trigrams import Trigrams
from kbexp.search_config import AlgorithmConfig, ScoreFunction, SearchConfig, SearchMode
from kbexp.summary import RunSummary
from kbexp.tracking import Journal, read
from kbexp.tracking.lines import encode

MORE = 400
"""Candidates that are added to those held while the clock runs."""


def loop(held: int, mode: str, function: str, folder: Path) -> dict[str, float]:
    """Return milliseconds a candidate, without a journal and with one, `MORE` of them each."""
    how = SearchConfig(mode=SearchMode(mode), num_evaluations=16, max_staleness=10**6)
    archive, summary = new_archive(how), RunSummary()
    for event in events_of(held):
        archive.apply(event)
    archive.steps_done = archive.settled // 16
    archive.step_start = type(archive.step_start)(archive.settled, len(archive.candidates))
    plain = timed(archive, how, function, summary.apply)
    with Journal(folder / "journal.jsonl") as journal:

        def record(event: Event) -> None:
            journal.write(event)
            summary.apply(event)

        return {"ms": plain, "disk_ms": timed(archive, how, function, record, journal.commit)}


def timed(
    archive: Archive,
    how: SearchConfig,
    function: str,
    record: Callable[[Event], None],
    commit: Callable[[], None] = lambda: None,
) -> float:
    """Search on until `MORE` candidates have come; return milliseconds for each.

    Making the board, once when a search begins, is not in it.
    """
    before, first = len(archive.candidates), list[float]()

    def recorded(event: Event) -> None:
        if not first:
            first.append(time.perf_counter())
        record(event)

    search(
        AlgorithmConfig(
            name="ps",
            num_steps=10**6,
            num_candidates=16,
            num_threads=16,
            score_function=ScoreFunction(function),
        ),
        how=how,
        seed_kernel=kernel_of(0),
        proposer=Model(),
        submit=Evaluator().submit,
        record=recorded,
        commit=commit,
        budget=Budget(BudgetConfig(name="none", proposals=before - 1 + MORE)),
        score=score_named("speedup"),
        seed=0,
        stop=threading.Event(),
        archive=archive,
    )
    added = len(archive.candidates) - before
    return (time.perf_counter() - first[0]) / added * 1e3


def admission(held: int) -> dict[str, float]:
    """Return milliseconds from a vector's arrival to the net's answer, and to its being held."""
    embedder = Embedder()
    net = EpsilonNet(0.02, embedder)
    kernels = [kernel_of(number) for number in range(50)]
    for number in range(held):
        net._points.add(f"{number:032x}", embedder.vector(number))
    asking, holding = [], []
    for number, kernel in enumerate(kernels):
        vector = embedder.vector(10**7 + number).tolist()
        begun = time.perf_counter()
        net.place(kernel, vector)
        admitted, _ = net.sift({number: kernel})
        asked = time.perf_counter()
        assert admitted == number
        net.hold(kernel)
        asking.append(asked - begun)
        holding.append(time.perf_counter() - asked)
    return {
        "ms": statistics.median(asking) * 1e3,
        "worst_ms": max(asking) * 1e3,
        "hold_ms": statistics.median(holding) * 1e3,
    }


def trigrams() -> dict[str, float]:
    """Return milliseconds for the vector of a kernel of 2,000 characters, without a service."""
    texts = [kernel_of(number).source for number in range(50)]
    begun = time.perf_counter()
    Trigrams().embed(texts)
    return {"ms": (time.perf_counter() - begun) / len(texts) * 1e3}


def read_back(events: int, folder: Path) -> dict[str, float]:
    """Return seconds for reading a journal's events into an archive and a summary."""
    path, count = folder / "journal.jsonl", 0
    with path.open("wb") as file:
        for event in events_of(events // 4):
            file.write(encode(event))
            count += 1
    archive, summary = new_archive(SearchConfig()), RunSummary()
    begun = time.perf_counter()
    for event in read(path):
        archive.apply(event)
        summary.apply(event)
    return {
        "s": time.perf_counter() - begun,
        "events": count,
        "megabytes": path.stat().st_size / 1e6,
        "candidates": len(archive.candidates),
    }


def everything(held: int) -> dict[str, float]:
    """Hold so many kernels in archive, board, summary and ε-net, and search on for a little."""
    archive, summary = new_archive(SearchConfig()), RunSummary()
    embedder = Embedder()
    for event in events_of(held):
        archive.apply(event)
        summary.apply(event)
    config = AlgorithmConfig(
        name="ps", num_steps=held, num_candidates=16, num_threads=16, epsilon=0.02
    )
    search(
        config,
        how=SearchConfig(num_evaluations=16, max_staleness=10**6),
        seed_kernel=kernel_of(0),
        proposer=Model(),
        submit=Evaluator().submit,
        record=summary.apply,
        budget=Budget(BudgetConfig(name="none", proposals=held - 1 + MORE)),
        score=score_named("speedup"),
        seed=0,
        stop=threading.Event(),
        archive=archive,
        embedder=embedder,
    )
    return {"candidates": len(archive.candidates)}


PARTS: dict[str, Callable[..., dict[str, float]]] = {
    "loop": loop,
    "admission": admission,
    "trigrams": trigrams,
    "read_back": read_back,
    "everything": everything,
}


def measured(part: str, *arguments: Any) -> dict[str, float]:
    """Run a part in a process of its own; return what it said, and its largest memory."""
    command = [sys.executable, __file__, "--part", part, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    print(part, arguments, figures, file=sys.stderr, flush=True)
    return figures


def one(part: str, arguments: list[Any]) -> None:
    """Measure one part here and print it as JSON."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        needs = {"loop", "read_back"}
        figures = PARTS[part](*arguments, *([Path(folder)] if part in needs else []))
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps(figures))


def main() -> None:
    """Measure all and print markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs=2, metavar=("NAME", "ARGUMENTS"))
    arguments = parser.parse_args()
    if arguments.part:
        one(arguments.part[0], json.loads(arguments.part[1]))
        return
    print(f"`python benchmarks/loop.py` on {machine()}.\n")
    print("| mode, ranking | held | ms a candidate | with the journal on this disk |")
    print("|---|---|---|---|")
    for mode, function in (("stream", "mean"), ("stream", "ucb"), ("steps", "mean")):
        for held in (1_000, 100_000):
            took = measured("loop", held, mode, function)
            print(f"| {mode}, {function} | {held:,} | {took['ms']:.2f} | {took['disk_ms']:.2f} |")
    print("\n| | measured |\n|---|---|")
    for held in (1_000, 100_000):
        net = measured("admission", held)
        print(
            f"| admission to the ε-net, {held:,} held, 1,024 numbers a vector | median "
            f"{net['ms']:.2f} ms, worst of 50 {net['worst_ms']:.2f} ms; then "
            f"{net['hold_ms']:.2f} ms to hold it |"
        )
    print(f"| vector of a kernel without a service | {measured('trigrams')['ms']:.2f} ms |")
    back = measured("read_back", 100_000)
    print(
        f"| journal of {back['events']:,} events, {back['megabytes']:.0f} MB, read back | "
        f"{back['s']:.2f} s, {back['peak_mb']:.0f} MB of memory |"
    )
    full = measured("everything", 100_000)
    print(
        f"| memory with {full['candidates']:,} kernels of 2,000 characters in archive, summary, "
        f"board and ε-net | {full['peak_mb']:.0f} MB |"
    )


if __name__ == "__main__":
    main()
