"""Which input goes where: containers are started, fed, scaled down, drained and ended.

An input is answered once. One whose container dies goes back to the head of the queue, for as long
as the function's containers do not crash one after the other: then all that wait are failed, as
Modal's guide says of ephemeral apps. Those of deployed apps are started again without end, each
time after a longer wait.
"""

from __future__ import annotations

import asyncio
import time

from modal_proto import api_pb2

from local_modal.calls import may_retry, output_of
from local_modal.launch import Launcher
from local_modal.service import Part
from local_modal.state import App, Container, Function, Input
from local_modal.world import World

SCALEDOWN_S = 60.0
RESULT = api_pb2.GenericResult
OUT_OF_MEMORY = "out of memory"


class Scheduler(Part):
    """Decides; `Launcher` does."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.launcher = Launcher(world)
        self.tasks: set[asyncio.Task[None]] = set()

    # Inputs

    def enqueue(self, one: Input, first: bool = False) -> None:
        """Let an input wait for a container, and start one where that is called for."""
        waiting = one.call.function.waiting
        one.container = None
        (waiting.appendleft if first else waiting.append)(one)
        self.reconcile(one.call.function)
        self.state.changes.announce()

    def hand_over(self, container: Container) -> Input | None:
        """The next input for a container that asks, if there is one."""
        function = container.function
        if not function.waiting:
            return None
        one = function.waiting.popleft()
        one.container, one.started_at = container, time.time()
        one.deliveries += 1
        container.let_go.discard(one.input_id)
        container.cancelled.discard(one.input_id)
        container.inputs[one.input_id] = one
        container.idle_since = 0.0
        timeout_s = self.world.faults.timeout_s or function.timeout_s
        one.timer = asyncio.get_running_loop().call_later(timeout_s, self._late, one, timeout_s)
        return one

    def answer(self, one: Input, result: RESULT, data_format: int = 0) -> None:
        """Give an input its output, unless it has one or the service tries it again."""
        function = one.call.function
        container = one.container
        self._release(one)
        if one.done:
            return
        good = result.status in (RESULT.GENERIC_STATUS_SUCCESS, RESULT.GENERIC_STATUS_TERMINATED)
        if not good and may_retry(function, one):
            one.retry_count += 1
            self.enqueue(one)
            return
        one.done = True
        one.container = container
        outputs = one.call.outputs
        number = self.world.next_entry()
        outputs.append((number, output_of(one, result, data_format)))
        self.state.changes.announce()

    def _release(self, one: Input) -> None:
        if one.timer is not None:
            one.timer.cancel()
        if one.container is not None:
            one.container.inputs.pop(one.input_id, None)
        elif one in one.call.function.waiting:
            one.call.function.waiting.remove(one)
        one.container = None

    def cancel(self, one: Input) -> None:
        """Have a container interrupt an input at its next heartbeat, which is at once."""
        if one.container is not None:
            one.container.cancelled.add(one.input_id)
            self.state.changes.announce()

    def _late(self, one: Input, timeout_s: float) -> None:
        """An input's time is over: it is answered, then its container is asked, told, killed."""
        container = one.container
        if container is None or one.done:
            return
        text = f"Task's current input {one.input_id} hit its timeout of {timeout_s:g}s"
        self.world.log(container, text + "\n")
        self.cancel(one)
        self.answer(one, RESULT(status=RESULT.GENERIC_STATUS_TIMEOUT, exception=text))
        self.spawn(self._insist(container, one.input_id))

    async def _insist(self, container: Container, input_id: str) -> None:
        """A container that goes on with a cancelled input is interrupted, then killed."""
        grace_s = self.world.faults.grace_s

        def let_go() -> bool | None:
            return True if not container.live or input_id in container.let_go else None

        if await self.state.changes.until(let_go, grace_s):
            return
        self.launcher.interrupt(container)
        if not await self.state.changes.until(let_go, grace_s):
            self.kill(container, "an input went on after its time")

    # Containers

    def reconcile(self, function: Function) -> None:
        """Start as many containers as wait for work, within the function's limits."""
        app = self.state.apps[function.app_id]
        if not app.running or not app.version:
            return
        live = self.state.containers_of(function)
        work = len(function.waiting) + sum(len(c.inputs) for c in live)
        wanted = -(-work // function.capacity)
        if function.version == app.version or function.base_id:
            wanted = max(wanted, function.settings.min_containers)
        most = function.settings.max_containers or self.world.faults.max_containers
        for _ in range(min(wanted, most) - len(live)):
            self.start(function)

    def start(self, function: Function) -> None:
        """Start a container; in a deployed app after a wait, where the last ones crashed."""
        container = self.launcher.prepare(function)
        crashes = function.crashes + function.failed_starts
        slower = crashes and self.state.apps[function.app_id].deployed
        delay_s = min(0.1 * 2**crashes, 5.0) if slower else 0.0
        self.spawn(self.launcher.run(container, delay_s, self._ended))

    def idle_s(self, function: Function) -> float:
        """How long a container of it may have nothing to do."""
        return self.world.faults.scaledown_s or function.settings.scaledown_window or SCALEDOWN_S

    def may_end(self, container: Container) -> bool:
        """Whether the function keeps enough containers without this one."""
        others = len(self.state.containers_of(container.function)) - 1
        return others >= container.function.settings.min_containers

    def drain(self, container: Container, why: str) -> None:
        """Give a container no more inputs: it answers what it has, runs `@exit` and ends."""
        container.stopping = container.stopping or why
        self.state.changes.announce()

    def kill(self, container: Container, why: str) -> None:
        """End a container at once."""
        container.killed = container.killed or why
        self.launcher.kill(container)

    def crash(self, container: Container, why: str) -> None:
        """End a container as if it had done so itself."""
        container.crashed = True
        if why == OUT_OF_MEMORY:
            self.world.log(container, "Runner terminated: out of memory\n")
        self.kill(container, why)

    def preempt(self, container: Container) -> None:
        """Interrupt a container, whose `@exit` may run; its inputs begin again elsewhere."""
        container.killed = container.killed or "preempted"
        self.launcher.interrupt(container)
        self.spawn(self._end_in(container, self.world.faults.grace_s))

    async def _end_in(self, container: Container, grace_s: float) -> None:
        if not await self.state.changes.until(lambda: (not container.live) or None, grace_s):
            self.launcher.kill(container)

    def _ended(self, container: Container) -> None:
        """A container's process is gone: what it had goes elsewhere, or fails with all others."""
        function, app = container.function, self.state.apps[container.function.app_id]
        lost = list(container.inputs.values())
        for one in lost:
            self._release(one)
        asked = bool(container.killed or container.stopping)
        if container.start_result is not None and not container.ready_at:
            function.failed_starts += 1
        elif container.crashed or not asked:
            function.crashes += 1
        failure = self._given_up(app, container)
        if self.world.faults.lost_inputs_fail and lost:
            failure = RESULT(
                status=RESULT.GENERIC_STATUS_INTERNAL_FAILURE,
                exception=f"Input {lost[0].input_id} was lost with its container",
            )
        elif failure is not None:
            lost += function.waiting
        for one in reversed(lost):
            if failure is not None:
                self.answer(one, failure)
            elif not one.done:
                self.enqueue(one, first=True)
        self.reconcile(function)
        self.state.changes.announce()

    def _given_up(self, app: App, container: Container) -> RESULT | None:
        """The result for all that wait, where starting more containers would lead nowhere."""
        function, faults = container.function, self.world.faults
        if not app.running:
            return RESULT(
                status=RESULT.GENERIC_STATUS_TERMINATED,
                exception=f"App {app.app_id} is stopped: {app.stopped_why}",
            )
        if app.deployed:
            return None
        if function.failed_starts > faults.start_failures:
            return container.start_result
        if function.crashes <= faults.crashes:
            return None
        if container.killed == OUT_OF_MEMORY:
            return RESULT(
                status=RESULT.GENERIC_STATUS_KERNEL_OOM_KILL,
                exception="Container ran out of memory and was killed",
            )
        return RESULT(
            status=RESULT.GENERIC_STATUS_FAILURE,
            exception=f"Containers keep crashing: exit code {container.exit_code}",
        )

    # Apps

    async def published(self, app: App) -> None:
        """Containers of the version before are drained; those to be kept warm are started."""
        for container in self.state.live_containers(app.app_id):
            if container.version < app.version:
                self.drain(container, "a new version was deployed")
        for function in self.state.functions.values():
            if function.app_id == app.app_id and function.function_id in app.function_ids.values():
                self.reconcile(function)
        self.state.changes.announce()

    async def stop_app(self, app: App, why: str) -> None:
        """End an app: its inputs are terminated, its containers end, or are killed after a time."""
        if app.stopped_at:
            return
        app.state, app.stopped_at, app.stopped_why = api_pb2.APP_STATE_STOPPED, time.time(), why
        terminated = RESULT(
            status=RESULT.GENERIC_STATUS_TERMINATED,
            exception=f"App {app.app_id} is stopped: {why}",
        )
        containers = self.state.live_containers(app.app_id)
        at_rest = [c for c in containers if c.ready_at and not c.inputs]
        for one in list(self.state.inputs.values()):
            if one.call.function.app_id == app.app_id and not one.done:
                self.answer(one, terminated)
        for container in containers:
            self.drain(container, why)
            if container not in at_rest:
                self.launcher.interrupt(container)
            self.spawn(self._end_in(container, self.world.faults.grace_s))
        self.state.changes.announce()

    def spawn(self, work: object) -> None:
        """Run something beside, and keep hold of it."""
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.world.errors.append(repr(error))
            raise error
