"""Warnings go where stderr goes at the moment."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
import yaml

from kbexp.app.logs import StderrHandler

CONF = Path(__file__).parents[2] / "conf" / "hydra" / "job_logging" / "kbexp.yaml"


def test_a_warning_goes_through_whatever_has_taken_stderr_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.Logger("of a library")
    logger.addHandler(StderrHandler())
    streams = [io.StringIO(), io.StringIO()]
    for number, stream in enumerate(streams):
        monkeypatch.setattr(sys, "stderr", stream)
        logger.warning("warning %d", number)
    assert [stream.getvalue() for stream in streams] == ["warning 0\n", "warning 1\n"]


def test_runs_log_with_it() -> None:
    handlers = yaml.safe_load(CONF.read_text())["handlers"]
    assert handlers["stderr"]["class"] == f"{StderrHandler.__module__}.{StderrHandler.__name__}"
