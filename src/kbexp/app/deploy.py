"""What `scripts/deploy.py` does: make, stop or list apps that outlive runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from kbexp.app.configuration import typed
from kbexp.config import Provider
from kbexp.errors import KbexpError
from kbexp.script_config import DeployAction, DeployConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def deploy(composed: DictConfig, conf: Path, out: TextIO = sys.stdout) -> None:
    """Carry out `composed.action`; `conf` is the folder of the configuration.

    Raises KbexpError where the device is not rented, and where Modal cannot be used.
    """
    from kbexp.evaluation.modal import deployed

    config = typed(composed, DeployConfig)
    if config.action is DeployAction.list:
        for gpu in deployed.rented_gpus(conf / "gpu"):
            found = deployed.find(gpu)
            if found is not None:
                warm = f"{found.containers} containers" if found.containers else "no container"
                print(f"gpu={gpu.name}: {found.name} ({found.app_id}), {warm}", file=out)
        return
    gpu = config.gpu
    if gpu.provider is not Provider.modal:
        raise KbexpError(f"gpu={gpu.name} is not rented: give one that is, such as gpu=h100.")
    if config.action is DeployAction.stop:
        ended = deployed.stop(gpu)
        print(f"{'Stopped' if ended else 'There was no'} app of gpu={gpu.name}.", file=out)
        return
    made = deployed.deploy(gpu, config.evaluator)
    print(
        f"Deployed {made.name} ({made.app_id}). It costs nothing until it is used with "
        f"gpu={gpu.name} gpu.deployed=true; then ${gpu.usd_per_s:.6f} a second and container, up "
        f"to {gpu.idle_timeout_s} s after it was used last.",
        file=out,
    )
