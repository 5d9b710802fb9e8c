"""The set-up script says in one sentence what a machine lacks, before it touches anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

GOOD_PYTHON = "#!/bin/sh\nexit 0\n"
OLD_PYTHON = '#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1"\n[ "$1" = --version ]\n'
# Suits, but lacks venv: Debian's python3 without python3-venv.
BARE_PYTHON = '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexit 0\n'


def set_up(folder: Path, repository: Path, programs: dict[str, str]) -> tuple[int, str]:
    tools = folder / "tools"
    tools.mkdir()
    for name, text in programs.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(repository / "scripts/setup.sh"), "venv", "venv/stamp"],
        cwd=folder,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("programs", "words"),
    [
        ({"python3": OLD_PYTHON}, ["3.11", "Python 3.9.1", "PYTHON="]),
        ({}, ["3.11", "no python3"]),
        ({"python3": GOOD_PYTHON}, ["g++", "apt install g++"]),
        ({"python3": GOOD_PYTHON, "gcc": GOOD_PYTHON}, ["g++", "apt install g++"]),
        (
            {"python3": BARE_PYTHON, "gcc": GOOD_PYTHON, "g++": GOOD_PYTHON},
            ["venv", "apt install python3-venv"],
        ),
    ],
    ids=["old python", "no python", "no compiler", "no C++ compiler", "no venv"],
)
def test_what_is_missing_is_said(
    tmp_path: Path, repository: Path, programs: dict[str, str], words: list[str]
) -> None:
    code, said = set_up(tmp_path, repository, programs)
    assert code == 1
    assert len(said.splitlines()) == 1
    for word in words:
        assert word in said
    assert not (tmp_path / "venv").exists()


def test_a_newer_python_under_another_name_is_found(tmp_path: Path, repository: Path) -> None:
    programs = {"python3": OLD_PYTHON, "python3.12": BARE_PYTHON}
    programs |= {"gcc": GOOD_PYTHON, "g++": GOOD_PYTHON}
    code, said = set_up(tmp_path, repository, programs)
    assert code == 1
    assert "venv" in said


def test_setup_is_a_shell_script_that_parses(repository: Path) -> None:
    for script in ("scripts/setup.sh", ".ci/run"):
        shell = "bash" if script == ".ci/run" else "sh"
        subprocess.run([shell, "-n", str(repository / script)], check=True, env=os.environ)
