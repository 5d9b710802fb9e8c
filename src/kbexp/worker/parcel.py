"""A folder as one file: a build on its way from the container that made it to the one that runs it.

The form is a line of JSON that lists the files, then their bytes. Times are kept to the
nanosecond, since ninja compares them and builds again what seems older than its sources. Links
and special files are left out: an untrusted process made what is packed here.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

MAX_BYTES = 512 * 2**20
MAX_FILES = 10_000
MAX_INDEX_BYTES = 4 * 2**20


class BadParcel(Exception):
    """A file that is no parcel, or one that is too large."""


def pack(folder: Path, file: Path) -> int:
    """Write the regular files below `folder` into `file`; return the bytes they have.

    Raises BadParcel above `MAX_BYTES`.
    """
    entries: list[dict[str, Any]] = []
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            entries.append(
                {
                    "path": path.relative_to(folder).as_posix(),
                    "bytes": status.st_size,
                    "mtime_ns": status.st_mtime_ns,
                    "executable": bool(status.st_mode & 0o100),
                }
            )
    total: int = sum(entry["bytes"] for entry in entries)
    if total > MAX_BYTES or len(entries) > MAX_FILES:
        raise BadParcel(f"a build left {len(entries)} files of {total} bytes")
    with file.open("wb") as out:
        out.write(json.dumps(entries).encode() + b"\n")
        for entry in entries:
            with (folder / entry["path"]).open("rb") as source:
                copied = _copy(source, out, entry["bytes"])
            if copied != entry["bytes"]:
                raise BadParcel(f"{entry['path']} changed while it was packed")
    return total


def unpack(file: Path, folder: Path) -> None:
    """Write the files of a parcel below `folder`, which is to be new.

    Raises BadParcel where it is none; what was written so far is then deleted.
    """
    try:
        with file.open("rb") as source:
            entries = _index(source.readline(MAX_INDEX_BYTES))
            folder.mkdir()
            for entry in entries:
                path = folder / entry["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as out:
                    if _copy(source, out, entry["bytes"]) != entry["bytes"]:
                        raise BadParcel("it ends too early")
                path.chmod(0o755 if entry["executable"] else 0o644)
                os.utime(path, ns=(entry["mtime_ns"], entry["mtime_ns"]))
    except BadParcel:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise BadParcel(f"{type(error).__name__}: {error}") from error


def _index(line: bytes) -> list[dict[str, Any]]:
    """Read the list of files; every path of it stays below the folder."""
    entries: list[dict[str, Any]] = json.loads(line)
    if len(entries) > MAX_FILES or sum(int(entry["bytes"]) for entry in entries) > MAX_BYTES:
        raise BadParcel("it is too large")
    for entry in entries:
        parts = Path(entry["path"]).parts
        if not parts or parts[0] == "/" or ".." in parts or entry["bytes"] < 0:
            raise BadParcel(f"it names {entry['path']!r}")
    return entries


def _copy(source: Any, out: Any, count: int) -> int:
    """Copy up to `count` bytes; return how many there were."""
    copied = 0
    while copied < count and (block := source.read(min(count - copied, 1 << 20))):
        out.write(block)
        copied += len(block)
    return copied
