"""The evaluator's settings, looked at before anything starts."""

from __future__ import annotations

import math

from kbexp.config import EvaluatorConfig
from kbexp.errors import KbexpError

COUNTS = ("correctness_trials", "min_pairs", "max_pairs", "max_calls")
SECONDS = ("timing_s", "build_timeout_s", "run_timeout_s")

LEAST_MEMORY_BYTES = 512 * 2**20
"""A process that has imported torch could not load a task of a few kilobytes with 200 MiB and could
with 300 (PyTorch 2.13 on two cores); every further core's thread has a stack, and inputs need room
too."""


def check_evaluator_settings(config: EvaluatorConfig) -> None:
    """Raise KbexpError where a setting cannot be meant: the first that is too small."""
    for name in COUNTS:
        if (count := getattr(config, name)) < 1:
            raise KbexpError(f"evaluator.{name} is {count}: give a whole number from 1 up.")
    for name in SECONDS:
        _check_amount(name, getattr(config, name), "seconds above 0")
    _check_amount("block_ms", config.block_ms, "milliseconds above 0")
    _check_amount("target_width", config.target_width, "a share of the speedup above 0, as 0.03")
    if not 0 <= config.energy_s < math.inf:
        raise KbexpError(
            f"evaluator.energy_s is {config.energy_s:g}: give seconds, or 0 to measure no energy."
        )
    check_pairs("evaluator", config.min_pairs, config.max_pairs)
    if config.memory_bytes < LEAST_MEMORY_BYTES:
        raise KbexpError(
            f"evaluator.memory_bytes is {config.memory_bytes}: torch alone needs some 300 MB, so "
            f"give at least {LEAST_MEMORY_BYTES}, and room for a task's inputs and outputs."
        )


def check_pairs(where: str, least: int, most: int) -> None:
    """Raise KbexpError where at most fewer pairs are taken than at least."""
    if most < least:
        raise KbexpError(
            f"{where}.max_pairs is {most}, fewer than {where}.min_pairs, which is {least}: raise "
            "the one or lower the other."
        )


def _check_amount(name: str, value: float, wanted: str) -> None:
    if not 0 < value < math.inf:
        raise KbexpError(f"evaluator.{name} is {value:g}: give {wanted}.")
