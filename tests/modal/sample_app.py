"""A class as an app's: undecorated, in a module that is mounted; and the app that serves it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import modal


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
    def sleep_at_first(self, seconds: float, note: str) -> int:
        """Sleeps only where the note does not say that it has begun before."""
        first = not Path(note).exists()
        with Path(note).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if first:
            time.sleep(seconds)
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
    image = modal.Image.debian_slim(python_version="3.11").env({"FROM_IMAGE": "a b"})
    image = image.add_local_python_source("sample_app")
    app = modal.App(name, include_source=False)
    served = app.cls(image=image, **settings)(cls)
    return app, served
