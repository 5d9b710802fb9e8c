"""Try a device with three evaluations: `python scripts/check_evaluator.py gpu=local`."""

import sys
from pathlib import Path

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from kbexp.app import configuration, explain
    from kbexp.app.jobs import reported
    from kbexp.script_config import CheckConfig
except ModuleNotFoundError as missing:
    print(
        f"{missing.name} is not installed for this Python: run `make setup`, then use "
        ".venv/bin/python in place of python.",
        file=sys.stderr,
    )
    sys.exit(2)

CONF = Path(__file__).resolve().parent.parent / "conf"


@hydra.main(version_base="1.3", config_path="../conf", config_name="check_evaluator")
def main(config: DictConfig) -> None:
    """Judge a reference three times; print what it took."""
    from kbexp.app.check_evaluator import check_evaluator

    job = HydraConfig.get()
    with reported(job):
        configuration.check_choices(job.runtime.choices, CheckConfig)
        check_evaluator(config)


if __name__ == "__main__":
    configuration.register(CONF)
    sys.exit(explain.main(main, CheckConfig))
