"""Schemas of what a search can be told: its algorithm, and how any algorithm is driven."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ScoreFunction(StrEnum):
    """How priority search ranks candidates."""

    mean = "mean"
    ucb = "ucb"
    newest = "newest"


@dataclass
class AlgorithmConfig:
    """A search algorithm. `kind` names the engine; the rest are its settings.

    One step takes the `num_candidates` candidates of highest priority, asks for `num_proposals`
    new ones from each, admits those farther than `epsilon` from all that are held, and judges
    them. `num_threads` calls to the model are in flight at once. Every `test_frequency` steps the
    best kernel is judged once more (0 is never); every `log_frequency` steps the console says in a
    line where the search stands. A candidate that could still be the best is judged until it has
    `num_eval_samples` verdicts. A chain of `random_restart` begins anew after `restart_after`
    proposals in a row that were no better. The ε-net compares kernels by `embedding_model`, a name
    of LiteLLM's with an address and a key's variable of its own, or by their tokens (None);
    `embedding_usd_per_mtok` is for models that LiteLLM has no price of.
    """

    name: str = "???"
    kind: str = "priority"
    num_steps: int = 11
    num_candidates: int = 5
    num_proposals: int = 1
    num_threads: int = 4
    epsilon: float = 0.0
    embedding_model: str | None = None
    embedding_api_base: str | None = None
    embedding_api_key_env: str | None = None
    embedding_usd_per_mtok: float | None = None
    summarizer: bool = False
    score_function: ScoreFunction = ScoreFunction.mean
    ucb_c: float = 1.0
    num_eval_samples: int = 1
    restart_after: int = 3
    log_frequency: int = 1
    test_frequency: int = 0


class SearchMode(StrEnum):
    """How a search goes on: as a stream in which nothing waits, or in rounds."""

    stream = "stream"
    steps = "steps"


@dataclass
class SearchConfig:
    """How any algorithm is driven.

    In a stream at most `max_staleness` other kernels are judged between the choice of a proposal's
    parents and its answer (None: four times `algorithm.num_threads`), and `num_evaluations` kernels
    are with the evaluator at once (None: two for each device, and two more). The run is complete
    once the best has not improved by more than the share `plateau_gain` over `plateau` judged
    kernels (None: never). It pauses after `max_failures` evaluations, or calls, in a row that
    failed through no fault of a kernel.
    """

    mode: SearchMode = SearchMode.stream
    max_staleness: int | None = None
    num_evaluations: int | None = None
    plateau: int | None = None
    plateau_gain: float = 0.01
    max_failures: int = 10
