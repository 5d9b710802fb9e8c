"""`python -m kbexp.tracking FOLDER`: read a run's journal into trackers once more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kbexp.config import LoggerConfig
from kbexp.errors import KbexpError
from kbexp.events import RunStarted
from kbexp.tracking.build import WANDB_MODES, trackers
from kbexp.tracking.console import Console
from kbexp.tracking.follow import describe, replay, report
from kbexp.tracking.journal import read
from kbexp.tracking.run_info import JOURNAL_NAME, RunInfo


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay a journal; return the exit status."""
    defaults = LoggerConfig(name="replay")
    parser = argparse.ArgumentParser(
        prog="python -m kbexp.tracking",
        description="Read a run's journal into MLflow or W&B, or print it. What is there already "
        "is completed, not doubled.",
    )
    parser.add_argument("run", type=Path, help="a run's folder, or its journal")
    parser.add_argument("--mlflow", nargs="?", const=defaults.mlflow_uri, metavar="URI")
    parser.add_argument("--wandb", nargs="?", const="offline", choices=WANDB_MODES)
    chosen = parser.parse_args(arguments)
    journal = chosen.run / JOURNAL_NAME if chosen.run.is_dir() else chosen.run
    try:
        _replay(journal, chosen.mlflow, chosen.wandb)
    except KbexpError as error:
        report(str(error))
        return error.exit_code
    except Exception as error:
        report(f"{journal} could not be replayed: {describe(error)}.")
        return 1
    return 0


def _replay(journal: Path, mlflow_uri: str | None, wandb_mode: str | None) -> None:
    first = next(read(journal), None)
    if first is None:
        raise KbexpError(f"The journal {journal} is empty; there is nothing to replay.")
    about = first.about if isinstance(first, RunStarted) else {}
    run = RunInfo.of_journal(journal, about, Path.cwd())
    if mlflow_uri is None and wandb_mode is None:
        replay(journal, Console(run, mode="plain", stream=sys.stdout, past=True))
        return
    config = LoggerConfig(
        name="replay",
        console="off",
        mlflow=mlflow_uri is not None,
        mlflow_uri=mlflow_uri or "",
        wandb=wandb_mode is not None,
        wandb_mode=wandb_mode or "offline",
    )
    for tracker in trackers(config, run):
        replay(journal, tracker)


if __name__ == "__main__":
    sys.exit(main())
