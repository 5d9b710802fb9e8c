"""Judging kernels by hand: files in, one JSON line a kernel out."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from kbexp.app.configuration import typed
from kbexp.app.evaluator_settings import check_evaluator_settings
from kbexp.app.explain import INTERRUPTED, Stopped
from kbexp.app.standalone import kernel_text
from kbexp.errors import KbexpError
from kbexp.kernel import Kernel
from kbexp.script_config import EvaluateConfig
from kbexp.summary import finite
from kbexp.tracking.plain import status_words
from kbexp.tracking.text import one_line
from kbexp.verdict import Verdict

if TYPE_CHECKING:
    from omegaconf import DictConfig


log = logging.getLogger(__name__)


def judge_files(composed: DictConfig, given: Sequence[str] = (), out: TextIO = sys.stdout) -> None:
    """Judge the kernels that `composed.kernel` names; write a JSON line for each, in order.

    A line is the verdict's record and what was judged with what. `given` is what stands on the
    command line: where no task does, stderr is told which one was taken. Where `out` is a
    terminal, stderr has each verdict in words too; what `out` gets is the same everywhere. Raises
    KbexpError for settings that cannot be meant and where a file cannot be read, before anything
    is judged, and where nothing can be judged; `Stopped` after Ctrl-C.
    """
    from kbexp.evaluation import open_evaluator
    from kbexp.tasks.load import load

    config = typed(composed, EvaluateConfig)
    check_evaluator_settings(config.evaluator)
    kernels = [(*named, read_kernel(named[0])) for named in kernel_files(config.kernel).items()]
    task = load(config.task, config.gpu.sizes)
    if not any(word.lstrip("+").startswith("task=") for word in given):
        _say(f"No task was given: judging on task={task.name}; task=NAME takes another.")
    settings = config.evaluator
    about = {"task": task.name, "evaluator": settings.name, "policy": str(settings.policy)}
    written = 0
    try:
        with open_evaluator(config.gpu, settings) as evaluator:
            futures = [
                (path, name, evaluator.submit(task, kernel)) for path, name, kernel in kernels
            ]
            for path, name, future in futures:
                verdict = future.result()
                record = {"file": str(path), "kernel": name, **about, **verdict.to_record()}
                written += 1  # Before others can read of it.
                out.write(json.dumps(plain(record), allow_nan=False) + "\n")
                out.flush()
                if out.isatty():
                    _say(in_words(name, verdict))
            if evaluator.billed_usd is not None:
                log.warning("The rented device has cost about $%.4f.", evaluator.billed_usd)
    except KeyboardInterrupt:
        have = "has" if written == 1 else "have"
        _say(f"Interrupted: {written} of {len(kernels)} kernels {have} a verdict.")
        raise Stopped(INTERRUPTED) from None


def in_words(name: str, verdict: Verdict) -> str:
    """Return a verdict as a line for people: status, speedup with its interval, times, reasons."""
    parts = [f"{one_line(name, 60)}: {status_words(verdict)}"]
    if (speedup := verdict.speedup) is not None:
        parts.append(
            f"{speedup.value:.3g}x the reference's speed "
            f"(95 % interval {speedup.low:.3g} to {speedup.high:.3g})"
        )
    if verdict.reference_ms is not None and verdict.time_ms is not None:
        parts.append(f"{verdict.reference_ms.value:.4g} ms -> {verdict.time_ms.value:.4g} ms")
    parts += [one_line(reason) for reason in verdict.reasons if reason.strip()]
    return "; ".join(parts)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def plain(value: Any) -> Any:
    """Return a record with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return finite(value) if isinstance(value, float) else value


def kernel_files(named: object) -> dict[Path, str]:
    """Return the files that a name, a pattern or a list of them stands for, each once, in order.

    With each is its name as it was given, or as a pattern found it. A name that is a file's is
    taken as it stands, whatever characters it holds. Raises KbexpError where one of them stands
    for nothing or is a folder.
    """
    names = named if isinstance(named, list) else [named]
    found: dict[Path, str] = {}
    for name in names:
        if name is None or not str(name).strip():
            raise KbexpError("No kernel was given: name at least one file, as kernel=FILE.")
        path = Path(str(name)).expanduser()
        if path.is_dir():
            raise KbexpError(
                f"kernel={name} is a folder: give a file, or a pattern in quotes, as in "
                f"'kernel={str(name).rstrip('/')}/*.py'."
            )
        matches = {path: str(name)} if path.exists() else {}
        if not matches:
            # Path.glob knows no absolute patterns.
            hits = sorted(glob(str(path), recursive=True))
            matches = {Path(hit): hit for hit in hits if not Path(hit).is_dir()}
        if not matches:
            raise KbexpError(f"There is no kernel {name}: give a file that exists, as kernel=FILE.")
        for match, shown in matches.items():
            found.setdefault(match, shown)
    if not found:
        raise KbexpError("No kernel was given: name at least one file, as kernel=FILE.")
    return found


def read_kernel(path: Path) -> Kernel:
    """Return a file as a kernel, without the check that a run appends to its best one.

    Bytes that are no UTF-8 are replaced: what is no Python is the judge's to say. Raises
    KbexpError where the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise KbexpError(
            f"The kernel {path} cannot be read ({error.strerror}): give a file that can."
        ) from error
    return Kernel(kernel_text(text))
