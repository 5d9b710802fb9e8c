"""Make, stop or list apps that stay warm between runs: `python scripts/deploy.py gpu=h100`."""

import sys
from pathlib import Path

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from kbexp.app import configuration, explain
    from kbexp.app.jobs import reported
    from kbexp.script_config import DeployConfig
except ModuleNotFoundError as missing:
    print(
        f"{missing.name} is not installed for this Python: run `make setup`, then use "
        ".venv/bin/python in place of python.",
        file=sys.stderr,
    )
    sys.exit(2)

CONF = Path(__file__).resolve().parent.parent / "conf"


@hydra.main(version_base="1.3", config_path="../conf", config_name="deploy")
def main(config: DictConfig) -> None:
    """Do what is asked for; print a line of it."""
    from kbexp.app.deploy import deploy

    job = HydraConfig.get()
    with reported(job):
        configuration.check_choices(job.runtime.choices, DeployConfig)
        deploy(config, CONF, job.overrides.task)


if __name__ == "__main__":
    configuration.register(CONF)
    sys.exit(explain.main(main, DeployConfig))
