"""The settings that a run was started with, to tell runs that differ by their seeds alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbexp.tracking.run_info import JOURNAL_NAME, flatten

COMPOSED = Path(".hydra", "config.yaml")

MAX_BYTES = 2**20
"""Settings have some kilobytes."""

APART = ("seed", "logger", "project", "run_name", "resume", "verbose")
"""Settings by which runs may differ and are still repetitions of one another."""

SHOWN_CHARS = 40


def settings_of(folder: Path) -> dict[str, str] | None:
    """Return a run's settings as dotted names and texts, without its seed and who reads along.

    They stand in the first line of its journal or, where it has none, in what Hydra wrote; None
    where neither can be read.
    """
    config = _journaled(folder / JOURNAL_NAME)
    if config is None:
        config = _composed(folder / COMPOSED)
    if config is None:
        return None
    kept = {str(key): value for key, value in config.items() if key not in APART}
    return flatten(_plain(kept))


def differences(settings: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the names that do not have one value in all of them, with the value in each.

    A setting that one of them has not stands as "-" there.
    """
    names = sorted({name for each in settings for name in each})
    found = {name: [each.get(name, "-") for each in settings] for name in names}
    return {
        name: [value[:SHOWN_CHARS] for value in values]
        for name, values in found.items()
        if len(set(values)) > 1
    }


def _plain(value: Any) -> Any:
    """Return a value in which a number is a number, however it was written down."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _journaled(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            record = json.loads(file.readline(MAX_BYTES))
        config = record["about"]["config"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return config if isinstance(config, dict) and config else None


def _composed(path: Path) -> dict[str, Any] | None:
    import yaml

    try:
        with path.open("rb") as file:
            config = yaml.safe_load(file.read(MAX_BYTES))
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    return config if isinstance(config, dict) and config else None
