"""A build as one file: whole, with its times, or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.worker.build import BuildCache
from kbexp.worker.parcel import BadParcel, pack, unpack


def test_what_is_packed_comes_out_with_its_times(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "k.so").write_bytes(b"\x7fELF" + bytes(range(256)) * 5000)
    (folder / "build.ninja").write_text("rule cc\n")
    (folder / "empty").touch()
    (folder / "inner" / "k.so").chmod(0o755)
    os.utime(folder / "build.ninja", ns=(1, 1_700_000_000_123_456_789))
    (folder / "link").symlink_to("/etc/passwd")
    os.mkfifo(folder / "fifo")
    pack(folder, tmp_path / "parcel")
    unpack(tmp_path / "parcel", tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")}
    assert found == {"inner", "inner/k.so", "build.ninja", "empty"}
    for name in ("inner/k.so", "build.ninja"):
        before, after = folder / name, tmp_path / "out" / name
        assert after.read_bytes() == before.read_bytes()
        assert after.stat().st_mtime_ns == before.stat().st_mtime_ns
    assert os.access(tmp_path / "out" / "inner" / "k.so", os.X_OK)


@pytest.mark.parametrize("name", ["../out", "/etc/x", "a/../../b", ""])
def test_no_file_lands_elsewhere(tmp_path: Path, name: str) -> None:
    entry = {"path": name, "bytes": 1, "mtime_ns": 0, "executable": False}
    (tmp_path / "parcel").write_bytes(json.dumps([entry]).encode() + b"\nx")
    with pytest.raises(BadParcel):
        unpack(tmp_path / "parcel", tmp_path / "out" / "in")
    assert not (tmp_path / "out").exists()


def test_one_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "k.so").write_bytes(b"x" * 100)
    pack(tmp_path / "build", tmp_path / "parcel")
    os.truncate(tmp_path / "parcel", (tmp_path / "parcel").stat().st_size - 1)
    with pytest.raises(BadParcel, match="early"):
        unpack(tmp_path / "parcel", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@given(data=st.binary(max_size=300))
def test_noise_is_no_parcel(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "parcel").write_bytes(data)
    try:
        unpack(folder / "parcel", folder / "out")
    except BadParcel:
        assert not (folder / "out").exists()
    else:  # Noise that says of itself that it holds nothing.
        assert not list((folder / "out").iterdir())


def test_a_cache_takes_in_a_parcel_and_passes_over_a_bad_one(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "k.so").write_bytes(b"built")
    pack(tmp_path / "build", tmp_path / "parcel")
    cache = BuildCache(tmp_path / "cache", "tools")
    kept = cache.adopt("kernel", tmp_path / "parcel")
    assert kept is not None
    assert (kept / "k.so").read_bytes() == b"built"
    assert cache.find("kernel") == kept
    (tmp_path / "parcel").write_bytes(b"[]")
    assert cache.adopt("other", tmp_path / "missing") is None
    assert cache.find("other") is None
