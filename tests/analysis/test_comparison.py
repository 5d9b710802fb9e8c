"""Runs side by side: what is read of them, what is made of it, and how it is printed."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from kbexp.analysis.comparison import (
    FEWEST_FOR_INTERVAL,
    compared,
    geometric_mean,
    grouped,
    kept_apart,
)
from kbexp.analysis.outcomes import outcome_of, run_folders
from kbexp.analysis.settings import settings_of
from kbexp.analysis.tables import markdown_tables, text_tables
from kbexp.errors import KbexpError
from kbexp.events import EvaluationBegun, RunEnded, RunStarted, VerdictReached
from kbexp.tracking import Journal
from kbexp.verdict import Interval, Phase, Status, Verdict

HOSTILE = "\x1b[2J\x1b]0;pwned\x07\r\n\u202e|`<b>" + "y" * 5000


def result(**changes: Any) -> dict[str, Any]:
    figures = {"speedup": 2.0, "speedup_low": 1.5, "speedup_high": 2.5}
    return {
        "state": "complete", "reason": "Done.", "task": "softmax", "gpu": "cpu",
        "algorithm": "ps", "llm": "offline", "seed": 1, "metric": "speedup",
        "counts": {"evaluations": 30}, "wall_s": 80.0,
        "best": {**figures, "score": 1.9, "confirmed": {**figures, "speedup": 1.9}},
        "cost": {"llm_usd": 0.5, "gpu_usd": 0.25, "unpriced_proposals": 0},
    } | changes  # fmt: skip


def written(folder: Path, record: object, settings: object = None) -> Path:
    """Write a run; its settings as Hydra does, in YAML, of which JSON is a part."""
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(record))
    if settings is not None:
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "config.yaml").write_text(json.dumps(settings))
    return folder


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "task": {"name": "softmax", "sizes": {"rows": 4}},
        "budget": {"evaluations": 30, "wall_s": 300.0},
        "logger": {"name": "none"},
        "run_name": None,
        "seed": 1,
    } | changes


def test_a_run_is_read_from_its_result(tmp_path: Path) -> None:
    run = outcome_of(written(tmp_path / "a", result()))
    assert (run.task, run.gpu, run.algorithm, run.seed, run.state) == (
        "softmax", "cpu", "ps", 1, "complete"
    )  # fmt: skip
    assert run.speedup == Interval(1.9, 1.5, 2.5)
    assert run.confirmed
    assert (run.evaluations, run.cost_usd, run.wall_s) == (30, 0.75, 80.0)

    best = {"speedup": 2.0, "speedup_low": None, "speedup_high": None, "confirmed": None}
    searched = outcome_of(written(tmp_path / "b", result(best=best)))
    assert searched.speedup == Interval(2.0, 0.0, math.inf)
    assert not searched.confirmed
    assert outcome_of(written(tmp_path / "c", result(best=None))).speedup is None


def test_a_run_that_was_cut_is_read_from_its_journal(tmp_path: Path) -> None:
    figure = Interval(3.0, 2.9, 3.1)
    verdict = Verdict(
        kernel_id="k", task_id="t", status=Status.CORRECT, phase=Phase.TIMING, device="d",
        isolation="process", speedup=figure, time_ms=figure, reference_ms=figure,
    )  # fmt: skip
    config = {"task": {"name": "rope"}, "gpu": {"name": "cpu"}, "seed": 7}
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(RunStarted(about={"config": config}))
        journal.append(EvaluationBegun(kernel_id="k", number=None, source="s"))
        journal.append(VerdictReached(verdict=verdict))
    run = outcome_of(tmp_path)
    assert (run.task, run.seed, run.state, run.evaluations) == ("rope", 7, "interrupted", 1)
    assert (run.speedup, run.confirmed) == (figure, False)
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append(RunEnded(state="stopped", reason=""))
    assert outcome_of(tmp_path).state == "stopped"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "null", "[" * 100_000, "\udcff", '{"seed": 1e999}', " " * (2**24 + 1)],
)
def test_what_is_no_result_is_no_result(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    run = outcome_of(tmp_path)
    assert (run.speedup, run.seed, run.evaluations) == (None, None, 0)
    assert run.state in ("", "no result")


@pytest.mark.parametrize("odd", [None, [], "x", True, -1, 1e400, 10**400, {"a": HOSTILE}])
def test_figures_that_are_none_do_no_harm(tmp_path: Path, odd: object) -> None:
    names = [*result(), "nothing"]
    folders = [
        written(tmp_path / str(number), result(**{name: odd})) for number, name in enumerate(names)
    ]
    inner = {"speedup": odd, "speedup_low": odd, "speedup_high": odd, "score": odd}
    folders.append(written(tmp_path / "inner", result(best=inner, counts=inner, cost=inner)))
    runs = [outcome_of(folder) for folder in folders]
    assert json.loads(json.dumps(compared(runs), allow_nan=False))["schema"] == 1
    assert len(text_tables(runs, tmp_path).splitlines()) > len(runs)


def test_folders_of_runs_are_found_in_their_order(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for name in ("10_seed=1", "9_seed=0", "a/b"):
        written(sweep / name, result())
    (sweep / "11_never_begun" / ".hydra").mkdir(parents=True)
    written(sweep / "10_seed=1" / "below", result())  # A run's own folders are not looked at.
    written(tmp_path / "sweep" / "mlartifacts" / "0", result())
    named = [str(path.relative_to(sweep.resolve())) for path in run_folders([sweep])]
    assert named == ["9_seed=0", "10_seed=1", "11_never_begun", "a/b"]
    assert run_folders([sweep, sweep / "a"]) == run_folders([sweep])
    (tmp_path / "empty").mkdir()
    for place in ("nothing", "empty"):
        with pytest.raises(KbexpError, match=place):
            run_folders([sweep, tmp_path / place])


def test_runs_that_differ_by_their_seeds_are_taken_together(tmp_path: Path) -> None:
    def run(name: str, speedup: float | None, own: object, **changes: Any) -> Any:
        best = speedup and {"speedup": speedup, "confirmed": None}
        return outcome_of(written(tmp_path / name, result(best=best, **changes), own))

    said = settings(seed=9, logger={"name": "both"}, run_name="b", budget={
        "wall_s": 300, "evaluations": 30
    })  # fmt: skip
    runs = [
        run("a", 2.0, settings()), run("b", 8.0, said),
        run("c", None, settings(seed=3), state="failed"),
        run("d", 3.0, settings(), algorithm="best_of_n"),
        run("e", 50.0, None), run("f", 60.0, None),  # whose settings nobody knows
    ]  # fmt: skip
    (group,) = grouped(runs)
    assert (group.algorithm, group.runs, group.measured) == ("ps", 3, 2)
    assert group.speedup is not None
    assert group.speedup.value == pytest.approx(4.0)
    assert grouped([runs[0], runs[2]])[0].speedup is None
    assert kept_apart(runs) == []


def test_runs_that_differ_by_more_are_kept_apart_and_it_is_said_by_what(tmp_path: Path) -> None:
    def run(name: str, seed: int, rows: int, device: str = "") -> Any:
        own = settings(seed=seed, task={"name": "softmax", "sizes": {"rows": rows}})
        record = result(seed=seed, device=device)
        return outcome_of(written(tmp_path / name, record, own))

    runs = [run("a", 1, 4), run("b", 2, 4), run("c", 1, 8), run("d", 2, 8)]
    assert [(g.runs, g.settings) for g in grouped(runs)] == [
        (2, {"task.sizes.rows": "4"}), (2, {"task.sizes.rows": "8"})
    ]  # fmt: skip
    text = text_tables(runs, tmp_path)
    assert "softmax cpu ps offline differ by more than their seeds" in text
    assert "task.sizes.rows (4, 8)" in text
    assert re.search(r"offline +task\.sizes\.rows=8 +2 of 2", text)
    assert "task.sizes.rows (4, 8)" in markdown_tables(runs, tmp_path).replace("\\", "")
    assert "more than their seeds" not in text_tables(runs[:2], tmp_path)

    # Another device is another figure; a run that never came to one is with the first.
    devices = [run("e", 1, 4, "A"), run("f", 2, 4, "B"), run("g", 3, 4), run("h", 4, 4, "A")]
    assert [(g.runs, g.settings) for g in grouped(devices)] == [(3, {"device": "A"})]
    assert "device (A, B)" in text_tables(devices, tmp_path)


def test_a_journal_says_what_a_run_was_started_with(tmp_path: Path) -> None:
    folder = written(tmp_path / "a", result(), settings(budget={"evaluations": 1}))
    assert (settings_of(folder) or {})["budget.evaluations"] == "1"
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(RunStarted(about={"config": settings()}))
    told = settings_of(folder)
    assert told == {
        "task.name": "softmax", "task.sizes.rows": "4",
        "budget.evaluations": "30", "budget.wall_s": "300",
    }  # fmt: skip
    (folder / "journal.jsonl").write_bytes(b'{"about": {"config": [1]}}\n')
    (folder / ".hydra" / "config.yaml").write_bytes(b"\xff: [")
    assert settings_of(folder) is None


def test_few_runs_show_their_range_and_not_an_interval(tmp_path: Path) -> None:
    def run(seed: int) -> Any:
        best = {"speedup": 2.0**seed, "confirmed": None}
        record = result(seed=seed, best=best)
        return outcome_of(written(tmp_path / str(seed), record, settings(seed=seed)))

    runs = [run(seed) for seed in range(FEWEST_FOR_INTERVAL)]
    few = text_tables(runs[:-1], tmp_path).splitlines()[-1]
    assert few.endswith("3 of 3  2.00x, from 1.00x to 4.00x")
    assert re.search(r"4 of 4  2\.83x \[0\.\d+, \d+\.\d+\]$", text_tables(runs, tmp_path))
    (record,) = compared(runs[:-1])["groups"]
    assert (record["speedup"], record["speedup_low"], record["speedup_high"]) == (2.0, None, None)
    assert (record["lowest"], record["highest"]) == (1.0, 4.0)
    (record,) = compared(runs)["groups"]
    assert 0 < record["speedup_low"] < record["speedup"] < record["speedup_high"]


@pytest.mark.parametrize("width", [60, 80, 110])
def test_tables_fit_a_terminal(tmp_path: Path, width: int) -> None:
    tasks = ["matmul_tall_skinny", "conv2d_depthwise", "embedding_bag"]
    alike, mixed = [], []
    for number, (task, seed) in enumerate((task, seed) for task in tasks for seed in (1, 2)):
        own = settings(seed=seed, task={"name": task})
        record = result(task=task, seed=seed, state="interrupted")
        folder = tmp_path / f"{number}_task-{task}_seed-{seed}"
        mixed.append(outcome_of(written(folder, record, own)))
        record = result(seed=seed, best=None if seed == 1 else result()["best"])
        own = settings(seed=seed, budget={"evaluations": number // 2})
        alike.append(outcome_of(written(tmp_path / "s" / folder.name, record, own)))
    for runs in (alike, mixed, [*mixed, *alike]):
        lines = text_tables(runs, tmp_path, width).splitlines()
        assert max(map(len, lines)) <= width
        assert sum("1.90x [1.50, 2.50]" in line for line in lines) >= 3
    lines = text_tables(mixed, tmp_path, width).splitlines()
    for number, task in enumerate(("matmul_tall", "matmul_tall", "conv2d", "conv2d", "embed")):
        (line,) = (line for line in lines if f"{number}_task" in line)
        assert task in line
        assert "inter" in line
    # Nothing is left out where there is room, or where a program reads.
    for full in (text_tables(mixed, tmp_path), text_tables(mixed, tmp_path, 250)):
        assert "evaluations" in full
        assert "0_task-matmul_tall_skinny_seed-1" in full
        assert "all of them" not in full


def test_the_mean_of_speedups_and_its_interval() -> None:
    # By hand: logarithms 0, 1, 2; mean 1, standard deviation 1, t(2) = 4.303.
    mean = geometric_mean([1.0, math.e, math.e**2])
    assert mean.value == pytest.approx(math.e)
    assert mean.low == pytest.approx(math.exp(1 - 4.303 / math.sqrt(3)))
    assert mean.high == pytest.approx(math.exp(1 + 4.303 / math.sqrt(3)))
    same = geometric_mean([1.5] * 30)
    assert (same.low, same.high) == (pytest.approx(1.5), pytest.approx(1.5))
    with pytest.raises(ValueError, match="two figures"):
        geometric_mean([2.0])


def test_the_table_says_what_each_run_came_to(tmp_path: Path) -> None:
    failed = result(state="failed", best=None, counts={}, cost={"unpriced_proposals": 1}, seed=2)
    runs = [
        outcome_of(written(tmp_path / "0_seed=1", result())),
        outcome_of(written(tmp_path / "1_seed=2", failed)),
        outcome_of(written(tmp_path / "2", result(metric="peak_memory", llm="other"))),
    ]
    head, rule, *lines = text_tables(runs[:2], tmp_path).splitlines()
    assert head.split()[:5] == ["task", "gpu", "algorithm", "seed", "confirmed"]
    assert set(rule) == {"-"}
    first = r"softmax  cpu  ps +1 +1\.90x \[1\.50, 2\.50\] +30 +\$0\.7500 +0:01:20  complete "
    assert re.fullmatch(f"{first} 0_seed=1", lines[0])
    assert re.search(r" 2 +- +0 +>= \$0\.00 .*failed", lines[1])
    assert "model" not in head.split()
    all_of_them = text_tables(runs, tmp_path)
    assert "model" in all_of_them.splitlines()[0].split()
    assert "peak_memory 1.9/GiB" in all_of_them


def test_hostile_runs_print_harmless_lines(tmp_path: Path) -> None:
    odd = result(task=HOSTILE, state=HOSTILE, llm=HOSTILE, metric=HOSTILE, algorithm="a|b`<i>")
    own = {"seed": 1, "task": HOSTILE, HOSTILE[:500]: {"a|b`<i>": 3}}
    folder = written(tmp_path / "run\x1b[31m\n", odd, own)
    others = [("2", own), ("3", {**own, "task": "x"}), ("4", {**own, "task": "x"})]
    runs = [outcome_of(folder)]
    runs += [outcome_of(written(tmp_path / name, odd, each)) for name, each in others]
    text, page = text_tables(runs, tmp_path), markdown_tables(runs, tmp_path)
    for shown in (text, page):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2028]", shown)
    assert len(text.splitlines()) == 2 + 4 + 1 + 2 + 2 + 1 + 1
    assert max(map(len, text.splitlines())) < 1000
    assert "a\\|b\\`&lt;i&gt;" in page
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in page.splitlines()[:4]]
    assert len(set(columns)) == 1
