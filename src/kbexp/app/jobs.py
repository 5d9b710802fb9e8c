"""One job of Hydra's: what goes wrong is one sentence, and what never began leaves nothing."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kbexp.app.callbacks import before_run
from kbexp.app.explain import Refused, exit_code_of, sentence, wants_traceback
from kbexp.app.sweeps import Sweep, sweeps

if TYPE_CHECKING:
    from hydra.conf import HydraConf


@contextlib.contextmanager
def reported(job: HydraConf) -> Iterator[None]:
    """Report what goes wrong in one job of Hydra's; `job` is Hydra's own part.

    A single run's error goes to `explain.main` past Hydra. In a sweep it is printed here, and
    Hydra goes on with the next job: without knowing of it, since it would print texts of its own,
    but where a launcher runs the job in another process and Hydra alone can tell the first one.
    """
    from hydra.types import RunMode

    folder = Path(job.runtime.output_dir)
    sweep = sweeps[-1] if sweeps and job.mode is RunMode.MULTIRUN else None
    if sweep is not None:
        sweep.begun.add(int(job.job.num))
    try:
        yield
    except Exception as error:
        text = sentence(error)
        if job.mode is not RunMode.MULTIRUN:
            if text is not None and (before := before_run.pop(folder, None)) is not None:
                before.take_back()
            raise Refused from error
        _say(f"Run {job.job.num}: {text or 'An error in kbexp:'}", error, text is None)
        if sweep is None:
            raise
        _note(sweep, job, folder, error, text)


def _say(words: str, error: Exception, unknown: bool) -> None:
    if unknown or wants_traceback():
        traceback.print_exception(error)
    print(words, file=sys.stderr, flush=True)


def _note(sweep: Sweep, job: HydraConf, folder: Path, error: Exception, text: str | None) -> None:
    if text is None:
        sweep.exit_code = sweep.exit_code or 1
        return
    sweep.fail(int(job.job.num), folder, text, exit_code_of(error))
