"""What a container calls, over a socket of its own by which the service knows it."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from grpclib.events import RecvRequest
from modal_proto import api_pb2

from local_modal.rooms import bring
from local_modal.service import Part, unary
from local_modal.state import Container, Volume
from local_modal.world import World

HEARTBEAT_POLL_S = 10.0
INPUTS_POLL_S = 30.0

ANSWERING = {
    "ContainerHello",
    "ContainerHeartbeat",
    "FunctionGetInputs",
    "FunctionPutOutputs",
    "FunctionCallPutDataOut",
    "FunctionGetDynamicConcurrency",
    "TaskResult",
    "BlobCreate",
    "BlobGet",
}


class Containers(Part):
    """Calls of one container."""

    def __init__(self, world: World, container: Container) -> None:
        super().__init__(world)
        self.container = container

    async def guard(self, event: RecvRequest) -> None:
        """Refuse what a function without access to Modal does not need to answer inputs."""
        name = event.method_name.rpartition("/")[2]
        untrusted = self.container.function.definition.untrusted
        if untrusted and self.world.faults.refuse_untrusted and name not in ANSWERING:
            event.method_func = _refuse

    @unary
    async def ContainerHello(self, request: Empty) -> Empty:
        return Empty()

    @unary
    async def ContainerHeartbeat(
        self, request: api_pb2.ContainerHeartbeatRequest
    ) -> api_pb2.ContainerHeartbeatResponse:
        """Wait for something to cancel, which the container then hears of at once.

        It is told again, a second later by the client's own pause, until it lets go: the first
        time comes to nothing where the input is only on its way to it.
        """
        container = self.container
        ids = await self.state.changes.until(lambda: container.cancelled or None, HEARTBEAT_POLL_S)
        if not ids:
            return api_pb2.ContainerHeartbeatResponse()
        return api_pb2.ContainerHeartbeatResponse(
            cancel_input_event=api_pb2.CancelInputEvent(input_ids=ids)
        )

    @unary
    async def FunctionGetInputs(
        self, request: api_pb2.FunctionGetInputsRequest
    ) -> api_pb2.FunctionGetInputsResponse:
        """Wait for an input, or for a reason to end."""
        container, scheduler = self.container, self.world.scheduler
        now = time.monotonic()
        if not container.ready_at:
            container.ready_at = time.time()
            container.function.failed_starts = 0
            self.state.changes.announce()
        if not container.inputs:
            container.idle_since = container.idle_since or now
        poll_end = now + INPUTS_POLL_S
        while True:
            if container.stopping or container.killed:
                return killing()
            if (one := scheduler.hand_over(container)) is not None:
                return api_pb2.FunctionGetInputsResponse(inputs=[delivery(one)])
            now = time.monotonic()
            end = poll_end
            if container.idle_since and scheduler.may_end(container):
                idle_end = container.idle_since + scheduler.idle_s(container.function)
                if now >= idle_end:
                    scheduler.drain(container, "idle for the scaledown window")
                    return killing()
                end = min(end, idle_end)
            if now >= poll_end:
                return api_pb2.FunctionGetInputsResponse()
            await self.state.changes.until(partial(self._news, self.world.turn), end - now)

    def _news(self, turn: int) -> bool | None:
        container = self.container
        if container.function.waiting or container.stopping or container.killed:
            return True
        return None if self.world.turn == turn else True

    @unary
    async def FunctionPutOutputs(self, request: api_pb2.FunctionPutOutputsRequest) -> Empty:
        most = self.world.faults.max_result_bytes
        for item in request.outputs:
            succeeded = item.result.status == api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
            if succeeded and len(item.result.data) > most:
                raise GRPCError(
                    Status.INVALID_ARGUMENT, f"A result is larger than the limit of {most} bytes"
                )
        for item in request.outputs:
            self.container.let_go.add(item.input_id)
            self.container.cancelled.discard(item.input_id)
            one = self.container.inputs.get(item.input_id)
            if one is None or one.retry_count != item.retry_count:
                continue  # Answered meanwhile: too late, or of a stopped app.
            self.container.answered += 1
            self.container.function.crashes = 0
            self.world.scheduler.answer(one, item.result, item.data_format)
        if not self.container.inputs:
            self.container.idle_since = time.monotonic()
        self.state.changes.announce()
        return Empty()

    @unary
    async def FunctionCallPutDataOut(self, request: api_pb2.FunctionCallPutDataRequest) -> Empty:
        self.state.call(request.function_call_id).data_out.extend(request.data_chunks)
        self.state.changes.announce()
        return Empty()

    @unary
    async def VolumeCommit(
        self, request: api_pb2.VolumeCommitRequest
    ) -> api_pb2.VolumeCommitResponse:
        """Let others see what this container has written to a volume; nothing if read-only.

        The client's own code commits every volume when a container ends, also those.
        """
        volume, view = self._volume(request.volume_id)
        mounts = self.container.function.definition.volume_mounts
        if not any(m.volume_id == volume.volume_id and m.read_only for m in mounts):
            bring(view, volume.folder)
            volume.commits += 1
        return api_pb2.VolumeCommitResponse(skip_reload=True)

    @unary
    async def VolumeReload(self, request: api_pb2.VolumeReloadRequest) -> Empty:
        """Let this container see what others have committed."""
        volume, view = self._volume(request.volume_id)
        bring(volume.folder, view)
        return Empty()

    def _volume(self, volume_id: str) -> tuple[Volume, Path]:
        if volume_id not in self.container.volumes:
            raise GRPCError(Status.FAILED_PRECONDITION, "The volume is not mounted here")
        return self.state.volumes[volume_id], self.container.volumes[volume_id]

    @unary
    async def TaskResult(self, request: api_pb2.TaskResultRequest) -> Empty:
        self.container.start_result = request.result
        return Empty()

    @unary
    async def ContainerStop(
        self, request: api_pb2.ContainerStopRequest
    ) -> api_pb2.ContainerStopResponse:
        """What `stop_fetching_inputs` sends."""
        self.world.scheduler.drain(self.container, "it asked for no more inputs")
        return api_pb2.ContainerStopResponse()

    @unary
    async def FunctionGetDynamicConcurrency(
        self, request: api_pb2.FunctionGetDynamicConcurrencyRequest
    ) -> api_pb2.FunctionGetDynamicConcurrencyResponse:
        return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=request.target_concurrency)


async def _refuse(stream: Any) -> None:
    raise GRPCError(Status.PERMISSION_DENIED, "This function has no access to Modal")


def killing() -> api_pb2.FunctionGetInputsResponse:
    """The last thing that a container is given."""
    return api_pb2.FunctionGetInputsResponse(
        inputs=[api_pb2.FunctionGetInputsItem(kill_switch=True)]
    )


def delivery(one: Any) -> api_pb2.FunctionGetInputsItem:
    """An input as a container is given it."""
    kind = api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC
    if one.call.asynchronous:
        kind = api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC
    return api_pb2.FunctionGetInputsItem(
        input_id=one.input_id,
        input=one.message,
        function_call_id=one.call.call_id,
        function_call_invocation_type=kind,
        retry_count=one.retry_count,
        function_map_idx=one.index,
    )
