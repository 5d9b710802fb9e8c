"""What a test may ask and order, in process or by HTTP: a coroutine a command, JSON in and out."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from google.protobuf.json_format import MessageToDict

from local_modal.faults import Faults, ImageFailure
from local_modal.scheduler import OUT_OF_MEMORY
from local_modal.state import Container
from local_modal.world import World


class Control:
    """Commands by name. Unknown ones are a mistake of the test and say so."""

    def __init__(
        self,
        world: World,
        listen: Callable[[], Awaitable[None]],
        deafen: Callable[[], Awaitable[None]],
    ) -> None:
        self.world = world
        self.state = world.state
        self.listen, self.deafen = listen, deafen

    async def do(self, command: str, arguments: dict[str, Any]) -> Any:
        """Carry out a command; `KeyError` for what does not exist."""
        if command.startswith("_") or command == "do" or not hasattr(type(self), command):
            raise KeyError(f"no command {command!r}")
        return await getattr(self, command)(**arguments)

    async def set_faults(self, **changes: Any) -> None:
        if changes.get("image_failure") is not None:
            changes["image_failure"] = ImageFailure(**changes["image_failure"])
        self.world.faults = dataclasses.replace(self.world.faults, **changes)
        self.world.settings_changed()

    async def reset(self) -> None:
        """All faults gone, all apps ended, no container left; waits until it is so."""
        self.world.faults = dataclasses.replace(Faults(), grace_s=0.5)
        await self.listen()
        for app in list(self.state.apps.values()):
            await self.world.scheduler.stop_app(app, "the test is over")
        await self.state.changes.until(lambda: (not self.state.live_containers()) or None, 20)
        self.world.faults = Faults()

    async def forget(self) -> None:
        """Know nothing of what has ended, nor of volumes; images and files are kept."""
        state = self.state
        past: list[dict[str, Any]] = [state.apps, state.functions, state.classes, state.calls]
        past += [state.inputs, state.containers, state.volumes, state.secrets, state.blobs]
        for records in past:
            records.clear()
        self.world.requests.clear()
        self.world.unserved.clear()
        self.world.errors.clear()

    async def listening(self, on: bool) -> None:
        await (self.listen() if on else self.deafen())

    async def containers(self, live: bool = True) -> list[dict[str, Any]]:
        return [view(c) for c in self.state.containers.values() if c.live or not live]

    async def wait_containers(self, count: int, timeout_s: float) -> list[dict[str, Any]]:
        """Wait until so many containers live and are ready; those that live in the end."""

        def look() -> bool | None:
            live = self.state.live_containers()
            return True if len(live) == count and all(c.ready_at for c in live) else None

        await self.state.changes.until(look, timeout_s)
        return await self.containers()

    async def wait_busy(self, timeout_s: float) -> dict[str, Any] | None:
        """Wait until a container has an input in work; the container."""

        def look() -> Container | None:
            return next((c for c in self.state.live_containers() if c.inputs), None)

        found = await self.state.changes.until(look, timeout_s)
        return None if found is None else view(found)

    async def kill(self, task_id: str) -> None:
        """SIGKILL a container's main process, as a crash does."""
        self.world.scheduler.crash(self.state.containers[task_id], "killed by the test")

    async def run_out_of_memory(self, task_id: str) -> None:
        self.world.scheduler.crash(self.state.containers[task_id], OUT_OF_MEMORY)

    async def preempt(self, task_id: str) -> None:
        self.world.scheduler.preempt(self.state.containers[task_id])

    async def expire_outputs(self) -> None:
        """Forget all outputs, and that any was ever to come."""
        for call in self.state.calls.values():
            call.outputs, call.expired = [], True
            for one in call.inputs.values():
                one.done = True
        self.state.changes.announce()

    async def forget_calls(self) -> None:
        """Know no function call any more, as after the week that Modal keeps them."""
        self.state.calls.clear()

    async def stop_app(self, app_id: str) -> None:
        await self.world.scheduler.stop_app(self.state.app(app_id), "stopped from outside")

    async def apps(self) -> list[dict[str, Any]]:
        return [
            {
                "app_id": app.app_id,
                "description": app.description,
                "name": app.name,
                "running": app.running,
                "deployed": app.deployed,
                "stopped_why": app.stopped_why,
                "tags": app.tags,
                "version": app.version,
            }
            for app in self.state.apps.values()
        ]

    async def functions(self) -> list[dict[str, Any]]:
        """Definitions as the client sent them, with `function_id` and `app_id`."""
        return [
            {
                "function_id": f.function_id,
                "app_id": f.app_id,
                "variant": bool(f.params or f.options),
                **MessageToDict(f.definition, preserving_proto_field_name=True),
            }
            for f in self.state.functions.values()
        ]

    async def images(self) -> list[list[str]]:
        """The commands of each image's layer."""
        return [list(image.dockerfile_commands) for image in self.state.images.values()]

    async def volumes(self) -> list[dict[str, Any]]:
        return [
            {"name": v.name, "folder": str(v.folder), "commits": v.commits}
            for v in self.state.volumes.values()
        ]

    async def inputs(self) -> dict[str, int]:
        """How many inputs there were, how many have their output, how often any was delivered."""
        inputs = self.state.inputs.values()
        return {
            "total": len(inputs),
            "done": sum(one.done for one in inputs),
            "deliveries": sum(one.deliveries for one in inputs),
        }

    async def output(self, task_id: str) -> str:
        return "".join(self.state.containers[task_id].output)

    async def record(self) -> dict[str, Any]:
        """What came, what nothing answered, and mistakes of the service itself."""
        return {
            "requests": self.world.requests,
            "unserved": self.world.unserved,
            "errors": self.world.errors,
        }


def view(container: Container) -> dict[str, Any]:
    """A container as a test sees it."""
    return {
        "task_id": container.task_id,
        "function_id": container.function.function_id,
        "app_id": container.function.app_id,
        "pid": container.pid,
        "live": container.live,
        "ready": bool(container.ready_at),
        "working_on": list(container.inputs),
        "answered": container.answered,
        "stopping": container.stopping,
        "killed": container.killed,
        "exit_code": container.exit_code,
        "started_at": container.started_at,
        "ready_at": container.ready_at,
        "ended_at": container.ended_at,
    }


def control_routes(control: Control) -> list[web.RouteDef]:
    """The commands by HTTP: POST their arguments as JSON to `/control/COMMAND`."""

    async def post(request: web.Request) -> web.Response:
        arguments = await request.json() if request.can_read_body else {}
        try:
            return web.json_response(await control.do(request.match_info["command"], arguments))
        except (KeyError, TypeError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return [web.post("/control/{command}", post)]
