"""The sweeps of this program: which runs they have, and what became of those that left nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbexp.app.folders import Before, remove_empty

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kbexp.analysis.outcomes import Outcome

MULTIRUN_NAME = "multirun.yaml"
"""What Hydra writes into a sweep's folder."""

NAMES = ("task", "gpu", "algorithm", "llm")


@dataclass(slots=True)
class Sweep:
    """One sweep: where it goes, its runs' overrides by their numbers, how those ended.

    `members` is empty where another sweeper than Hydra's own decides what is run. `begun` and
    `refused` know what was started in this process, as Hydra's own launcher does; `refused` are
    those that left no folder, with the reason. `exit_code` is that of the first run that failed.
    """

    folder: Path
    before: Before
    there: frozenset[Path]
    common: Mapping[str, str] = field(default_factory=dict)
    members: Sequence[Sequence[str]] = ()
    begun: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    exit_code: int = 0

    @classmethod
    def of(cls, folder: Path, config: DictConfig) -> Sweep:
        """Return a sweep that is about to begin, of which `config` is what all runs share."""
        there = frozenset(folder.iterdir()) if folder.is_dir() else frozenset()
        members: list[list[str]] = []
        with contextlib.suppress(Exception):  # Hydra reports the mistake a moment later.
            members = _members(config)
        return cls(folder, Before.of(folder), there, _common(config), members)

    def fail(self, number: int, folder: Path, reason: str, exit_code: int) -> None:
        """Note that a run failed, and take its folder back where it never began."""
        self.exit_code = self.exit_code or exit_code
        before = self.before.within(folder)
        if before is None or before.missing[-1] in self.there:
            return
        before.take_back()
        if not folder.exists():
            self.refused[number] = reason

    def without_folder(self) -> list[tuple[int, Outcome]]:
        """Return the runs, by number, of which there is no folder: refused ones, or never begun."""
        if not self.begun:
            return []
        found = [(n, self._outcome(n, "refused", reason)) for n, reason in self.refused.items()]
        never = (number for number in range(len(self.members)) if number not in self.begun)
        return found + [(n, self._outcome(n, "not begun", "")) for n in never]

    def take_back(self) -> None:
        """Remove the folder of a sweep that has come to nothing, where it was not there before."""
        multirun = self.folder / MULTIRUN_NAME
        with contextlib.suppress(OSError):
            if self.before.missing and set(self.folder.iterdir()) == {multirun}:
                multirun.unlink()
                remove_empty(self.before.missing)

    def _outcome(self, number: int, state: str, reason: str) -> Outcome:
        from kbexp.analysis.outcomes import Outcome

        given = self.members[number] if number < len(self.members) else []
        own = [each for each in given if any(each not in other for other in self.members)]
        said = {**self.common, **dict(override.split("=", 1) for override in own)}
        seed = said.get("seed", "")
        return Outcome(
            folder=self.folder,
            label=f"{number} {' '.join(own)}",
            state=state,
            reason=reason,
            task=said.get("task", ""),
            gpu=said.get("gpu", ""),
            algorithm=said.get("algorithm", ""),
            llm=said.get("llm", ""),
            seed=int(seed) if seed.isdecimal() and len(seed) < 19 else None,
        )


sweeps: list[Sweep] = []
"""Those that this process has begun."""


def exit_code() -> int:
    """Return that of the first run of a sweep that failed in this process, 0 where none did."""
    return next((sweep.exit_code for sweep in sweeps if sweep.exit_code), 0)


def _members(config: DictConfig) -> list[list[str]]:
    """Return the overrides of every run, as Hydra's own sweeper makes them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    sweeper = config.hydra.sweeper
    if not str(sweeper._target_).endswith(f".{BasicSweeper.__name__}"):
        return []
    given = [f"{key}={value}" for key, value in (sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*given, *config.hydra.overrides.task])
    batches = BasicSweeper.split_arguments(overrides, None)
    return [list(member) for batch in batches for member in batch]


def _common(config: Any) -> dict[str, str]:
    """Return the names that all runs have where none of their own overrides says otherwise."""
    from omegaconf import OmegaConf

    keys = {name: f"{name}.name" for name in NAMES} | {"seed": "seed"}
    found: dict[str, str] = {}
    for name, key in keys.items():
        with contextlib.suppress(Exception):  # a value that is missing, or a mistake
            found[name] = str(OmegaConf.select(config, key))
    return found
