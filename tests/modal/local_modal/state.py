"""What the service knows: apps, functions, calls, inputs, outputs, containers, objects.

Plain records and look-ups. Who may change what, and when, is in the modules that serve the calls.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from grpclib import GRPCError, Status
from modal_proto import api_pb2

T = TypeVar("T")

RUNNING_STATES = (
    api_pb2.APP_STATE_EPHEMERAL,
    api_pb2.APP_STATE_DETACHED,
    api_pb2.APP_STATE_DEPLOYED,
    api_pb2.APP_STATE_INITIALIZING,
)


class Changes:
    """Wakes whoever waits for something to become true."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def announce(self) -> None:
        """Let every waiter look again."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, look: Callable[[], T | None], timeout_s: float) -> T | None:
        """Wait for `look` to return something; `None` when the time is over."""
        end = time.monotonic() + timeout_s
        while True:
            event = self._event
            if (found := look()) is not None:
                return found
            left = end - time.monotonic()
            if left <= 0:
                return None
            try:
                # Not wait_for, which in Python 3.11 can swallow being cancelled.
                async with asyncio.timeout(left):
                    await event.wait()
            except TimeoutError:
                return look()


@dataclass(eq=False)
class App:
    """An app, ephemeral or deployed."""

    app_id: str
    description: str
    environment: str
    state: int
    tags: dict[str, str] = field(default_factory=dict)
    name: str = ""
    version: int = 0
    function_ids: dict[str, str] = field(default_factory=dict)
    class_ids: dict[str, str] = field(default_factory=dict)
    created_at: float = field(default_factory=time.time)
    stopped_at: float = 0.0
    stopped_why: str = ""
    heard_at: float = field(default_factory=time.monotonic)
    logs: list[api_pb2.TaskLogsBatch] = field(default_factory=list)

    @property
    def running(self) -> bool:
        return self.state in RUNNING_STATES

    @property
    def deployed(self) -> bool:
        return self.state == api_pb2.APP_STATE_DEPLOYED


@dataclass(eq=False)
class Function:
    """A function, or a class's one function that serves all its methods, or a variant of either."""

    function_id: str
    app_id: str
    definition: api_pb2.Function
    metadata: api_pb2.FunctionHandleMetadata
    base_id: str = ""
    params: bytes = b""
    options: bytes = b""
    version: int = 0
    waiting: deque[Input] = field(default_factory=deque)
    crashes: int = 0  # One after the other, with no answer in between.
    failed_starts: int = 0

    @property
    def settings(self) -> api_pb2.AutoscalerSettings:
        return self.definition.autoscaler_settings

    @property
    def capacity(self) -> int:
        """Inputs that one container works on at a time."""
        return self.definition.max_concurrent_inputs or 1

    @property
    def timeout_s(self) -> float:
        return float(self.definition.timeout_secs or 300)


@dataclass(eq=False)
class Call:
    """One `.remote`, `.spawn` or `.map`."""

    call_id: str
    function: Function
    asynchronous: bool
    return_exceptions: bool
    inputs: dict[int, Input] = field(default_factory=dict)
    outputs: list[tuple[int, api_pb2.FunctionGetOutputsItem]] = field(default_factory=list)
    expired: bool = False
    data_out: list[api_pb2.DataChunk] = field(default_factory=list)


@dataclass(eq=False)
class Input:
    """One set of arguments on its way to an output."""

    input_id: str
    call: Call
    index: int
    message: api_pb2.FunctionInput
    retry_count: int = 0
    container: Container | None = None
    done: bool = False
    deliveries: int = 0
    started_at: float = 0.0
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False)
class Container:
    """A process of the entry point, and what it works on."""

    task_id: str
    function: Function
    folder: Path
    version: int
    started_at: float = field(default_factory=time.time)
    ready_at: float = 0.0  # When it first asked for an input: imports and `@enter` are done.
    ended_at: float = 0.0
    idle_since: float = 0.0
    inputs: dict[str, Input] = field(default_factory=dict)
    answered: int = 0
    cancelled: set[str] = field(default_factory=set)  # Inputs to interrupt, until it lets go.
    let_go: set[str] = field(default_factory=set)  # Inputs that it has put an output for.
    stopping: str = ""  # Why it gets no more inputs.
    killed: str = ""  # Why it was killed, if it was.
    crashed: bool = False  # Whether the kill is to count as a crash.
    volumes: dict[str, Path] = field(default_factory=dict)  # Its own view of each, by id.
    start_result: api_pb2.GenericResult | None = None
    exit_code: int | None = None
    process: asyncio.subprocess.Process | None = None
    output: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return self.exit_code is None

    def end(self, exit_code: int) -> None:
        """It is gone, whatever of it is still to be tidied up."""
        self.exit_code, self.ended_at = exit_code, time.time()

    @property
    def pid(self) -> int:
        """The entry point's process; 0 while it does not exist yet."""
        try:
            return int((self.folder / "pid").read_text())
        except (FileNotFoundError, ValueError):
            return 0


@dataclass(eq=False)
class Volume:
    """A folder that containers share."""

    volume_id: str
    name: str
    folder: Path
    metadata: api_pb2.VolumeMetadata
    commits: int = 0


@dataclass
class State:
    """Everything, by id."""

    folder: Path
    apps: dict[str, App] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)  # Class to app.
    calls: dict[str, Call] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)
    containers: dict[str, Container] = field(default_factory=dict)
    images: dict[str, api_pb2.Image] = field(default_factory=dict)
    mounts: dict[str, list[api_pb2.MountFile]] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def new_id(self, prefix: str) -> str:
        """An id that looks like Modal's: a prefix and 22 letters or digits."""
        return f"{prefix}-{next(self._numbers):022d}"

    def app(self, app_id: str) -> App:
        return _found(self.apps, app_id, "App")

    def function(self, function_id: str) -> Function:
        return _found(self.functions, function_id, "Function")

    def call(self, call_id: str) -> Call:
        return _found(self.calls, call_id, "Function call")

    def deployment(self, environment: str, name: str) -> App | None:
        """The app deployed under a name, or `None`."""
        for app in self.apps.values():
            if app.deployed and app.name == name and app.environment == environment:
                return app
        return None

    def containers_of(self, function: Function) -> list[Container]:
        """Those that can still get an input."""
        return [
            c
            for c in self.containers.values()
            if c.live and not c.stopping and not c.killed and c.function is function
        ]

    def live_containers(self, app_id: str | None = None) -> list[Container]:
        """Those whose process has not ended, of one app or of all."""
        return [
            c for c in self.containers.values() if c.live and app_id in (None, c.function.app_id)
        ]


def _found(records: dict[str, T], key: str, what: str) -> T:
    try:
        return records[key]
    except KeyError:
        raise GRPCError(Status.NOT_FOUND, f"{what} {key!r} not found") from None
