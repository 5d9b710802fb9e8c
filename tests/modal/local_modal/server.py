"""The service with its sockets: for clients on a port, for blobs and control by HTTP."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from grpclib import GRPCError, Status
from grpclib.events import RecvRequest, listen

from local_modal.apps import Apps
from local_modal.blobs import Blobs, blob_routes
from local_modal.calls import Calls
from local_modal.containers import Containers
from local_modal.control import Control, control_routes
from local_modal.deployed import Deployed
from local_modal.driver import Driver
from local_modal.faults import Faults
from local_modal.functions import Functions
from local_modal.listener import Listener
from local_modal.objects import Objects
from local_modal.scheduler import Scheduler
from local_modal.service import Rest
from local_modal.state import Container, State
from local_modal.world import Store, World

TOKEN = ("ak-local", "as-local")
TICK_S = 0.1


class ClientService(Apps, Deployed, Objects, Functions, Calls, Blobs, Rest):  # type: ignore[misc,valid-type]
    """What clients reach."""


class ContainerService(Containers, Objects, Functions, Calls, Blobs, Rest):  # type: ignore[misc,valid-type]
    """What one container reaches."""


def container_service(world: World, container: Container) -> ContainerService:
    """The service as one container sees it."""
    return ContainerService(world, container)


async def _unauthenticated(stream: Any) -> None:
    raise GRPCError(Status.UNAUTHENTICATED, "Token ID or secret is not valid")


class Service:
    """Everything that runs in one event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.server: Listener | None = None
        self.runner: web.AppRunner | None = None
        self.world: World
        self.control: Control
        self.watch: asyncio.Task[None]

    async def start(self) -> None:
        """Begin to listen."""
        self.world = World(State(self.folder), Store(self.folder / "files"), Faults())
        self.world.scheduler = Scheduler(self.world)
        self.control = Control(self.world, self.listen, self.deafen)
        site = web.Application(client_max_size=1 << 31)
        site.add_routes(blob_routes(self.world) + control_routes(self.control))
        self.runner = web.AppRunner(site, shutdown_timeout=1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.http = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        self.world.blob_url = f"{self.http}/blob"
        await self.listen()
        self.watch = asyncio.create_task(self._watch())

    async def listen(self) -> None:
        """Accept clients, always on the same port."""
        if self.server is not None:
            return
        server = Listener(ClientService(self.world))
        listen(server, RecvRequest, self._receive)
        # The port of the first time is asked for again the next.
        await server.start("127.0.0.1", self.port)
        self.port = server.port
        self.server = server

    async def deafen(self) -> None:
        """Refuse connections, and end those that there are."""
        if self.server is not None:
            await self.server.hang_up()
            self.server = None

    async def _receive(self, event: RecvRequest) -> None:
        name = event.method_name.rpartition("/")[2]
        self.world.requests[name] = self.world.requests.get(name, 0) + 1
        token = (
            event.metadata.get("x-modal-token-id"),
            event.metadata.get("x-modal-token-secret"),
        )
        if self.world.faults.silent:
            event.method_func = partial(self._hold, event.method_func)
        elif self.world.faults.refuse_tokens or token != TOKEN:
            event.method_func = _unauthenticated

    async def _hold(self, method: Callable[[Any], Awaitable[None]], stream: Any) -> None:
        """Answer a call once the service is not silent any more."""
        while not await self.world.state.changes.until(
            lambda: (not self.world.faults.silent) or None, 60
        ):
            pass
        await method(stream)

    async def _watch(self) -> None:
        """End ephemeral apps whose client has gone silent."""
        while True:
            await asyncio.sleep(TICK_S)
            oldest = time.monotonic() - self.world.faults.heartbeat_timeout_s
            for app in list(self.world.state.apps.values()):
                if app.running and not app.deployed and app.heard_at < oldest:
                    await self.world.scheduler.stop_app(app, "its client was not heard of")

    async def stop(self) -> None:
        """End all apps and containers and leave no file."""
        self.watch.cancel()
        state = self.world.state
        for app in state.apps.values():
            await self.world.scheduler.stop_app(app, "the local Modal ends")
        for container in state.live_containers():
            self.world.scheduler.kill(container, "the local Modal ends")
        await state.changes.until(lambda: (not state.live_containers()) or None, 10)
        await self.deafen()
        assert self.runner is not None
        await self.runner.cleanup()
        for task in list(self.world.scheduler.tasks):
            task.cancel()
        shutil.rmtree(self.folder, ignore_errors=True)


class LocalModal(Driver):
    """The service in a thread of this process. A context manager."""

    def __init__(self) -> None:
        # Sockets of containers lie below: their paths must be short.
        self.service = Service(Path(tempfile.mkdtemp(prefix="modal-", dir="/tmp")))
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="local Modal")

    def __enter__(self) -> LocalModal:
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self.service.start(), self.loop).result(30)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self.service.stop(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs in its environment to come here."""
        return client_environment(self.service)

    def do(self, command: str, **arguments: Any) -> Any:
        work = self.service.control.do(command, arguments)
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)


def client_environment(service: Service) -> dict[str, str]:
    """The address and a token that is let in, and no settings of the person's own."""
    return {
        "MODAL_SERVER_URL": f"http://127.0.0.1:{service.port}",
        "MODAL_TOKEN_ID": TOKEN[0],
        "MODAL_TOKEN_SECRET": TOKEN[1],
        "MODAL_CONFIG_PATH": str(service.folder / "no-settings.toml"),
        "LOCAL_MODAL_CONTROL": f"{service.http}/control",
    }
