"""How a search is driven, whatever its algorithm: a section of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
