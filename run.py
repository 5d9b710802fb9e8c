"""Search for faster kernels: `python run.py task=softmax`; `--help` lists what can be chosen."""

import math
import sys
from pathlib import Path

try:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig

    from kbexp.app import configuration, explain, resume
    from kbexp.app.compare import conclude
    from kbexp.app.jobs import reported
    from kbexp.app.sweeps import exit_code, sweeps
    from kbexp.config import RunConfig
except ModuleNotFoundError as missing:
    print(
        f"{missing.name} is not installed for this Python: run `make setup`, then use "
        ".venv/bin/python in place of python.",
        file=sys.stderr,
    )
    sys.exit(2)

CONF = Path(__file__).resolve().parent / "conf"


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> float:
    """Run one search and return its best score, which a sweeper maximises; NaN where it failed."""
    from kbexp.app.run import run

    job = HydraConfig.get()
    with reported(job):
        configuration.check_choices(job.runtime.choices, RunConfig)
        return run(config, Path(job.runtime.output_dir))
    return math.nan


def start() -> None:
    """Go on with a run where the command line asks for that, or begin one."""
    if not resume.resumed(sys.argv[1:]):
        main()


if __name__ == "__main__":
    configuration.register(CONF)
    status = explain.main(start)
    conclude(sweeps)
    sys.exit(status or exit_code())
