"""Settings of the evaluator that cannot be meant are refused, each in one sentence."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbexp.app.confirm import check_confirm, confirm_settings
from kbexp.app.evaluator_settings import LEAST_MEMORY_BYTES, check_evaluator_settings
from kbexp.config import ConfirmConfig, ConfirmEvaluatorConfig, EvaluatorConfig
from kbexp.errors import KbexpError

OWN = EvaluatorConfig(name="own")

WRONG = [
    ("timing_s", -1.0), ("timing_s", math.nan), ("timing_s", math.inf), ("block_ms", -5.0),
    ("min_pairs", 0), ("max_pairs", -1), ("max_pairs", OWN.min_pairs - 1), ("max_calls", 0),
    ("correctness_trials", 0), ("build_timeout_s", 0.0), ("run_timeout_s", 0.0),
    ("target_width", 0.0), ("energy_s", -1.0), ("memory_bytes", 1000),
    ("memory_bytes", LEAST_MEMORY_BYTES - 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_cannot_be_meant_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(KbexpError, match=rf"^evaluator\.{name} is [^\n]+\.$"):
        check_evaluator_settings(replace(OWN, **{name: value}))


def test_the_least_that_can_be_meant_is_not_refused() -> None:
    check_evaluator_settings(OWN)
    least: dict[str, Any] = {"memory_bytes": LEAST_MEMORY_BYTES, "energy_s": 0.0}
    least |= dict.fromkeys(("correctness_trials", "min_pairs", "max_pairs", "max_calls"), 1)
    check_evaluator_settings(replace(OWN, **least))


@pytest.mark.parametrize(
    "program",
    ["run.py", "scripts/evaluate.py", "scripts/check_evaluator.py", "scripts/deploy.py"],
)
def test_a_program_refuses_it_before_anything_starts(
    command_line: Any, tmp_path: Path, program: str
) -> None:
    more = {"scripts/evaluate.py": ["kernel=nothing.py"], "scripts/deploy.py": ["gpu=h100"]}
    done = command_line(program, "evaluator.memory_bytes=1000", *more.get(program, []))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert f"at least {LEAST_MEMORY_BYTES}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_pairs_of_a_confirmation_that_contradict_each_other_are_refused() -> None:
    given = ConfirmEvaluatorConfig(min_pairs=9, max_pairs=7)
    with pytest.raises(KbexpError, match=r"^confirm\.evaluator\.max_pairs is 7"):
        check_confirm(ConfirmConfig(evaluator=given))


def test_one_limit_of_pairs_that_is_given_for_confirmation_holds() -> None:
    few = confirm_settings(OWN, ConfirmEvaluatorConfig(max_pairs=7))
    assert (few.min_pairs, few.max_pairs) == (7, 7)
    many = confirm_settings(OWN, ConfirmEvaluatorConfig(min_pairs=99))
    assert (many.min_pairs, many.max_pairs) == (99, 99)
