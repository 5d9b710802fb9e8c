"""The examples of docs/tracking.md work."""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import get_args

import pytest

from kbexp.events import Event
from kbexp.summary import RunSummary
from kbexp.tracking import read

TEXT = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    (example,) = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "journal.jsonl"
    path.write_text(example, encoding="ascii")
    return path


def test_the_example_is_a_journal(journal: Path) -> None:
    summary = RunSummary.of(read(journal))
    assert summary.state == "complete"
    assert summary.best is not None
    assert summary.best.score == 1.001
    told = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert {event.event for event in read(journal)} < told
    assert {kind.event for kind in get_args(Event)} == told


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_jq_commands(journal: Path) -> None:
    commands = re.findall(r"^jq .*$", TEXT, re.MULTILINE)
    said = [
        subprocess.run(
            command, shell=True, cwd=journal.parent, capture_output=True, text=True, check=True
        ).stdout
        for command in commands
    ]
    assert said == [
        "correct\t1.001\t\nincorrect\t\tOutput 0 differs from the reference by 0.31 at (3, 17).\n",
        '"19b25856e1c150ca834cffc8b59b23ad"\n',
        "0.0123\n",
        "class ModelNew: ...\n",
    ]


def test_the_python_examples(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(journal.parent)
    examples = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile(example, "docs/tracking.md", "exec"), {})
