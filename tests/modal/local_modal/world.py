"""What all parts of the service share."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local_modal.faults import Faults
from local_modal.state import Container, State

if TYPE_CHECKING:
    from local_modal.scheduler import Scheduler


@dataclass
class Store:
    """Files by their hash, each once."""

    folder: Path

    def has(self, sha256_hex: str) -> bool:
        return (self.folder / sha256_hex).exists()

    def put(self, sha256_hex: str, data: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / sha256_hex).write_bytes(data)

    def path(self, sha256_hex: str) -> Path:
        return self.folder / sha256_hex


@dataclass
class World:
    """The service as a whole, without its sockets."""

    state: State
    store: Store
    faults: Faults
    blob_url: str = ""
    unserved: list[str] = field(default_factory=list)  # Calls that nothing here answers.
    errors: list[str] = field(default_factory=list)  # Mistakes of the service itself.
    turn: int = 0  # Goes up when settings change that containers wait by.
    requests: dict[str, int] = field(default_factory=dict)  # How often each call came.
    _entries: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _scheduler: Scheduler | None = None

    @property
    def scheduler(self) -> Scheduler:
        assert self._scheduler is not None
        return self._scheduler

    @scheduler.setter
    def scheduler(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def settings_changed(self) -> None:
        """Have those look again who wait for as long as a setting says."""
        self.turn += 1
        self.state.changes.announce()

    def next_entry(self) -> int:
        """The number of the next output."""
        return next(self._entries)

    def log(self, container: Container, text: str) -> None:
        """Keep what a container printed, or what the service says of it."""
        container.output.append(text)
        app = self.state.apps[container.function.app_id]
        line = api_pb2.TaskLogs(
            data=text, timestamp=time.time(), file_descriptor=api_pb2.FILE_DESCRIPTOR_STDOUT
        )
        app.logs.append(
            api_pb2.TaskLogsBatch(
                task_id=container.task_id,
                function_id=container.function.function_id,
                items=[line],
            )
        )
        self.state.changes.announce()
