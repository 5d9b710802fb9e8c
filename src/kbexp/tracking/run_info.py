"""What trackers are told of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kbexp.config import BudgetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What trackers need to know of a run beyond its events.

    `folder` is the run's own (journal, result), `launch_dir` where the person started the
    program: relative paths and addresses in the settings are meant from there. `config` is the
    resolved configuration, plain and without keys. `budget` gives the progress bar its ends.
    """

    folder: Path
    name: str
    project: str
    config: Mapping[str, Any]
    launch_dir: Path
    budget: BudgetConfig = field(default_factory=BudgetConfig)
