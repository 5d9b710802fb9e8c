"""What `scripts/deploy.py` does: make, stop or list apps that outlive runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from kbexp.app.configuration import typed
from kbexp.app.evaluator_settings import check_evaluator_settings
from kbexp.config import Provider
from kbexp.errors import KbexpError
from kbexp.script_config import DeployAction, DeployConfig
from kbexp.tracking.text import one_line

if TYPE_CHECKING:
    from omegaconf import DictConfig


def deploy(
    composed: DictConfig, conf: Path, given: Sequence[str], out: TextIO = sys.stdout
) -> None:
    """Carry out `composed.action`; `conf` is the folder of the configuration.

    `given` is what stands on the command line: an app is made, changed or stopped by name alone.
    Raises KbexpError where no device is named or it is not rented, and where Modal cannot be used.
    """
    from kbexp.evaluation.modal import deployed

    config = typed(composed, DeployConfig)
    if config.action is DeployAction.list:
        _list(conf, out)
        return
    if not any(word.startswith("gpu=") for word in given):
        raise KbexpError(
            "No device is named: say which, as in `python scripts/deploy.py gpu=h100`."
        )
    gpu = config.gpu
    if gpu.provider is not Provider.modal:
        raise KbexpError(f"gpu={gpu.name} is not rented: give one that is, such as gpu=h100.")
    if config.action is DeployAction.stop:
        ended = deployed.stop(gpu)
        print(f"{'Stopped' if ended else 'There was no'} app of gpu={gpu.name}.", file=out)
        return
    check_evaluator_settings(config.evaluator)
    made = deployed.deploy(gpu, config.evaluator)
    for name, (before, now) in made.changed.items():
        print(f"{name} was {one_line(before, 40)} and is {now} now.", file=out)
    print(
        f"Deployed {made.name} ({made.app_id}). It costs nothing until it is used with "
        f"gpu={gpu.name} gpu.deployed=true; then ${gpu.usd_per_s:.6f} a second and container, up "
        f"to {gpu.idle_timeout_s} s after it was used last.",
        file=out,
    )


def _list(conf: Path, out: TextIO) -> None:
    """Print a line for every deployed app of the devices that `conf` offers."""
    from kbexp.evaluation.modal import deployed

    none = True
    for gpu in deployed.rented_gpus(conf / "gpu"):
        found = deployed.find(gpu)
        if found is None:
            continue
        none = False
        count = found.containers
        warm = "no container" if not count else f"{count} container{'s' if count > 1 else ''}"
        print(f"gpu={gpu.name}: {found.name} ({found.app_id}), {warm}", file=out)
    if none:
        print("Nothing is deployed.", file=out)
