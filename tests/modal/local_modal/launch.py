"""Containers as processes: start, listen to, interrupt, kill, tidy up."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from grpclib.events import RecvRequest, listen
from modal_proto import api_pb2

from local_modal import rooms
from local_modal.functions import layout
from local_modal.listener import Listener
from local_modal.state import Container, Function

if TYPE_CHECKING:
    from local_modal.world import World

CELL = Path(__file__).with_name("cell.py")
LINE_BYTES = 1 << 20


class Launcher:
    """Turns containers on paper into processes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.state = world.state
        self.python = rooms.make_interpreter(world.state.folder / "python")

    def prepare(self, function: Function) -> Container:
        """A container on paper, which counts as one from now on."""
        task_id = self.state.new_id("ta")
        folder = self.state.folder / f"c{int(task_id[3:])}"
        (folder / "tmp").mkdir(parents=True)
        app = self.state.apps[function.app_id]
        container = Container(task_id, function, folder, app.version)
        self.state.containers[task_id] = container
        return container

    def _arguments(self, container: Container) -> api_pb2.ContainerArguments:
        function = container.function
        app = self.state.apps[function.app_id]
        return api_pb2.ContainerArguments(
            task_id=container.task_id,
            function_id=function.function_id,
            app_id=app.app_id,
            function_def=function.definition,
            serialized_params=function.params,
            environment_name=app.environment,
            app_layout=layout(self.state.functions, app),
        )

    async def run(
        self, container: Container, delay_s: float, ended: Callable[[Container], None]
    ) -> None:
        """The life of a container, from a start that may wait to the end of its last process."""
        if delay_s:
            await self.state.changes.until(
                lambda: (container.killed or container.stopping) or None, delay_s
            )
        if container.killed or container.stopping:
            container.end(0)
        else:
            await self._live(container)
        ended(container)

    async def _live(self, container: Container) -> None:
        from local_modal.server import container_service

        folder, function = container.folder, container.function
        rooms.mount_volumes(self.world, container)
        variables = rooms.environment(self.world, container)
        (folder / "arguments").write_bytes(self._arguments(container).SerializeToString())
        service = container_service(self.world, container)
        server = Listener(service)
        listen(server, RecvRequest, service.guard)
        await server.start(path=str(folder / "socket"))
        # What makes it ready here is no part of its life, as capacity that is waited for is none.
        container.started_at = time.time()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(CELL), str(folder)),
            *(str(self.python), "-m", "modal._container_entrypoint"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES,
            cwd=rooms.make_root(self.world, function) / "root",
            env=variables,
            start_new_session=True,
        )
        container.process = process
        if container.killed:
            self.kill(container)
        assert process.stdout is not None
        async for line in process.stdout:
            self.world.log(container, line.decode(errors="replace"))
        container.end(await process.wait())
        await server.hang_up()
        shutil.rmtree(folder, ignore_errors=True)

    def interrupt(self, container: Container) -> None:
        """Raise KeyboardInterrupt in the entry point: `@exit` runs."""
        self._say(container, b"interrupt\n")

    def kill(self, container: Container) -> None:
        """End the entry point at once, and with it all that it started."""
        self._say(container, b"kill\n")

    def _say(self, container: Container, command: bytes) -> None:
        if container.process is not None and container.process.stdin is not None:
            with contextlib.suppress(ConnectionError, RuntimeError):
                container.process.stdin.write(command)
        self.state.changes.announce()
