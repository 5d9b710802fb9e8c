"""Judging kernels by hand: files in, one JSON line a kernel out."""

from __future__ import annotations

import json
import logging
import sys
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from kbexp.app.configuration import typed
from kbexp.app.evaluator_settings import check_evaluator_settings
from kbexp.app.standalone import kernel_text
from kbexp.errors import KbexpError
from kbexp.kernel import Kernel
from kbexp.script_config import EvaluateConfig
from kbexp.summary import finite

if TYPE_CHECKING:
    from omegaconf import DictConfig


log = logging.getLogger(__name__)


def judge_files(composed: DictConfig, out: TextIO = sys.stdout) -> None:
    """Judge the kernels that `composed.kernel` names; write a JSON line for each, in order.

    A line is the verdict's record and the kernel's `file`. Raises KbexpError where a file cannot
    be read, before anything is judged, and where nothing can be judged.
    """
    from kbexp.evaluation import open_evaluator
    from kbexp.tasks.load import load

    config = typed(composed, EvaluateConfig)
    check_evaluator_settings(config.evaluator)
    kernels = [(path, read_kernel(path)) for path in kernel_files(config.kernel)]
    task = load(config.task, config.gpu.sizes)
    with open_evaluator(config.gpu, config.evaluator) as evaluator:
        futures = [(path, evaluator.submit(task, kernel)) for path, kernel in kernels]
        for path, future in futures:
            record = {"file": str(path), **future.result().to_record()}
            out.write(json.dumps(plain(record), allow_nan=False) + "\n")
            out.flush()
        if evaluator.billed_usd is not None:
            log.warning("The rented device has cost about $%.4f.", evaluator.billed_usd)


def plain(value: Any) -> Any:
    """Return a record with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return finite(value) if isinstance(value, float) else value


def kernel_files(named: object) -> list[Path]:
    """Return the files that a name, a pattern or a list of them stands for, each once, in order.

    A name that is a file's is taken as it stands, whatever characters it holds. Raises KbexpError
    where one of them stands for nothing.
    """
    names = named if isinstance(named, list) else [named]
    found: dict[Path, None] = {}
    for name in names:
        path = Path(str(name)).expanduser()
        matches = [path] if path.exists() else []
        # Path.glob knows no absolute patterns.
        matches = matches or [Path(p) for p in sorted(glob(str(path), recursive=True))]
        if not matches:
            raise KbexpError(f"There is no kernel {name}: give a file that exists, as kernel=FILE.")
        found |= dict.fromkeys(matches)
    if not found:
        raise KbexpError("kernel=[] names no kernel: give at least one file, as kernel=FILE.")
    return list(found)


def read_kernel(path: Path) -> Kernel:
    """Return a file as a kernel, without the check that a run appends to its best one.

    Bytes that are no UTF-8 are replaced: what is no Python is the judge's to say. Raises
    KbexpError where the file cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise KbexpError(
            f"The kernel {path} cannot be read ({error.strerror}): give a file that can."
        ) from error
    return Kernel(kernel_text(text))
