"""Runs whose answers come from elsewhere than one model: a recording, several models."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def start(tmp_path: Path, command_line: Any, small_run: list[str]) -> Any:
    """Start a small run as a person does; its folder is `tmp_path / "run"`."""

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = command_line(
            "run.py", *small_run, "confirm.kernels=0", f"hydra.run.dir={tmp_path / 'run'}",
            *overrides, env={"SCRIPTED_KEY": "sk-that-must-appear-nowhere"}, timeout_s=240,
            run=True,
        )  # fmt: skip
        return done

    return run


def answers(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers of a run in the order of their numbers, without when they came."""
    received = [e for e in events if e["event"] == "proposal_received"]
    return sorted(
        ({k: v for k, v in e.items() if k != "time"} for e in received), key=lambda e: e["number"]
    )


def quoted(recorded: Path) -> str:
    """The setting for a folder whose name holds signs that Hydra reads otherwise."""
    return f"llm.path='{recorded}'"


def kernels(events: list[dict[str, Any]]) -> list[str]:
    return [e["kernel_id"] for e in events if e["event"] == "evaluation_begun"]


def test_a_replay_gives_the_kernels_of_the_run_in_their_order(
    sweep: Any, start: Any, tmp_path: Path, events_of: Any, result_of: Any
) -> None:
    recorded = sweep.run(1)
    done = start("llm=replay", quoted(recorded), "seed=7")
    assert done.returncode == 0, done.stderr
    then, now = events_of(recorded), events_of(tmp_path / "run")
    assert kernels(now) == kernels(then)
    assert len(set(kernels(now))) == 4
    for one, other in zip(answers(now), answers(then), strict=True):
        del one["parents"], other["parents"]  # they follow from what was measured this time
        assert one == other
    cost = result_of(tmp_path / "run")["cost"]
    assert cost["llm_usd"] == pytest.approx(3 * (1000 + 2 * 100) / 1e6)
    assert result_of(tmp_path / "run")["llm"] == "replay"


def test_a_recording_of_another_seed_is_one_sentence(sweep: Any, start: Any) -> None:
    done = start("llm=replay", quoted(sweep.run(1)), "seed=8")
    assert done.returncode == 2
    assert "had the seed 7: give seed=7" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_recording_is_one_sentence(start: Any, tmp_path: Path) -> None:
    done = start("llm=replay", f"llm.path={tmp_path / 'nowhere'}")
    assert done.returncode == 2
    assert "There is no run in" in done.stderr
    assert "llm.path" in done.stderr


def test_a_run_with_several_models_and_one_that_embeds(
    model_server: Any,
    start: Any,
    tmp_path: Path,
    events_of: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    address = f"{model_server.url}/v1"
    entry = f"api_base: '{address}', api_key_env: SCRIPTED_KEY"
    done = start(
        "llm=several",
        f"llm.models=[{{model: openai/a, {entry}}}, {{model: openai/b, name: b, {entry}}}]",
        "llm.reasoning_effort=low",
        "algorithm=ps_epsnet",
        "algorithm.epsilon=1e-6",
        "algorithm.embedding_model=openai/embeds",
        f"algorithm.embedding_api_base={address}",
        "algorithm.embedding_usd_per_mtok=250000",
    )
    assert done.returncode == 0, done.stderr
    events = events_of(tmp_path / "run")
    received = answers(events)
    asked = {"a": "openai/a", "b": "b"}
    assert [e["model"] for e in received] == [asked[r["model"]] for r in model_server.requests]
    assert len(received) == 3
    assert all(r["reasoning_effort"] == "low" for r in model_server.requests)
    judged = {e["source"] for e in events if e["event"] == "evaluation_begun"}
    assert len(judged) == 4
    assert judged == set(model_server.embedded)
    assert len(model_server.embedded) == 4, "what was paid for is kept"
    assert [e for e in events if e["event"] == "noted"] == []
    embedded = [e for e in events if e["event"] == "embeddings_made"]
    assert [(e["model"], e["texts"], e["cost_usd"]) for e in embedded] == [
        ("openai/embeds", 1, 0.25)
    ] * 4
    cost = json.loads((tmp_path / "run" / "result.json").read_text())["cost"]
    assert cost["llm_usd"] == 1.0 + sum(e["cost_usd"] or 0.0 for e in received)
    assert cost["input_tokens"] == 4 + sum(e["input_tokens"] for e in received)
    kept = list((tmp_path / "cache" / "kbexp" / "embeddings").rglob("*"))
    assert len([path for path in kept if path.is_file()]) == 4
