"""Judge kernels by hand: `python scripts/evaluate.py kernel=mine.py task=softmax`."""

import sys
from pathlib import Path

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from kbexp.app import configuration, explain
    from kbexp.app.jobs import reported
    from kbexp.script_config import EvaluateConfig
except ModuleNotFoundError as missing:
    print(
        f"{missing.name} is not installed for this Python: run `make setup`, then use "
        ".venv/bin/python in place of python.",
        file=sys.stderr,
    )
    sys.exit(2)

CONF = Path(__file__).resolve().parent.parent / "conf"


@hydra.main(version_base="1.3", config_path="../conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Judge the kernels that are named; print one JSON line each."""
    from kbexp.app.judge_files import judge_files

    job = HydraConfig.get()
    with reported(job):
        configuration.check_choices(job.runtime.choices, EvaluateConfig)
        judge_files(config, job.overrides.task)


if __name__ == "__main__":
    configuration.register(CONF)
    sys.exit(explain.main(main, EvaluateConfig))
