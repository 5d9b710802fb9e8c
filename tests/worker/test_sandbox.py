"""What of a build is kept, and that no link leads the copy elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kbexp.worker import sandbox
from kbexp.worker.sandbox import copy_kept, open_folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    return tmp_path / "from", tmp_path / "to"


def copy(source: Path, target: Path) -> int:
    first, second = open_folder(source), open_folder(target)
    try:
        return copy_kept(first, second)
    finally:
        os.close(first)
        os.close(second)


def test_files_are_copied_with_their_times(folders: tuple[Path, Path]) -> None:
    source, target = folders
    (source / "k" / "inner").mkdir(parents=True)
    built = source / "k" / "inner" / "k.so"
    built.write_bytes(bytes(range(256)) * 8192)
    built.chmod(0o4755)
    (source / "build.ninja").write_text("rule cc")
    os.utime(source / "build.ninja", ns=(1, 1_700_000_000_123_456_789))
    assert copy(source, target) == 2**21 + 7
    copied = target / "k" / "inner" / "k.so"
    assert copied.read_bytes() == built.read_bytes()
    assert copied.stat().st_mode & 0o7777 == 0o755
    assert (target / "build.ninja").stat().st_mtime_ns == 1_700_000_000_123_456_789


def test_links_and_special_files_are_passed_over(folders: tuple[Path, Path]) -> None:
    source, target = folders
    (source / "file").symlink_to("/etc/passwd")
    (source / "folder").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    (source / "own").write_text("x")
    assert copy(source, target) == 1
    assert list(target.iterdir()) == [target / "own"]


def test_a_link_is_no_folder(folders: tuple[Path, Path]) -> None:
    source, _ = folders
    (source / "link").symlink_to("/etc")
    with pytest.raises(OSError, match="link"):
        open_folder(source / "link")


def test_nothing_that_is_there_is_written_through(folders: tuple[Path, Path]) -> None:
    source, target = folders
    (source / "a").write_text("new")
    (target / "other").write_text("old")
    (target / "a").symlink_to(target / "other")
    with pytest.raises(FileExistsError):
        copy(source, target)
    assert (target / "other").read_text() == "old"


def test_a_build_is_bounded(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = folders
    with (source / "sparse").open("w") as file:
        file.truncate(2**20)
    monkeypatch.setattr(sandbox, "MAX_KEPT_BYTES", 2**20 - 1)
    with pytest.raises(OSError, match="more than 1048575 bytes"):
        copy(source, target)
    (source / "sparse").unlink()
    for number in range(4):
        (source / str(number)).symlink_to("/etc")
    monkeypatch.setattr(sandbox, "MAX_KEPT_ENTRIES", 3)
    with pytest.raises(OSError, match="more than 3 files"):
        copy(source, target)
    monkeypatch.setattr(sandbox, "MAX_KEPT_ENTRIES", 100)
    (source / "/".join("d" * (sandbox.MAX_KEPT_DEPTH + 1))).mkdir(parents=True)
    with pytest.raises(OSError, match="deep"):
        copy(source, target)
