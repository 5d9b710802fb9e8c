"""The algorithms by name, their settings, and the requests that come of their choices.

Every algorithm runs in the same loops, under the same budget and journal. What it brings is a
choice of parents. `ALGORITHMS` holds them by the `kind` of their configuration.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from kbexp.candidate import Candidate, Embedder, ProposalRequest
from kbexp.errors import KbexpError
from kbexp.search.beam import Beam
from kbexp.search.chains import RandomRestart, Sequential
from kbexp.search.choice import Algorithm, BestOfN, Choice, Priority
from kbexp.search.rivals import RIVALS, check_rival
from kbexp.search_config import AlgorithmConfig, SearchConfig

if TYPE_CHECKING:
    from kbexp.search.archive import Archive
    from kbexp.search.epsilon_net import EpsilonNet

ALGORITHMS: dict[str, Callable[[AlgorithmConfig], Algorithm]] = {
    "priority": Priority,
    "best_of_n": BestOfN,
    "sequential": Sequential,
    "beam": Beam,
    "random_restart": RandomRestart,
}
"""Every algorithm of ours by its `kind`; add to it to offer another one."""


def validate(config: AlgorithmConfig, search: SearchConfig | None = None) -> Algorithm | None:
    """Return the algorithm of a configuration, None for a rival, which chooses by itself.

    Raises KbexpError for settings that cannot be.
    """
    if config.kind not in ALGORITHMS and config.kind not in RIVALS:
        known = ", ".join(sorted([*ALGORITHMS, *RIVALS]))
        raise KbexpError(
            f"There is no algorithm of kind {config.kind!r}: set algorithm.kind to one of {known}."
        )
    lowest: dict[str, float] = {
        "num_steps": 0,
        "num_candidates": 1,
        "num_proposals": 1,
        "num_threads": 1,
        "num_eval_samples": 1,
        "restart_after": 1,
        "epsilon": 0,
        "embedding_usd_per_mtok": 0,
        "ucb_c": 0,
        "test_frequency": 0,
    }
    for name, low in lowest.items():
        _check(f"algorithm.{name}", getattr(config, name), low)
    search = search or SearchConfig()
    _check("search.max_staleness", search.max_staleness, 0)
    _check("search.num_evaluations", search.num_evaluations, 1)
    _check("search.plateau", search.plateau, 1)
    _check("search.plateau_gain", search.plateau_gain, 0)
    _check("search.max_failures", search.max_failures, 1)
    if config.kind in RIVALS:
        check_rival(config)
        return None
    return ALGORITHMS[config.kind](config)


def _check(name: str, value: float | None, low: float) -> None:
    if value is not None and not low <= value < math.inf:
        raise KbexpError(f"{name} is {value}: give a number from {low:g} up.")


def epsilon_net(config: AlgorithmConfig, embedder: Embedder | None) -> EpsilonNet | None:
    """Return the net that admits proposals; None where ε is 0 and every new kernel is admitted.

    Without an embedder kernels are compared by their tokens.
    """
    if config.epsilon == 0:
        return None
    from kbexp.search.epsilon_net import EpsilonNet
    from kbexp.search.trigrams import Trigrams

    return EpsilonNet(config.epsilon, embedder or Trigrams())


def request_seed(seed: int, name: int | str) -> int:
    """Return the seed of a call: 31 bits that follow from the run's seed and the call's name.

    A proposal's name is its number.
    """
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def request_of(archive: Archive, choice: Choice, number: int, seed: int) -> ProposalRequest:
    """Return what to ask a model for; other threads may read it while the archive goes on."""
    text = archive.summary.summary.text if archive.summary else ""
    parents = tuple(copied(parent) for parent in choice.parents)
    return ProposalRequest(number, parents, request_seed(seed, number), text)


def copied(candidate: Candidate) -> Candidate:
    """Return a copy that another thread may read while the archive goes on."""
    return replace(candidate, verdicts=list(candidate.verdicts))
