"""What Hydra is told to do beside running a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from kbexp.app.folders import Before
from kbexp.app.sweeps import Sweep, sweeps
from kbexp.tracking.run_info import JOURNAL_NAME

before_run: dict[Path, Before] = {}
"""What there was of a single run's folder before Hydra wrote into it."""


class Folders(Callback):
    """Keeps the settings that a run was started with, and notes where a sweep goes."""

    def on_run_start(self, config: Any, **_: Any) -> None:
        """Have Hydra write no settings into the folder of a run that is there already.

        What a later session changed is in the journal; and the folder may be another run's, which
        is then refused and left as it is.
        """
        from omegaconf import open_dict, read_write

        folder = _folder(config.hydra.run)
        if folder is not None:
            before_run[folder] = Before.of(folder)
        if folder is not None and (folder / JOURNAL_NAME).exists():
            with read_write(config), open_dict(config):
                config.hydra.output_subdir = None

    def on_multirun_start(self, config: Any, **_: Any) -> None:
        """Note the sweep's folder: Hydra does not say when a sweep ends whose jobs failed."""
        folder = _folder(config.hydra.sweep)
        if folder is not None:
            sweeps.append(Sweep.of(folder, config))


def _folder(setting: Any) -> Path | None:
    """Return the folder that a part of Hydra's settings names, None where that has a mistake.

    Hydra finds the mistake a moment later, and reports it as one.
    """
    from omegaconf.errors import OmegaConfBaseException

    try:
        return Path(str(setting.dir)).absolute()
    except OmegaConfBaseException:
        return None
