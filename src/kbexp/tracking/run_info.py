"""What trackers are told of a run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kbexp.config import BudgetConfig
from kbexp.errors import KbexpError
from kbexp.score import score_for
from kbexp.summary import RunSummary

JOURNAL_NAME = "journal.jsonl"

_SECRET = re.compile(
    r"(api[_-]?key|token|secret|password|passwd|credentials?|authorization)$", re.IGNORECASE
)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What trackers need to know of a run beyond its events.

    `folder` is the run's own (journal, result), `launch_dir` where the person started the
    program: relative paths and addresses in the settings are meant from there. `config` is the
    resolved configuration, plain and without keys. `budget` gives the progress bars their ends.
    """

    folder: Path
    name: str
    project: str
    config: Mapping[str, Any]
    launch_dir: Path
    budget: BudgetConfig = field(default_factory=BudgetConfig)

    @classmethod
    def of_journal(cls, journal: Path, about: Mapping[str, Any], launch_dir: Path) -> RunInfo:
        """Return what a run's journal says of it in its first line, `about`."""
        config = about.get("config")
        config = dict(config) if isinstance(config, Mapping) else {}
        limits = config.get("budget")
        known = {field.name for field in fields(BudgetConfig)}
        limits = limits if isinstance(limits, Mapping) else {}
        return cls(
            folder=journal.parent,
            name=str(about.get("name") or journal.parent.name),
            project=str(about.get("project") or config.get("project") or "kbexp"),
            config=config,
            launch_dir=launch_dir,
            budget=BudgetConfig(**{key: limits[key] for key in known & set(limits)}),
        )

    @property
    def journal(self) -> Path:
        """The run's journal, as an absolute path."""
        return (self.folder / JOURNAL_NAME).absolute()

    def setting(self, path: str) -> Any:
        """Return a setting by its dotted name, or None where there is none."""
        value: Any = self.config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    def summary(self, *, forgiving: bool = True) -> RunSummary:
        """Return an empty summary that counts as this run's settings say.

        By speedup where the run's metric is a function that is not to be found here. Whether a
        metric that raises ends the run is not for a tracker to say: it is forgiven.
        """
        price = self.setting("gpu.price_usd_per_s")
        metric = self.setting("metric")
        try:
            score_for(metric)
        except KbexpError:
            metric = "speedup"
        return RunSummary(
            gpu_usd_per_s=float(price) if isinstance(price, int | float) else 0.0,
            metric=metric,
            forgiving=forgiving,
        )

    def public_config(self) -> dict[str, Any]:
        """Return the configuration with whatever looks like a key or a login blotted out."""
        return {str(key): _public(str(key), value) for key, value in self.config.items()}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a nested configuration as dotted names and texts."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        elif isinstance(value, str):
            flat[name] = value
        else:
            flat[name] = json.dumps(value, default=str)
    return flat


def public_address(address: str) -> str:
    """Return a server's address without a login and without a query."""
    return _LOGIN.sub("", address).partition("?")[0]


def _public(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _public(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_public(key, item) for item in value]
    if isinstance(value, str):
        return "***" if value and _SECRET.search(key) else _LOGIN.sub("***@", value)
    return value
