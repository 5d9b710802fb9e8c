"""What is shown and what is covered, for installations of every shape."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from kbexp.worker import visible
from kbexp.worker.visible import arranged, checkout_of, needed_paths, private_folders


@pytest.mark.parametrize(
    ("needed", "private", "expected"),
    [
        (["/usr", "/usr/lib/x"], ["/home/me"], [("/usr", True)]),
        # A checkout below a folder of the system, with its own environment and package.
        (
            ["/opt", "/opt/k/.venv", "/opt/k/src/kbexp", "/opt/k-other"],
            ["/opt/k"],
            [
                ("/opt", True), ("/opt/k", False),
                ("/opt/k/.venv", True), ("/opt/k/src/kbexp", True),
            ],
        ),
        # Where nothing is shown, nothing need be covered.
        (["/me/k/.venv"], ["/me", "/me/k"], [("/me/k/.venv", True)]),
        # Python in the folder that it was started in.
        (["/opt", "/opt/x"], ["/opt/x", "/opt/x/y"], [("/opt", True), ("/opt/x/y", False)]),
    ],
)  # fmt: skip
def test_paths_come_after_what_they_lie_in(
    needed: list[str], private: list[str], expected: list[tuple[str, bool]]
) -> None:
    assert list(arranged(needed, private)) == expected


def test_a_checkout_is_known_by_its_signs(tmp_path: Path) -> None:
    package = tmp_path / "project" / "src" / "kbexp"
    installed = tmp_path / "project" / ".venv" / "lib" / "site-packages" / "kbexp"
    for folder in (package, installed):
        folder.mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    assert checkout_of(str(package)) == str(tmp_path / "project")
    assert checkout_of(str(installed)) is None


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's folder, in which Python was started."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    return home


def test_folders_of_the_person(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(home) in private_folders()
    monkeypatch.chdir("/usr/lib")
    monkeypatch.setenv("HOME", "/")
    assert private_folders() == {checkout_of(visible.PACKAGE)} - {None}


def imported(monkeypatch: pytest.MonkeyPatch, file: Path, name: str) -> None:
    """Import a module from the folder of `file`, which joins Python's path."""
    file.parent.mkdir(exist_ok=True)
    file.touch()
    monkeypatch.syspath_prepend(file.parent)
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, name)
    __import__(name)


def test_of_the_path_only_what_was_imported_from(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "unused").mkdir()
    monkeypatch.syspath_prepend(home / "unused")
    imported(monkeypatch, home / "libraries" / "kbexp_test_library.py", "kbexp_test_library")
    imported(monkeypatch, home / "kbexp_test_at_home.py", "kbexp_test_at_home")
    found = needed_paths(private_folders())
    ours = {path for path in found if path.startswith(str(home))}
    assert ours == {str(home / "libraries"), str(home / "kbexp_test_at_home.py")}
    assert visible.PACKAGE in found
    assert str(Path(visible.PACKAGE).parent) not in found


def test_an_environment_in_the_persons_own_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bin", "lib", "secrets"):
        (home / name).mkdir()
    for name in ("prefix", "exec_prefix"):
        monkeypatch.setattr(sys, name, str(home))
    found = needed_paths(private_folders())
    ours = {path for path in found if path.startswith(str(home))}
    assert ours == {str(home / "bin"), str(home / "lib")}


def test_a_library_beside_the_persons_files_comes_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = home / "libfast.so.1"
    library.touch()
    monkeypatch.setattr(visible, "_loaded_libraries", lambda: iter([str(library)]))
    found = needed_paths(private_folders())
    assert str(library) in found
    assert str(home) not in found
