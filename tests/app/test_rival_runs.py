"""Whole runs that a rival's own package decides in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.mark.parametrize("rival", ["gepa", "openevolve"])
def test_a_rival_is_a_run_like_any_other(
    rival: str,
    tmp_path: Path,
    command_line: Any,
    small_run: list[str],
    events_of: Any,
    result_of: Any,
) -> None:
    folder = tmp_path / "run"
    overrides = [*small_run, f"algorithm={rival}", "algorithm.num_steps=3", "confirm.kernels=1"]
    done = command_line("run.py", *overrides, f"hydra.run.dir={folder}", timeout_s=240, run=True)
    assert done.returncode == 0, done.stderr
    result, events = result_of(folder), events_of(folder)
    assert (result["state"], result["algorithm"]) == ("complete", rival)
    asked = [event for event in events if event["event"] == "proposal_asked"]
    assert len(asked) == 3
    assert all(event["parents"] for event in asked)
    # What a rival asks follows the figures it is told, and the same kernel may come twice.
    came = {event["kernel_id"] for event in events if event["event"] == "proposal_received"}
    judged = [event["kernel_id"] for event in events if event["event"] == "verdict"]
    assert len(judged) == len(set(judged)) == result["counts"]["evaluations"] > 1
    assert set(judged[1:]) == came - {judged[0]}
    assert {event["event"] for event in events} >= {"confirmed", "run_ended"}
