"""Runs in a real MLflow store, read back with its own client."""

from __future__ import annotations

import json
import logging
import socket
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kbexp.config import LoggerConfig
from kbexp.errors import KbexpError
from kbexp.summary import RunSummary
from kbexp.tracking import Journal, RunInfo, Tracker, prepare, read, replay, trackers
from kbexp.tracking.files import final_files
from kbexp.tracking.lines import encode
from kbexp.tracking.mlflow_store import open_client

mlflow = pytest.importorskip("mlflow")

LOGGER = LoggerConfig(name="mlflow", mlflow=True, console="off")


def tracker(run: RunInfo) -> Tracker:
    (only,) = trackers(LOGGER, run)
    return only


def client(run: RunInfo) -> Any:
    return open_client(f"sqlite:///{run.launch_dir}/outputs/mlflow.db")


def stored_runs(run: RunInfo) -> list[Any]:
    store = client(run)
    experiment = store.get_experiment_by_name(run.project)
    return list(store.search_runs([experiment.experiment_id]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A launch folder whose store was made once, as the parent of a sweep does."""
    launch_dir = tmp_path_factory.mktemp("launch with bl\u00e4nks")
    prepare(LOGGER, launch_dir)
    assert (launch_dir / "outputs" / "mlflow.db").is_file()
    return launch_dir


@pytest.fixture
def run(store: Path, run_info: RunInfo, request: pytest.FixtureRequest) -> RunInfo:
    return replace(run_info, launch_dir=store, project=request.node.name)


def test_a_run_is_in_the_store_from_first_to_last(run: RunInfo, make_events: Any) -> None:
    events = make_events()
    with Journal(run.journal) as journal:
        journal.subscribe(tracker(run))
        for event in events:
            journal.append(event)
    (stored,) = stored_runs(run)
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == "softmax-ps-3"
    assert stored.info.start_time == round(events[0].time * 1000)
    assert stored.info.end_time == round(events[-1].time * 1000)
    params = stored.data.params
    assert params["task.name"] == "softmax"
    assert params["algorithm.num_steps"] == "4"
    assert params["llm.max_tokens"] == "8192"
    assert params["seed"] == "3"
    tags = stored.data.tags
    assert tags["kbexp.device"] == "NVIDIA H100"
    assert tags["kbexp.state"] == "complete"
    assert tags["kbexp.journal"] == str(run.journal)
    assert tags["mlflow.source.git.commit"] == "c0ffee"

    store = client(run)
    history = store.get_metric_history(stored.info.run_id, "best_speedup")
    by_step = {metric.step: metric for metric in history}
    assert {step: metric.value for step, metric in by_step.items()} == {1: 1.0, 2: 1.5, 3: 1.5}
    metrics = stored.data.metrics
    assert metrics["best_speedup_low"] == pytest.approx(1.4)
    assert metrics["best_speedup_high"] == pytest.approx(1.6)
    assert metrics["speedup"] == 1.5
    assert metrics["correct"] == 0.0
    assert metrics["llm_usd"] == 1.0
    assert metrics["cost_usd"] == pytest.approx(1.0 + 3 * 2.0 * 0.001)
    assert metrics["input_tokens"] == 400
    assert metrics["kernel/peak_bytes"] == 4096
    assert "kernel/odd" not in metrics
    assert metrics["time_ms"] == pytest.approx(2 / 1.5)

    folder = Path(store.download_artifacts(stored.info.run_id, ""))
    assert folder.is_relative_to(run.launch_dir / "outputs" / "mlartifacts")
    assert (folder / "best_kernel.py").read_text() == "better"
    assert json.loads((folder / "result.json").read_text())["counts"]["evaluations"] == 3
    assert (folder / "journal.jsonl").read_bytes() == run.journal.read_bytes()
    assert yaml.safe_load((folder / "config.yaml").read_text())["seed"] == 3
    assert not list(Path.cwd().glob("mlruns"))


def test_no_key_reaches_the_store(run: RunInfo, make_events: Any) -> None:
    uninteresting = make_events()
    with Journal(run.journal) as journal:
        journal.subscribe(tracker(run))
        journal.append(replace(uninteresting[0], about={}))
    (stored,) = stored_runs(run)
    assert stored.data.params["llm.extra.api_key"] == "***"
    assert stored.data.params["llm.api_key_env"] == "SOME_KEY"
    assert stored.data.params["llm.api_base"] == "https://***@example.org/v1"
    folder = Path(client(run).download_artifacts(stored.info.run_id, ""))
    for path in folder.rglob("*"):
        assert b"hunter2" not in path.read_bytes()
    assert "hunter2" not in str(stored.data.params)


def test_an_interrupted_run_that_is_resumed_is_one_run(run: RunInfo, make_events: Any) -> None:
    events = make_events()
    with Journal(run.journal) as journal:
        journal.subscribe(tracker(run))
        for event in events[:8]:
            journal.append(event)
    (stored,) = stored_runs(run)
    assert stored.info.status == "KILLED"
    longer = replace(run, config={**run.config, "seed": 4, "new": {"setting": [1, None]}})
    with Journal(run.journal) as journal:
        journal.subscribe(tracker(longer))
        for event in events[8:]:
            journal.append(event)
    (resumed,) = stored_runs(run)
    assert resumed.info.run_id == stored.info.run_id
    assert resumed.info.status == "FINISHED"
    assert resumed.data.params["seed"] == "3"  # MLflow keeps what it has,
    assert resumed.data.tags["resumed.seed"] == "4"  # the change is a tag.
    assert resumed.data.params["new.setting"] == "[1, null]"


def test_replaying_twice_stores_nothing_twice(run: RunInfo, make_events: Any) -> None:
    run.journal.write_bytes(b"".join(encode(event) for event in make_events()))

    def points() -> int:
        with sqlite3.connect(run.launch_dir / "outputs" / "mlflow.db") as database:
            (count,) = database.execute("select count(*) from metrics").fetchone()
        return int(count)

    before = points()
    replay(run.journal, tracker(run))
    once = points()
    replay(run.journal, tracker(run))
    assert points() == once > before
    assert len(stored_runs(run)) == 1


def test_a_long_run_goes_in_batches(run: RunInfo, make_events: Any) -> None:
    events = make_events()
    verdicts = [events[1], events[2]] * 150
    with Journal(run.journal, catch_up_s=60) as journal:
        journal.append(events[0])
        for number, event in enumerate(verdicts):
            journal.append(replace(event, time=2000.0 + number))
        journal.append(events[-1])
    assert len(list(read(run.journal))) == 302
    replay(run.journal, tracker(run))
    (stored,) = stored_runs(run)
    history = client(run).get_metric_history(stored.info.run_id, "speedup")
    assert [metric.step for metric in history] == list(range(1, 151))


def test_a_failed_run_keeps_no_kernel(run: RunInfo, make_events: Any) -> None:
    events = make_events()
    with Journal(run.journal) as journal:
        journal.subscribe(tracker(run))
        journal.append(events[0])
        journal.append(replace(events[-1], state="failed"))
    (stored,) = stored_runs(run)
    assert stored.info.status == "FAILED"
    folder = Path(client(run).download_artifacts(stored.info.run_id, ""))
    assert json.loads((folder / "result.json").read_text())["state"] == "failed"
    assert not (folder / "best_kernel.py").exists()


def test_files_in_the_runs_folder_are_taken_where_they_are_this_runs(
    run_info: RunInfo, make_events: Any
) -> None:
    summary = RunSummary.of(make_events())
    made = final_files(run_info, summary)
    result, kernel = run_info.folder / "result.json", run_info.folder / "best_kernel.py"
    result.write_text(json.dumps({**summary.to_record(), "state": "stopped"}))
    kernel.write_text("another kernel")
    assert final_files(run_info, summary) == made
    result.write_text(json.dumps({**summary.to_record(), "schema": 1}))
    kernel.write_text(made["best_kernel.py"] + "\n\n# with more")
    assert final_files(run_info, summary) == {
        "best_kernel.py": kernel.read_text(),
        "result.json": result.read_text(),
    }


def test_a_deleted_experiment_is_one_sentence(
    run: RunInfo, make_events: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store = client(run)
    store.delete_experiment(store.create_experiment(run.project))
    with Journal(run.journal) as journal:
        journal.subscribe(tracker(run))
        journal.append(make_events()[0])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "was deleted; restore it with `mlflow experiments restore" in error


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file, not a folder")
    with pytest.raises(KbexpError, match=r"The MLflow store .* cannot be made"):
        prepare(LOGGER, tmp_path)


PROGRAM = """
import sys
from pathlib import Path
from kbexp.config import LoggerConfig
from kbexp.summary import RunSummary
from kbexp.tracking import Journal, RunInfo, read, trackers
launch, name = Path(sys.argv[1]), sys.argv[2]
folder = launch / name
folder.mkdir()
run = RunInfo(folder=folder, name=name, project="p", config={"n": name}, launch_dir=launch)
with Journal(run.journal, catch_up_s=120) as journal:
    logger = LoggerConfig(name="x", console="off", mlflow=True)
    for tracker in trackers(logger, run):
        journal.subscribe(tracker)
    for number, event in enumerate(read(launch / "source.jsonl")):
        if number == 0:
            event = type(event)(about={"n": name}, time=event.time)
        journal.append(event)
"""


def test_two_processes_make_one_store_at_once(tmp_path: Path, make_events: Any) -> None:
    (tmp_path / "source.jsonl").write_bytes(b"".join(encode(event) for event in make_events()))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("one", "two")
    ]
    said = [process.communicate(timeout=180)[0] for process in processes]
    assert said == ["", ""]  # Neither errors nor MLflow's own noise.
    store = open_client(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    (experiment,) = [e for e in store.search_experiments() if e.name == "p"]
    stored = store.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in stored) == ["one", "two"]
    assert [run.data.metrics["best_speedup"] for run in stored] == [1.5, 1.5]
    assert {run.info.status for run in stored} == {"FINISHED"}


def test_what_follows_the_search_is_drawn(run: RunInfo, ended: Any) -> None:
    with Journal(run.journal) as journal:
        journal.subscribe(tracker(run))
        for event in ended:
            journal.append(event)
    (stored,) = stored_runs(run)
    metrics = stored.data.metrics
    assert metrics["confirmed_speedup"] == 1.25
    assert metrics["confirmed_speedup_low"] == pytest.approx(1.15)
    assert metrics["confirmed_time_ms"] == pytest.approx(2 / 1.25)
    assert metrics["shrunk"] == pytest.approx(1 - 1.25 / 1.5)
    assert metrics["torch_compile_speedup"] == 2.25
    assert metrics["best_speedup"] == 3.0
    assert metrics["evaluations"] == 4


def test_a_server_that_does_not_answer_is_one_line(
    run: RunInfo,
    make_events: Any,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    (unheard,) = trackers(
        replace(LOGGER, mlflow_uri=address.replace("//", "//me:hunter2@") + "?key=hunter2"), run
    )
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        with Journal(run.journal) as journal:
            journal.subscribe(unheard)
            for event in make_events():
                journal.append(event)
    finally:
        logging.getLogger().removeHandler(handler)
    told = capfd.readouterr().err
    assert len(told.splitlines()) == 1
    assert f"no MLflow server answers at {address} (logger.mlflow_uri)" in told
    assert "hunter2" not in told
