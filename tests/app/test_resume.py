"""Going on with a run by naming its folder: after SIGKILL, and only with its own settings."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from kbexp.app import resume
from kbexp.config import RunConfig
from kbexp.errors import KbexpError
from kbexp.events import RunStarted
from kbexp.search.algorithm import request_seed
from kbexp.tracking import Journal

RUN = ["algorithm.num_steps=2", "algorithm.num_candidates=3"]

LIMITS = ["budget.evaluations=null", "budget.wall_s=null", "confirm.kernels=0"]


def test_a_run_that_is_killed_again_and_again_does_nothing_twice(
    small_run: list[str], start_program: Any, events_of: Any, result_of: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    settings = [*small_run, *RUN, *LIMITS]
    rng = random.Random(3)

    def start(*arguments: str, kill_at: int | None) -> None:
        """Start a run; kill it soon after its journal has so many lines."""
        with start_program("run.py", *arguments, cwd=tmp_path, run=True) as process:
            deadline = time.monotonic() + 120
            while kill_at is not None and process.poll() is None and time.monotonic() < deadline:
                if lines(folder) >= kill_at:
                    time.sleep(rng.random() * 0.05)
                    process.kill()
                time.sleep(0.002)
            output = process.communicate(120)
            assert process.returncode in ((0,) if kill_at is None else (0, -9)), output

    start(*settings, f"hydra.run.dir={folder}", kill_at=rng.randrange(2, 7))
    overrides = (folder / ".hydra" / "overrides.yaml").read_text()
    start(f"resume={folder}", kill_at=lines(folder) + rng.randrange(2, 9))
    start(f"resume={folder}", kill_at=None)

    events = events_of(folder)
    assert sum(event["event"] == "run_started" for event in events) >= 2
    result = result_of(folder)
    assert (result["state"], result["counts"]["proposals"]) == ("complete", 6)
    assert (folder / ".hydra" / "overrides.yaml").read_text() == overrides
    answers = Counter(e["number"] for e in events if e["event"] == "proposal_received")
    assert answers == dict.fromkeys(range(6), 1)  # none was paid for twice
    verdicts = Counter(e["kernel_id"] for e in events if e["event"] == "verdict")
    assert set(verdicts.values()) == {1}
    assert result["counts"]["evaluations"] == len(verdicts)
    asked = {(e["number"], e["seed"]) for e in events if e["event"] == "proposal_asked"}
    assert asked == {(number, request_seed(0, number)) for number in range(6)}


def lines(folder: Path) -> int:
    journal = folder / "journal.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder, with the settings as Hydra leaves them."""
    config = OmegaConf.structured(RunConfig)
    config.seed = 4
    config.task.name = "softmax"
    config.algorithm.name = "beam"
    config.algorithm.num_steps = 7
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    OmegaConf.save(config, tmp_path / "run" / resume.COMPOSED)
    choices = {"algorithm": "beam", "experiment": None}
    hydra = {"hydra": {"runtime": {"choices": choices, "cwd": str(tmp_path)}}}
    OmegaConf.save(OmegaConf.create(hydra), tmp_path / "run" / resume.HYDRA)
    return tmp_path / "run"


@pytest.mark.parametrize("arguments", [[], ["resume=null"], ["seed=4"], ["+resume_x=1"]])
def test_most_commands_resume_nothing(arguments: list[str]) -> None:
    assert not resume.resumed(arguments)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["seed=5"], "seed=5 is not what this run was: the run in .* was started with seed=4"),
        (["algorithm=ps"], "was started with algorithm=beam"),
        (["algorithm.num_steps=8"], "was started with algorithm.num_steps=7"),
        (["hydra.run.dir=elsewhere"], "was started with hydra.run.dir="),
        (["nothing.here=1"], "has no such setting"),
        (["~seed"], "~seed is not what this run was"),
        (["-m"], "give one folder and no flags"),
        (["resume=another"], "give one folder and no flags"),
    ],
)
def test_a_run_goes_on_with_its_own_settings_alone(
    folder: Path, arguments: list[str], sentence: str
) -> None:
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(KbexpError, match=sentence) as caught:
        resume.resumed([f"resume={folder}", *arguments])
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_settings_that_are_the_runs_may_be_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("kbexp.app.run.run", lambda config, where: seen.append((config, where)))
    monkeypatch.chdir(folder)
    same = ["seed=4", "algorithm=beam", "task.name=softmax", f"hydra.run.dir={folder}"]
    assert resume.resumed(["resume=.", *same])
    (config, where), here = seen[0], Path.cwd()
    assert (config.seed, config.algorithm.num_steps, where) == (4, 7, folder)
    assert here == folder.parent  # where the run was started


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(KbexpError, match=r"is no run's folder: give the one that holds"):
        resume.resumed([f"resume={tmp_path}"])


def test_the_journal_knows_the_settings_too(folder: Path) -> None:
    config = OmegaConf.to_container(OmegaConf.load(folder / resume.COMPOSED))
    (folder / resume.COMPOSED).unlink()
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(RunStarted(about={"config": json.loads(json.dumps(config))}))
    read = resume.recorded(folder)
    assert (read.seed, read.task.name, read.algorithm.num_steps) == (4, "softmax", 7)
    (folder / "journal.jsonl").write_text(
        (folder / "journal.jsonl").read_text().replace('"softmax"', '"***"')
    )
    with pytest.raises(KbexpError, match="does not say in full"):
        resume.recorded(folder)
