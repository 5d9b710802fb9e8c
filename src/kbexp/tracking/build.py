"""From the `logger` settings to the trackers of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kbexp.config import LoggerConfig
from kbexp.errors import KbexpError
from kbexp.tracking.follow import Tracker
from kbexp.tracking.run_info import RunInfo

if TYPE_CHECKING:
    from kbexp.tracking.console import Console

CONSOLES = ("auto", "live", "plain", "off")
WANDB_MODES = ("offline", "online", "disabled")


def trackers(config: LoggerConfig, run: RunInfo) -> list[Tracker]:
    """Return the trackers that are switched on, none of them started.

    They do nothing until events reach them (`Journal.subscribe`), so that a broken one cannot
    keep a run from starting. Raises KbexpError for a setting that means nothing.
    """
    _check("console", config.console, CONSOLES)
    _check("wandb_mode", config.wandb_mode, WANDB_MODES)
    chosen: list[Tracker] = []
    if config.console != "off":
        from kbexp.tracking.console import Console

        chosen.append(Console(run, mode=config.console))
    if config.mlflow:
        from kbexp.tracking.mlflow_tracker import MlflowTracker

        chosen.append(MlflowTracker(run, resolve_uri(config.mlflow_uri, run.launch_dir)))
    if config.wandb and config.wandb_mode != "disabled":
        from kbexp.tracking.wandb_tracker import WandbTracker

        chosen.append(WandbTracker(run, mode=config.wandb_mode))
    return chosen


def console_of(chosen: Sequence[Tracker]) -> Console | None:
    """Return the tracker that writes to the terminal, where there is one."""
    from kbexp.tracking.console import Console

    return next((tracker for tracker in chosen if isinstance(tracker, Console)), None)


def prepare(config: LoggerConfig, launch_dir: Path) -> None:
    """Make the stores that many runs will write at once; for the parent of a sweep.

    Each run does the same, one after the other, where the parent did not. Raises KbexpError where
    a store cannot be made.
    """
    if config.mlflow:
        from kbexp.tracking import mlflow_store

        mlflow_store.prepare(resolve_uri(config.mlflow_uri, launch_dir))


def resolve_uri(uri: str, launch_dir: Path) -> str:
    """Return an MLflow address with a relative SQLite path made absolute from `launch_dir`."""
    scheme, separator, path = uri.partition(":///")
    if not separator or not scheme.startswith("sqlite") or not path or path == ":memory:":
        return uri
    return f"{scheme}:///{launch_dir.absolute() / path}"


def _check(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise KbexpError(f"There is no logger.{name}={value}: choose one of {', '.join(choices)}.")
