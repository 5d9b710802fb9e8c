"""A class as an app's: undecorated, in a module that is mounted; and the app that serves it."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import modal
import modal.experimental

CACHE = "/cache"
NAMESPACE = """
import ctypes, os, time
new_user, new_pid = 0x10000000, 0x20000000
if ctypes.CDLL(None).unshare(new_user | new_pid):
    print(flush=True)
    raise SystemExit
pids = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    pids.append(pid)
print(*pids, flush=True)
os.close(1)
os.waitpid(-1, 0)
"""


class Sample:
    """Says who it is, and can do what goes wrong."""

    @modal.enter()
    def start(self) -> None:
        self.entered = getattr(self, "entered", 0) + 1
        self.calls = 0
        print("entered", flush=True)

    @modal.exit()
    def end(self) -> None:
        print("left", flush=True)

    @modal.method()
    def whoami(self) -> dict[str, Any]:
        self.calls += 1
        return {
            "pid": os.getpid(),
            "entered": self.entered,
            "calls": self.calls,
            "file": __file__,
            "task": os.environ["MODAL_TASK_ID"],
            "environment": dict(os.environ),
            "path": sys.path,
        }

    @modal.method()
    def add(self, a: int, b: int = 0) -> int:
        return a + b

    @modal.method()
    def double(self, data: bytes) -> bytes:
        return data + data

    @modal.method()
    def fail(self, text: str) -> None:
        raise ValueError(text)

    @modal.method()
    def sleep(self, seconds: float, note: str = "") -> int:
        """Notes each beginning, so that a test sees how often it was begun."""
        if note:
            with Path(note).open("a") as file:
                file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return os.getpid()

    @modal.method()
    def mark(self, folder: str, number: int, last: str = "") -> int:
        """Leaves a file of that name; ends when there is the file `last`, if that is given."""
        Path(folder, str(number)).touch()
        time.sleep(0.02)
        while last and not Path(last).exists():
            time.sleep(0.02)
        return number

    @modal.method()
    def sleep_at_first(self, seconds: float, note: str) -> int:
        """Sleeps only where the note does not say that it has begun before."""
        first = not Path(note).exists()
        with Path(note).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if first:
            time.sleep(seconds)
        return os.getpid()

    @modal.method()
    def count(self, end: int) -> Iterator[int]:
        yield from range(end)

    @modal.method()
    def import_module(self, name: str) -> str:
        return str(importlib.import_module(name).__file__)

    @modal.method()
    def meet(self, folder: str, count: int) -> int:
        """Waits until so many processes have been here: no one container can answer alone."""
        Path(folder, str(os.getpid())).touch()
        while len(list(Path(folder).iterdir())) < count:
            time.sleep(0.02)
        return os.getpid()

    @modal.method()
    def cling(self, seconds: float) -> None:
        """Goes on whatever it is told."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(BaseException):
                time.sleep(0.1)

    @modal.method()
    def leave(self, code: int) -> None:
        """Ends the process as a crash in a library does."""
        os._exit(code)

    @modal.method()
    def fail_twice(self, note: str) -> int:
        with Path(note).open("a") as file:
            file.write("x")
        times = len(Path(note).read_text())
        if times < 3:
            raise ValueError(f"time {times}")
        return times

    @modal.method()
    def leave_a_process(self) -> int:
        """Starts a process in a session of its own and forgets it."""
        script = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
        parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {script!r}])"
        with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as started:
            assert started.stdout is not None
            return int(started.stdout.readline())

    @modal.method()
    def leave_a_namespace(self) -> list[int]:
        """Starts processes that share a PID namespace in which their parent is not.

        The first of them ends only when the others have been reaped. Empty where not allowed.
        """
        started = subprocess.Popen([sys.executable, "-c", NAMESPACE], stdout=subprocess.PIPE)
        assert started.stdout is not None
        return [int(pid) for pid in started.stdout.readline().split()]

    @modal.method()
    def write(self, name: str, text: str, note: str, until: str) -> bool:
        (Path(os.environ["CACHE"]) / name).write_text(text)
        Path(note).touch()
        while not Path(until).exists():
            time.sleep(0.02)
        modal.Volume.from_name("cache").commit()
        return True

    @modal.method()
    def read(self, name: str, reload: bool) -> str | None:
        if reload:
            modal.Volume.from_name("cache").reload()
        path = Path(os.environ["CACHE"]) / name
        return path.read_text() if path.exists() else None

    @modal.method()
    def last_one(self) -> int:
        modal.experimental.stop_fetching_inputs()
        return os.getpid()


class Broken:
    """Cannot start."""

    @modal.enter()
    def start(self) -> None:
        raise RuntimeError("no device here")

    @modal.method()
    def work(self) -> None:
        pass


def make_app(cls: type = Sample, name: str = "sample", **settings: Any) -> tuple[modal.App, Any]:
    """An app with one class, and a handle on it."""
    image = modal.Image.debian_slim(python_version="3.11").env(
        {"FROM_IMAGE": "a b", "CACHE": CACHE}
    )
    image = image.add_local_python_source("sample_app")
    app = modal.App(name, include_source=False)
    served = app.cls(image=image, **settings)(cls)
    return app, served
