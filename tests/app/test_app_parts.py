"""The parts of the app that need no run: first kernel, standalone kernel, atomic files, checks."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from kbexp.app.checks import check_folder
from kbexp.app.first import first_kernel
from kbexp.app.judge_files import kernel_files, read_kernel
from kbexp.app.result import write_atomically
from kbexp.app.standalone import kernel_text, standalone
from kbexp.config import SizeClass, TaskConfig
from kbexp.errors import KbexpError
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.tasks.load import load
from kbexp.worker.processes import MEMORY_KEPT, THREADS_AT_REST

TASK = """
import torch


class Model(torch.nn.Module):
    def __init__(self, scale: float) -> None:
        super(Model, self).__init__()
        self.scale = scale  # A Model in a comment stays.

    def forward(self, x):
        return x * self.scale


def get_inputs():
    return [torch.rand(4, 4)]


def get_init_inputs():
    return [3.0]
"""


def test_the_first_kernel_is_the_reference_renamed() -> None:
    source = first_kernel(Task("scale", TASK)).source
    assert "class ModelNew(torch.nn.Module)" in source
    assert "super(ModelNew, self)" in source
    assert "# A Model in a comment stays." in source
    assert source.replace("ModelNew", "Model") == TASK


def test_a_model_that_is_no_class_statement_gets_a_second_name() -> None:
    source = first_kernel(Task("named", "from somewhere import Model\n")).source
    assert source.endswith("ModelNew = Model\n")


def test_the_first_kernel_of_a_bundled_task_compiles() -> None:
    task = load(TaskConfig(name="matmul_bias_gelu"), SizeClass.cpu)
    names: dict[str, object] = {"__name__": "kernel"}
    exec(compile(first_kernel(task).source, "kernel", "exec"), names)
    assert "ModelNew" in names
    assert "Model" not in names


def write_alone(folder: Path, kernel: str) -> str:
    (folder / "task.py").write_text(TASK)
    (folder / "best_kernel.py").write_text(standalone(kernel, "cpu"))
    return str(folder / "best_kernel.py")


def test_a_kernel_alone_says_that_it_is_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_alone(tmp_path, first_kernel(Task("scale", TASK)).source)
    runpy.run_path(path, run_name="__main__")
    said = capsys.readouterr().out
    assert said.startswith("correct")
    number = r"([\d.e+-]+)"
    spread = re.search(rf"speedup {number}x \(half of \d+ .* from {number} to {number}\)", said)
    assert spread is not None
    middle, low, high = map(float, spread.groups())
    assert 0 < low <= middle <= high


@pytest.mark.parametrize("drawn", ["random.random()", "float(numpy.random.rand())"])
def test_a_kernel_alone_has_the_references_weights(tmp_path: Path, drawn: str) -> None:
    text = "import random, numpy\n" + TASK.replace("= scale ", f"= {drawn} ")
    path = write_alone(tmp_path, first_kernel(Task("scale", text)).source)
    (tmp_path / "task.py").write_text(text)
    runpy.run_path(path, run_name="__main__")


def test_a_kernel_alone_is_timed_with_threads_at_rest_and_memory_kept(tmp_path: Path) -> None:
    seen = "import os\nprint(os.getenv('GOMP_SPINCOUNT'), os.getenv('KMP_BLOCKTIME'))\n"
    path = write_alone(tmp_path, first_kernel(Task("scale", TASK)).source + seen)
    own = {"PATH": os.environ["PATH"], "KMP_BLOCKTIME": "7"}
    done = subprocess.run(
        [sys.executable, "-I", path], env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *_, printed, said = done.stdout.splitlines()
    assert printed == "3000 7"
    assert said.startswith("correct")


def test_the_settings_of_a_kernel_alone_are_those_of_the_judge() -> None:
    # A text that is too long for a line is written in two.
    written = re.sub(r'"\n +"(?=[^"]*",\n)', "", standalone("", "cpu"))
    for name, value in {**THREADS_AT_REST, **MEMORY_KEPT}.items():
        assert f'"{name}": "{value}"' in written


@pytest.mark.parametrize("wrong", ["x * 2.9", "x[:2] * self.scale", "x * float('nan')"])
def test_a_kernel_alone_says_that_it_is_wrong(tmp_path: Path, wrong: str) -> None:
    kernel = first_kernel(Task("scale", TASK)).source.replace("x * self.scale", wrong)
    with pytest.raises(SystemExit, match="WRONG"):
        runpy.run_path(write_alone(tmp_path, kernel), run_name="__main__")


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        ("{'a': x, 'b': [x + 1]}", "{'a': x, 'b': [x + 1.0]}"),
        ("(x, (x.sum(), x.argmax()))", "[x, x.sum(), x.argmax()]"),
        ("torch.fft.fft(x)", "torch.fft.ifft(x, norm='forward').conj()"),
        ("x.log2().log2()", "x.log2().log().mul(1.4426950408889634)"),  # Holds NaN.
        ("x[:0]", "x[4:]"),
        ("((x + 1e3) ** 2 - 1e6) / 1e3", "2 * x + x * x / 1e3"),  # Inexact, as the judge sees.
    ],
)
def test_a_kernel_alone_is_compared_as_the_judge_does(
    tmp_path: Path, wanted: str, given: str
) -> None:
    path = write_alone(tmp_path, first_kernel(Task("scale", TASK)).source)
    for file, answer in (("task.py", wanted), ("best_kernel.py", given)):
        text = (tmp_path / file).read_text()
        (tmp_path / file).write_text(text.replace("return x * self.scale", f"return {answer}"))
    runpy.run_path(path, run_name="__main__")
    (tmp_path / "task.py").write_text(TASK.replace("return x *", "return x, x *"))
    with pytest.raises(SystemExit, match="WRONG"):
        runpy.run_path(path, run_name="__main__")


def test_a_kernel_alone_wants_its_task_and_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_alone(tmp_path, first_kernel(Task("scale", TASK)).source)
    (tmp_path / "task.py").unlink()
    with pytest.raises(SystemExit, match="task is missing"):
        runpy.run_path(path, run_name="__main__")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    Path(path).write_text(standalone(first_kernel(Task("scale", TASK)).source, "cuda"))
    with pytest.raises(SystemExit, match="CUDA"):
        runpy.run_path(path, run_name="__main__")


@pytest.mark.parametrize("text", ["", "x = 1", "x = 1\n", "x = 1\r\n\n\n\n", "# \u00fc\n"])
def test_a_kernels_own_text_comes_back_from_the_standalone_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "best_kernel.py"
    write_atomically(path, standalone(text, "cpu"))
    assert kernel_text(path.read_bytes().decode()) == text
    assert read_kernel(path) == Kernel(text)


def test_a_mark_of_windows_editors_is_no_part_of_a_kernel(tmp_path: Path) -> None:
    path = tmp_path / "kernel.py"
    path.write_text("x = 1\n", encoding="utf-8-sig")
    assert read_kernel(path) == Kernel("x = 1\n")


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800", errors="strict")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_folder_below_a_file_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KbexpError, match=r"hydra\.run\.dir"):
        check_folder(tmp_path / "file" / "run")


def test_kernels_are_found_by_name_and_pattern_each_once(tmp_path: Path) -> None:
    for name in ("b.py", "a.py", "odd[1].py"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder").mkdir()
    assert list(kernel_files(str(tmp_path / "*"))) == [
        tmp_path / "a.py", tmp_path / "b.py", tmp_path / "odd[1].py"
    ]  # fmt: skip
    assert list(kernel_files(str(tmp_path / "odd[1].py"))) == [tmp_path / "odd[1].py"]
    pair = [f"{tmp_path}/./b.py", str(tmp_path / "?.py")]
    assert kernel_files(pair) == {
        tmp_path / "b.py": f"{tmp_path}/./b.py", tmp_path / "a.py": f"{tmp_path}/a.py"
    }  # fmt: skip


def test_what_is_no_kernels_file_is_said_to_be_what_it_is(tmp_path: Path) -> None:
    for nothing, words in (
        (f"{tmp_path}/c*.py", "There is no kernel"),
        ([], "No kernel was given"),
        ("", "No kernel was given"),
        (None, "No kernel was given"),
        (f"{tmp_path}/", "is a folder"),
    ):
        with pytest.raises(KbexpError, match=words):
            kernel_files(nothing)
