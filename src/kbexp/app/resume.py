"""Going on with a run: `python run.py resume=FOLDER` and nothing else.

The settings are those that the run was started with, as Hydra wrote them down in its folder, or
as the first line of its journal has them. Hydra itself is not asked to compose anything: what it
would compose today may differ, and it would write that over what is in the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbexp.config import RunConfig
from kbexp.errors import KbexpError

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMPOSED = Path(".hydra", "config.yaml")
HYDRA = Path(".hydra", "hydra.yaml")


def resumed(arguments: Sequence[str]) -> bool:
    """Go on with the run that the command line names; False where it names none.

    Raises KbexpError for a folder that holds no run, and for a setting that is not the run's.
    """
    named = [a.partition("=")[2].strip("'\"") for a in arguments if a.startswith("resume=")]
    named = [name for name in named if name not in ("", "null")]
    if not named:
        return False
    others = [argument for argument in arguments if not argument.startswith("resume=")]
    flags = [argument for argument in others if argument.startswith("-")]
    if len(named) > 1 or flags:
        raise KbexpError(
            "resume=FOLDER goes on with one run, as it was started: give one folder and no flags."
        )
    folder = Path(named[0]).absolute()
    composed = recorded(folder)
    hydra = _hydra(folder)
    _check_same(others, composed, hydra, folder)
    _go_back(hydra)
    _log(hydra, folder)

    from kbexp.app.run import run

    run(composed, folder)
    return True


def recorded(folder: Path) -> DictConfig:
    """Return the settings that a folder's run was started with; KbexpError where there are none."""
    from omegaconf import OmegaConf

    from kbexp.tracking.run_info import JOURNAL_NAME

    schema = OmegaConf.structured(RunConfig)
    if (folder / COMPOSED).is_file():
        loaded = OmegaConf.load(folder / COMPOSED)
    elif (folder / JOURNAL_NAME).is_file():
        loaded = OmegaConf.create(_journaled(folder / JOURNAL_NAME))
    else:
        raise KbexpError(
            f"{folder} is no run's folder: give the one that holds the run's {JOURNAL_NAME}."
        )
    merged = OmegaConf.merge(schema, loaded)
    assert OmegaConf.is_dict(merged)
    return merged  # type: ignore[return-value]


def _journaled(journal: Path) -> dict[str, Any]:
    """Return the settings in a journal's first line, where nothing in them was blotted out."""
    with journal.open(encoding="utf-8") as file:
        line = file.readline()
    try:
        config = json.loads(line)["about"]["config"]
    except (ValueError, KeyError, TypeError):
        config = None
    if not isinstance(config, dict) or "***" in json.dumps(config):
        raise KbexpError(
            f"{journal} does not say in full what its run was started with: give the command that "
            f"it was started with, and hydra.run.dir={journal.parent}."
        )
    return config


def _hydra(folder: Path) -> DictConfig | None:
    """Return Hydra's own part of the settings; None where it was not written."""
    from omegaconf import DictConfig, OmegaConf

    if not (folder / HYDRA).is_file():
        return None
    loaded = OmegaConf.load(folder / HYDRA)
    return loaded if isinstance(loaded, DictConfig) else None


def _check_same(
    arguments: Sequence[str], composed: DictConfig, hydra: DictConfig | None, folder: Path
) -> None:
    """Raise KbexpError for a setting on the command line that is not the run's."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    for override in OverridesParser.create().parse_overrides(list(arguments)):
        key = override.key_or_group
        has: Any = None
        if key == "hydra.run.dir":
            same = Path(str(override.value())).absolute() == folder
            has = folder
        else:
            choices = OmegaConf.select(hydra, "hydra.runtime.choices") if hydra else None
            if choices is not None and key in choices:
                has = choices[key]
            else:
                has = OmegaConf.select(composed, key)
            same = not override.is_delete() and override.value() == has
        if not same:
            shown = "has no such setting" if has is None else f"was started with {key}={has}"
            raise KbexpError(
                f"{override.input_line} is not what this run was: the run in {folder} {shown}; "
                "leave it out, a run goes on with the settings that it was started with."
            )


def _go_back(hydra: DictConfig | None) -> None:
    """Go to where the run was started: relative paths in its settings are meant from there."""
    from omegaconf import OmegaConf

    started = OmegaConf.select(hydra, "hydra.runtime.cwd") if hydra else None
    if isinstance(started, str):
        with contextlib.suppress(OSError):  # another machine, perhaps
            os.chdir(started)


def _log(hydra: DictConfig | None, folder: Path) -> None:
    """Log as the run did, into its own folder."""
    from omegaconf import OmegaConf

    if hydra is None or OmegaConf.select(hydra, "hydra.job_logging") is None:
        return
    from hydra.core.utils import configure_log

    hydra.hydra.runtime.output_dir = str(folder)  # it may have been moved
    configure_log(hydra.hydra.job_logging, False)
