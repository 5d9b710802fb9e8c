"""The rivals by the `kind` of their configuration, and what has to be so that one can run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbexp.errors import KbexpError
from kbexp.search_config import AlgorithmConfig
from kbexp.verdict import Verdict

if TYPE_CHECKING:
    from kbexp.search.rivals.talk import Talk

Tell = Callable[[Verdict], str]
"""Puts a verdict into words for a model."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a rival starts from: its seed and the text of the first kernel."""

    seed: int
    first: str


@dataclass(frozen=True, slots=True)
class Rival:
    """A package and what drives it: `play` blocks until the package's search is over.

    The package is what has to be importable, and the name of the extra that brings it.
    """

    package: str
    play: Callable[[Talk, Settings], None]


def _gepa(talk: Talk, settings: Settings) -> None:
    from kbexp.search.rivals.gepa import play

    play(talk, settings)


def _openevolve(talk: Talk, settings: Settings) -> None:
    from kbexp.search.rivals.openevolve import play

    play(talk, settings)


RIVALS: dict[str, Rival] = {
    "gepa": Rival("gepa", _gepa),
    "openevolve": Rival("openevolve", _openevolve),
}
"""Every rival by its `kind`."""


def check_rival(config: AlgorithmConfig) -> None:
    """Raise KbexpError where the package is not installed or a setting is not the rival's."""
    package = RIVALS[config.kind].package
    if importlib.util.find_spec(package) is None:
        raise KbexpError(
            f"algorithm={config.name} needs the package {package}, which is not installed: install "
            f"it with pip install -e '.[{package}]'."
        )
    fixed = {"num_candidates": 1, "num_proposals": 1, "num_threads": 1, "num_eval_samples": 1}
    fixed_too = {"epsilon": 0.0, "summarizer": False}
    for name, value in (fixed | fixed_too).items():
        if getattr(config, name) != value:
            raise KbexpError(
                f"algorithm.{name} has no place in {config.name}, which decides for itself what to "
                f"ask and asks one question at a time: leave it at {str(value).lower()}."
            )
