"""How much of its time the evaluator waits while a slow model thinks.

    python benchmarks/pipeline.py --scale 0.02 > pipeline.md

A made-up model answers after 20 s (between 10 and 30), an evaluation takes 1 s, 16 calls are in
flight; all of it `--scale` times as long. The real loop, in a stream and in steps of 16. The
evaluator is counted from its first kernel after the reference to its last. Prints markdown.

Where the model can bring fewer kernels a second than the evaluator can judge, the evaluator waits
whatever the loop does; `--calls` and `--answer` move that.
"""

from __future__ import annotations

import argparse
import threading

from landscape import Evaluator, Model, kernel_of
from machine import machine

from kbexp.budget import Budget
from kbexp.config import BudgetConfig
from kbexp.search import score_named, search
from kbexp.search_config import AlgorithmConfig, SearchConfig, SearchMode


def idle_share(mode: SearchMode, calls: int, answer_s: float, judge_s: float, steps: int) -> float:
    """Return the share of the time in which the evaluator had nothing to judge."""
    evaluator = Evaluator(judge_s)
    config = AlgorithmConfig(name="ps", num_steps=steps, num_candidates=calls, num_threads=calls)
    search(
        config,
        how=SearchConfig(mode=mode),
        seed_kernel=kernel_of(0),
        proposer=Model(answer_s),
        submit=evaluator.submit,
        record=lambda event: None,
        budget=Budget(BudgetConfig(name="none")),
        score=score_named("speedup"),
        seed=0,
        stop=threading.Event(),
    )
    spans = evaluator.busy[1:]
    worked_s = sum(end - begin for begin, end in spans)
    return 1 - worked_s / (spans[-1][1] - spans[0][0])


def main() -> None:
    """Measure both modes and print markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=0.02)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    scale = arguments.scale
    print(f"`python benchmarks/pipeline.py --scale {scale:g}` on {machine()}.\n")
    print("| model answers after | calls in flight | could bring | stream: idle | steps: idle |")
    print("|---|---|---|---|---|")
    for calls, answer_s in ((16, 20.0), (24, 20.0), (16, 10.0), (16, 5.0)):
        shares = [
            idle_share(mode, calls, answer_s * scale, scale, arguments.steps)
            for mode in (SearchMode.stream, SearchMode.steps)
        ]
        print(
            f"| {answer_s:g} s | {calls} | {calls / answer_s:.2f} kernels a second | "
            f"{shares[0]:.1%} | {shares[1]:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
