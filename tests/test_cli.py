"""The command line: what it offers, what it refuses and in which words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kbexp.app.configuration import GROUPS, choices

HEAVY = ("torch", "litellm", "mlflow", "wandb", "modal", "opto", "rich")

MISTAKES = [
    (["gpu=h101"], ["gpu", "h101", "h100", "a100_80gb"]),
    (["task=sofmax"], ["task", "sofmax", "softmax", "rmsnorm"]),
    (["experiment=nothing"], ["experiment", "demo"]),
    (["hydra/launcher=nothing"], ["launcher", "basic"]),
    (["seeed=1"], ["seeed", "seed"]),
    (["num_steps=1"], ["algorithm.num_steps"]),
    (["algorithm.num_step=1"], ["algorithm.num_step", "algorithm.num_steps"]),
    (["algorithm.num_steps=many"], ["algorithm.num_steps", "whole number", "many"]),
    (["evaluator.timing_s=long"], ["evaluator.timing_s", "number", "long"]),
    (["verbose=perhaps"], ["verbose", "true or false"]),
    (["seed=null"], ["seed", "null"]),
    (["metric=best"], ["metric", "speedup_low", "inverse_runtime"]),
    (["metric=nowhere.best"], ["metric=nowhere.best", "PYTHONPATH"]),
    (["metric={minutes:2}"], ["metric", "_target_"]),
    (["metric=energy"], ["metric=energy", "gpu"]),
    (["baselines.names=[eager,compile]"], ["baselines.names", "torch_compile"]),
    (["baselines.names=eager"], ["baselines.names", "list"]),
    (["confirm.evaluator=thorough"], ["confirm.evaluator", "group of settings"]),
    (["gpu.provider=modl"], ["gpu.provider", "modal", "local"]),
    (["seed"], ["seed", "key=value"]),
    (["task=[softmax"], ["task=[softmax", "key=value"]),
    (["a=b=c"], ["a=b=c", "key=value"]),
    (["+=1"], ["key=value"]),
    (["+gpu=t4"], ["gpu", "plus"]),
    (["gpu=[t4,l4]"], ["gpu", "one choice"]),
    (["~gpu"], ["gpu", "one choice"]),
    (["gpu=3"], ["choices by name"]),
    (["gpu=_gpu"], ["gpu=", "--help"]),
    (["+nothing=1"], ["nothing", "settings"]),
    (["task.name=???"], ["task.name"]),
    (["task=softmax,rmsnorm"], ["--multirun"]),
    (["task.sizes.rwos=1"], ["rmsnorm", "size 'rwos'", "did you mean rows?", "rows, dim, eps"]),
    (["+task.sizes.rwos=1"], ["rmsnorm", "rwos", "rows", "dim"]),
    (["task=kernelbench", "task.sizes.N=1"], ["+task.sizes.N"]),
    (["--num_steps", "5"], ["--num_steps", "algorithm.num_steps"]),
    (["--multrun"], ["--multrun", "--multirun"]),
    (["--cfg", "nothing"], ["--cfg", "job"]),
    (["--config-name", "nothing"], ["nothing"]),
    (["--run", "--multirun"], ["--run"]),
    (["-m", "task=softmax,nothing"], ["task", "nothing", "softmax"]),
    (["-m", "seed=1,2", "hydra.run.dir=X"], ["hydra.sweep.dir=X", "single run"]),
    (["-m", "seed=1,two"], ["seed", "two", "whole number"]),
    (["hydra.run.dir=/proc/nothing"], ["/proc/nothing"]),
    (["llm.models=[{model: a/b, wieght: 2}]"], ["'wieght' (did you mean weight?)", "api_base"]),
    (["llm.models=[{weight: 2}]"], ["llm.models[0].model has no value"]),
    (["task=my.py"], ["task=file task.path=my.py"]),
    (["task=/tmp/my.py"], ["task=file task.path=/tmp/my.py"]),
    (["llm=replay"], ["llm.path has no value"]),
]


@pytest.fixture(scope="module")
def help_text(repository: Path) -> str:
    command = [sys.executable, "-X", "importtime", "run.py", "--help"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "kbexp.config" in imported
    assert not imported & set(HEAVY)
    return done.stdout


@pytest.mark.parametrize("group", [*GROUPS, "experiment", "debug"])
def test_help_lists_every_choice(help_text: str, repository: Path, group: str) -> None:
    words = help_text.replace(",", " ").split()
    assert group in words
    assert set(choices(repository / "conf", group)) <= set(words)


def test_help_hides_the_schemas(help_text: str) -> None:
    assert not [word for word in help_text.split() if word.startswith("_")]


def test_printing_the_configuration_imports_nothing_heavy(repository: Path) -> None:
    command = [sys.executable, "-X", "importtime", "run.py", "--cfg", "job", "gpu=l4"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & set(HEAVY)
    assert "name: l4" in done.stdout


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_a_mistake_ends_in_one_sentence(command_line, arguments, words) -> None:
    done = command_line("run.py", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_size_that_a_file_has_not_is_answered_with_those_it_has(
    command_line, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("rows = 4\ncols = 2\n\n\ndef get_inputs():\n    return []\n")
    for size, words in (("nothing=1", "rows, cols"), ("rows=1", "+task.sizes.rows")):
        done = command_line("run.py", "task=file", "task.path=mine.py", f"task.sizes.{size}")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert words in done.stderr


def test_a_yaml_file_that_is_none_is_named_a_mistake(command_line, tmp_path: Path) -> None:
    (tmp_path / "gpu").mkdir()
    (tmp_path / "gpu" / "mine.yaml").write_text("name: [unclosed\n")
    done = command_line("run.py", "--config-dir", str(tmp_path), "gpu=mine")
    assert done.returncode == 2
    assert "YAML" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_choice_of_ones_own_is_checked_like_any_other(command_line, tmp_path: Path) -> None:
    (tmp_path / "gpu").mkdir()
    own = tmp_path / "gpu" / "mine.yaml"
    own.write_text("defaults: [_gpu, _self_]\nname: mine\nprice: 3\n")
    done = command_line("run.py", "--config-dir", str(tmp_path), "gpu=mine")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "gpu.price" in done.stderr


def test_a_full_traceback_can_be_asked_for(command_line) -> None:
    done = command_line("run.py", "gpu=h101", env={"HYDRA_FULL_ERROR": "1"}, cold=True)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_a_missing_kernel_is_one_sentence_and_no_litter(command_line, tmp_path: Path) -> None:
    done = command_line("scripts/evaluate.py", "kernel=nothing.py", cold=True)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "nothing.py" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_evaluate_wants_a_kernel(command_line) -> None:
    done = command_line("scripts/evaluate.py")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "kernel=" in done.stderr


@pytest.mark.parametrize("program", ["run.py", "scripts/evaluate.py"])
def test_a_python_without_the_packages_is_told_what_to_do(repository: Path, program: str) -> None:
    # -S: no site-packages.
    command = [sys.executable, "-S", str(repository / program), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "make setup" in done.stderr


def test_a_disk_that_is_full_is_said_to_be(command_line, tmp_path: Path) -> None:
    # Hydra's own files are small: /dev/full stands for the disk that has no room for them.
    run = tmp_path / "run"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").symlink_to("/dev/full")
    done = command_line("run.py", f"hydra.run.dir={run}")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "disk is full" in done.stderr


def test_a_reader_that_has_had_enough_is_no_error(repository: Path) -> None:
    command = f"{sys.executable} run.py --cfg job | true"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=repository, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_a_mistake_in_a_sweeps_folder_is_one_sentence(command_line) -> None:
    done = command_line("run.py", "-m", "seed=1,2", "hydra.sweep.dir=${nothing}", cold=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
