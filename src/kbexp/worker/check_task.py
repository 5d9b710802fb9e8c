"""Looks for faults in a task that would let a wrong kernel pass.

    python -m kbexp.worker.check_task my_task.py

Many published tasks have some: outputs so small that zeros are within the tolerance, weights that
start as zeros, a constant result. A task with a finding can still be run, but what is measured on
it means less.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbexp.worker.effortless import effortless, passes
from kbexp.worker.runner import sow
from kbexp.worker.tolerance import Tolerance, tolerance_of
from kbexp.worker.tree import Unsupported, flatten, output_tensors, unflatten

if TYPE_CHECKING:
    import torch

SMALLEST_RMS = 0.01
"""A hundred times KernelBench's absolute tolerance: it checks less to fewer than two digits."""

_CHUNK = 2**24


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What `check_task` found: short sentences, none of them where the task is sound.

    `rms` and `abs_max` are the scale of the output for one set of inputs: root mean square and
    largest absolute value over all its tensors; NaN where the reference does not run.
    """

    findings: tuple[str, ...]
    rms: float = math.nan
    abs_max: float = math.nan


@dataclass(slots=True)
class _Trial:
    inputs: list[torch.Tensor]
    arguments: Any


def check_task(source: str, seed: int, device: str = "cpu") -> TaskReport:
    """Run a task's reference on a few inputs and report its faults and its output's scale.

    The source is executed in this process, with its rights: call it where the task may be run.
    Answers that take no work are compared as a judge compares, with the tolerance of the output's
    type. All global generators are left as they were.
    """
    import numpy as np
    import torch

    devices = [torch.device(device)] if torch.device(device).type == "cuda" else []
    state, other = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            return _check(source, seed, device)
    except Exception as error:  # A task may raise anything.
        lines = str(error).strip().splitlines()
        text = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        return TaskReport((f"The reference does not run ({text}).",))
    finally:
        random.setstate(state)
        np.random.set_state(other)


def _check(source: str, seed: int, device: str) -> TaskReport:
    names: dict[str, Any] = {"__name__": "checked_task"}
    exec(compile(source, "<task>", "exec"), names)  # noqa: S102  (that is what a task is for)
    findings: list[str] = []
    init = _seeded(seed, names["get_init_inputs"])
    try:
        flatten(init, [])
    except Unsupported as error:
        findings.append(f"get_init_inputs cannot be handed to another process: {error}.")
    model = _seeded(seed, lambda: names["Model"](*init)).to(device)
    findings += _check_parameters(model)

    trial = _trial(names, seed, device)
    findings += _check_inputs(trial, _trial(names, seed, device), _trial(names, seed + 1, device))
    before = [tensor.clone() for tensor in trial.inputs]
    outputs = _outputs(model, trial)
    if not _equal(before, trial.inputs):
        findings.append("The reference changes its inputs.")
    if not outputs or not all(output.numel() for output in outputs):
        return TaskReport((*findings, "The output is empty."))
    again = _outputs(model, _Trial(before, trial.arguments))
    if not passes(again, outputs, _tolerances(outputs)):
        findings.append("The reference answers differently when it is called again.")
    other = _outputs(model, _trial(names, seed + 1, device))
    if passes(other, outputs, _tolerances(outputs)):
        findings.append("The output is the same for other inputs.")
    rms, abs_max = _scale(outputs)
    findings += _check_outputs(outputs, before, other, rms)
    return TaskReport(tuple(findings), rms, abs_max)


def _seeded(seed: int, make: Any) -> Any:
    sow(seed)
    return make()


def _trial(names: dict[str, Any], seed: int, device: str) -> _Trial:
    """Return inputs as the judge makes them: on a GPU by the task's generator there."""
    import torch

    with torch.device(device):
        made = _seeded(seed, names["get_inputs"])
    tensors: list[torch.Tensor] = []
    arguments = flatten(list(made), tensors)
    return _Trial([tensor.to(device).contiguous() for tensor in tensors], arguments)


def _outputs(model: Any, trial: _Trial) -> list[torch.Tensor]:
    return [
        tensor.clone()
        for tensor in output_tensors(model(*unflatten(trial.arguments, trial.inputs)))
    ]


def _check_parameters(model: Any) -> Iterator[str]:
    """Yield a sentence for every parameter that a kernel could leave out unnoticed."""
    for name, parameter in model.named_parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            value = parameter.flatten()[0].item()
            yield f"The parameter {name} is {value:g} everywhere, so a kernel may leave it out."
        elif parameter.numel() == 1 and parameter.item() == 0:
            yield f"The parameter {name} is 0, so a kernel may leave it out."


def _check_inputs(trial: _Trial, same: _Trial, other: _Trial) -> Iterator[str]:
    if not trial.inputs:
        yield "get_inputs returns no tensor."
        return
    if not _equal(trial.inputs, same.inputs):
        yield "get_inputs returns other values under the same seed."
    if _equal(trial.inputs, other.inputs):
        yield "get_inputs returns the same values under every seed."
    for number, tensor in enumerate(trial.inputs):
        if tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
            yield f"Input {number} has one value everywhere."


def _check_outputs(
    outputs: list[torch.Tensor],
    inputs: list[torch.Tensor],
    others: list[torch.Tensor],
    rms: float,
) -> Iterator[str]:
    import torch

    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        yield "The output holds NaN or infinities."
        return
    if rms < SMALLEST_RMS:
        yield f"The output is near zero (root mean square {rms:.2g}, below {SMALLEST_RMS:g})."
    for words in effortless(inputs, outputs, _tolerances(outputs), others):
        yield f"{words[0].upper()}{words[1:]}."


def _tolerances(outputs: Sequence[torch.Tensor]) -> list[Tolerance]:
    return [tolerance_of(output) for output in outputs]


def _equal(left: Sequence[torch.Tensor], right: Sequence[torch.Tensor]) -> bool:
    import torch

    return len(left) == len(right) and all(map(torch.equal, left, right))


def _chunks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield a tensor's elements in parts, so that no copy in double precision is ever large."""
    flat = tensor.reshape(-1)
    for start in range(0, flat.numel(), _CHUNK):
        yield flat[start : start + _CHUNK]


def _scale(outputs: Sequence[torch.Tensor]) -> tuple[float, float]:
    """Return the root mean square and the largest absolute value over all elements."""
    import torch

    squares, count, largest = 0.0, 0, 0.0
    for output in outputs:
        for part in _chunks(output):
            wide = part.abs().to(torch.float64)
            squares += wide.square().sum().item()
            largest = max(largest, wide.max().item())
        count += output.numel()
    return math.sqrt(squares / count), largest


def main() -> int:
    """Check one task file and say what was found; the exit code is 1 where something was."""
    parser = argparse.ArgumentParser(
        prog="python -m kbexp.worker.check_task",
        description="Look for faults in a task file. It is executed, with your rights.",
    )
    parser.add_argument("file", type=Path, help="a task: Model, get_inputs and get_init_inputs")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:0")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        source = arguments.file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        print(f"{arguments.file} cannot be read ({error}): give a task file.", file=sys.stderr)
        return 2
    report = check_task(source, arguments.seed, arguments.device)
    for finding in report.findings:
        print(finding)
    if not math.isnan(report.rms):
        found = "" if report.findings else "No faults found. "
        print(f"{found}Output: root mean square {report.rms:.3g}, largest {report.abs_max:.3g}.")
    return int(bool(report.findings))


if __name__ == "__main__":
    sys.exit(main())
