"""What can be found out before anything is started or paid for."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from kbexp.config import LlmConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.proposals.models import models_of

LEAST_FREE_BYTES = 32 * 2**20
"""A run's journal, log and kernels take a few megabytes."""


def check_folder(folder: Path) -> None:
    """Raise KbexpError where a run's folder cannot be written or its disk is nearly full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"kbexp")
            file.flush()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise KbexpError(
            f"The run's folder {folder} cannot be written ({error.strerror}): free some space, or "
            "choose another place with hydra.run.dir=…"
        ) from error
    if free_bytes < LEAST_FREE_BYTES:
        raise KbexpError(
            f"The disk of {folder} has {free_bytes / 2**20:.0f} MB left and a run needs "
            f"{LEAST_FREE_BYTES / 2**20:.0f}: free some, or choose another with hydra.run.dir=…"
        )


def check_key(config: LlmConfig) -> None:
    """Raise ModelUnavailable where the key of a model is not in the environment."""
    for model in models_of(config):
        variable = model.config.api_key_env
        if variable and not os.environ.get(variable, "").strip():
            raise ModelUnavailable(
                f"llm={config.name} needs a key: set the environment variable {variable}, "
                "or take llm=offline, which needs none."
            )
