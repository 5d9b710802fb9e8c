"""Compiling ahead of the device: the builder's role, and the folder where builds are kept.

A build is CPU work done behind the same walls as a kernel, without a device. What it leaves is
kept under the hash of the kernel's text and of the tools, and is only ever given, as a copy, to
the process of that same kernel.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import socket
import subprocess
import traceback
from pathlib import Path
from typing import Any

from kbexp.worker.parcel import BadParcel, unpack
from kbexp.worker.report import Kind, pack_text, send_report
from kbexp.worker.runner import load_module

MAX_CACHE_BYTES = 4 * 2**30


def main(order: dict[str, Any], fds: list[int]) -> None:
    """Import a kernel where no device is to be seen, so that its extensions are compiled.

    Only a failed compilation is reported: anything else that goes wrong here (a kernel that wants
    a device when it is imported) may well go right in the runner.
    """
    channel = socket.socket(fileno=fds[0])
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        load_module(order["source"], order["inside"])
    except BaseException as error:  # a kernel may raise anything
        if is_build_error(error):
            send_report(channel, Kind.FAILED, pack_text(str(error) or traceback.format_exc()))
            return
    send_report(channel, Kind.READY)


def is_build_error(error: BaseException | None) -> bool:
    """True where an exception comes from a compiler and not from the kernel's own code."""
    while error is not None:
        if isinstance(error, subprocess.CalledProcessError):
            return True
        if "Error building extension" in str(error) or "Error compiling objects" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def wants_build(source: str) -> bool:
    """True where a kernel seems to compile an extension when it is imported.

    A guess that costs nothing when it is wrong: what was not built ahead is built in the runner.
    """
    return "cpp_extension" in source or "load_inline" in source


def toolchain(torch_version: str, capability: str) -> str:
    """Return 12 hexadecimal digits for what a build depends on: compilers, torch, processor."""
    parts = [torch_version, capability, platform.machine(), _processor()]
    for compiler in (os.environ.get("CXX", "c++"), "nvcc"):
        found = shutil.which(compiler)
        if found:
            answer = subprocess.run(
                [found, "--version"], capture_output=True, text=True, timeout=30, check=False
            )
            parts.append(answer.stdout)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor()
    return next((line for line in text.splitlines() if line.startswith("flags")), "")


class BuildCache:
    """Folders of built extensions, one a kernel and toolchain; one process at a time adds to it."""

    def __init__(self, root: Path, tools: str) -> None:
        self._root = root
        self._tools = tools
        root.mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        self._prune()

    def find(self, kernel_id: str) -> Path | None:
        """Return the folder with a kernel's builds, or None where there is none yet."""
        folder = self._folder(kernel_id)
        if not folder.is_dir():
            return None
        os.utime(folder)
        return folder

    def reserve(self, kernel_id: str, name: str, in_place: bool) -> Path:
        """Return an empty folder for a build under way; `name` tells builds of one kernel apart.

        `in_place` is for walls that cannot show a process the same path twice: ninja builds
        again what has moved, so the build then happens where it stays.
        """
        place = self._folder(kernel_id)
        folder = place if in_place else place.with_name(f"{place.name}.{name}.part")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def keep(self, kernel_id: str, part: Path) -> Path:
        """Make a finished build findable, at once and as a whole; return its folder."""
        folder = self._folder(kernel_id)
        if part == folder:
            return folder
        try:
            part.rename(folder)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)  # Another worker was first.
        return folder

    def adopt(self, kernel_id: str, parcel: Path) -> Path | None:
        """Take in what was built elsewhere for this kernel; None where the parcel is no good."""
        folder = self._folder(kernel_id)
        part = folder.with_name(f"{folder.name}.{os.getpid()}-parcel.part")
        shutil.rmtree(part, ignore_errors=True)
        try:
            unpack(parcel, part)
        except BadParcel:
            return None
        return self.keep(kernel_id, part)

    def _folder(self, kernel_id: str) -> Path:
        return self._root / f"{kernel_id}.{self._tools}"

    def _prune(self) -> None:
        """Delete what was used longest ago, above `MAX_CACHE_BYTES`."""
        folders = sorted(
            (path for path in self._root.iterdir() if path.is_dir()),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
        total = 0
        for folder in folders:
            total += sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
            if total > MAX_CACHE_BYTES:
                shutil.rmtree(folder, ignore_errors=True)
