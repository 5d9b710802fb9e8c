"""Calls from the client: put inputs, wait for outputs, retry, cancel."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal._utils.jwt_utils import DecodedJwt
from modal_proto import api_pb2

from local_modal.service import Part, unary
from local_modal.state import Call, Function, Input


class Calls(Part):
    """Calls on function calls."""

    @unary
    async def FunctionMap(self, request: api_pb2.FunctionMapRequest) -> api_pb2.FunctionMapResponse:
        function = self.state.function(request.function_id)
        app = self.state.app(function.app_id)
        if not app.running:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.app_id} is stopped")
        asynchronous = request.function_call_invocation_type in (
            api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC,
            api_pb2.FUNCTION_CALL_INVOCATION_TYPE_ASYNC_LEGACY,
        )
        call = Call(self.state.new_id("fc"), function, asynchronous, request.return_exceptions)
        self.state.calls[call.call_id] = call
        inputs = [self._admit(call, item) for item in request.pipelined_inputs]
        return api_pb2.FunctionMapResponse(
            function_call_id=call.call_id,
            function_call_jwt=call.call_id,
            pipelined_inputs=inputs,
            retry_policy=function.definition.retry_policy,
            sync_client_retries_enabled=True,
            max_inputs_outstanding=1000,
        )

    @unary
    async def FunctionPutInputs(
        self, request: api_pb2.FunctionPutInputsRequest
    ) -> api_pb2.FunctionPutInputsResponse:
        call = self.state.call(request.function_call_id)
        if not self.state.app(call.function.app_id).running:
            raise GRPCError(Status.FAILED_PRECONDITION, "The app is stopped")
        return api_pb2.FunctionPutInputsResponse(
            inputs=[self._admit(call, item) for item in request.inputs]
        )

    def _admit(
        self, call: Call, item: api_pb2.FunctionPutInputsItem
    ) -> api_pb2.FunctionPutInputsResponseItem:
        one = Input(self.state.new_id("in"), call, item.idx, item.input)
        call.inputs[item.idx] = one
        self.state.inputs[one.input_id] = one
        self.world.scheduler.enqueue(one)
        return api_pb2.FunctionPutInputsResponseItem(
            idx=one.index, input_id=one.input_id, input_jwt=token(one)
        )

    @unary
    async def FunctionFinishInputs(self, request: Any) -> Empty:
        return Empty()

    @unary
    async def FunctionRetryInputs(
        self, request: api_pb2.FunctionRetryInputsRequest
    ) -> api_pb2.FunctionRetryInputsResponse:
        tokens = []
        for item in request.inputs:
            payload = DecodedJwt.decode_without_verification(item.input_jwt).payload
            one = self.state.inputs[payload["input_id"]]
            if not self.state.app(one.call.function.app_id).running:
                raise GRPCError(Status.FAILED_PRECONDITION, "The app is stopped")
            # A map counts its attempts itself; a single call sends no count.
            one.retry_count = item.retry_count or one.retry_count + 1
            one.done = False
            self.world.scheduler.enqueue(one)
            tokens.append(token(one))
        return api_pb2.FunctionRetryInputsResponse(input_jwts=tokens)

    @unary
    async def FunctionGetOutputs(
        self, request: api_pb2.FunctionGetOutputsRequest
    ) -> api_pb2.FunctionGetOutputsResponse:
        call = self.state.call(request.function_call_id)
        after = int(request.last_entry_id.partition("-")[0] or 0)
        first = request.start_idx if request.HasField("start_idx") else 0
        last = request.end_idx if request.HasField("end_idx") else 1 << 31

        def look() -> list[tuple[int, api_pb2.FunctionGetOutputsItem]] | None:
            found = [(n, o) for n, o in call.outputs if n > after and first <= o.idx <= last]
            return found or None

        found = await self.state.changes.until(look, request.timeout) or []
        if request.clear_on_success:
            call.outputs = [entry for entry in call.outputs if entry not in found]
        return api_pb2.FunctionGetOutputsResponse(
            idxs=[output.idx for _, output in found],
            outputs=[output for _, output in found],
            last_entry_id=f"{max((n for n, _ in found), default=after)}-0",
            num_unfinished_inputs=sum(not one.done for one in call.inputs.values()),
        )

    @unary
    async def FunctionCallFromId(self, request: Any) -> api_pb2.FunctionCallFromIdResponse:
        call = self.state.call(request.function_call_id)
        return api_pb2.FunctionCallFromIdResponse(
            function_call_id=call.call_id, num_inputs=len(call.inputs)
        )

    @unary
    async def FunctionCallCancel(self, request: api_pb2.FunctionCallCancelRequest) -> Empty:
        call = self.state.call(request.function_call_id)
        terminated = api_pb2.GenericResult(
            status=api_pb2.GenericResult.GENERIC_STATUS_TERMINATED,
            exception="The call was cancelled",
        )
        for one in call.inputs.values():
            if one.done:
                continue
            if one.container is None:
                self.world.scheduler.answer(one, terminated)
            elif request.terminate_containers:
                container = one.container
                self.world.scheduler.answer(one, terminated)
                self.world.scheduler.kill(container, "its call was cancelled")
            else:
                self.world.scheduler.cancel(one)
        return Empty()

    async def FunctionCallGetDataOut(self, stream: Any) -> None:
        """What a generator has yielded so far, and then the rest as it comes."""
        request: api_pb2.FunctionCallGetDataRequest = await stream.recv_message()
        call = self.state.call(request.function_call_id)
        sent = request.last_index
        end = time.monotonic() + 30
        while time.monotonic() < end:

            def more(sent: int = sent) -> list[api_pb2.DataChunk] | None:
                return [c for c in call.data_out if c.index > sent] or None

            chunks = await self.state.changes.until(more, max(0.0, end - time.monotonic()))
            for chunk in chunks or []:
                await stream.send_message(chunk)
                sent = chunk.index


def token(one: Input) -> str:
    """The signed note that a client hands back to have an input tried again; unsigned here."""
    fields = {"idx": one.index, "input_id": one.input_id, "retry_count": one.retry_count}
    return DecodedJwt.encode_without_signature(fields)


def output_of(
    one: Input, result: api_pb2.GenericResult, data_format: int
) -> api_pb2.FunctionGetOutputsItem:
    """An output as a client is given it."""
    return api_pb2.FunctionGetOutputsItem(
        result=result,
        idx=one.index,
        input_id=one.input_id,
        data_format=data_format,  # type: ignore[arg-type]
        task_id=one.container.task_id if one.container else "",
        input_started_at=one.started_at,
        output_created_at=time.time(),
        retry_count=one.retry_count,
    )


def may_retry(function: Function, one: Input) -> bool:
    """Whether the service itself tries again: for calls that no client waits for."""
    return one.call.asynchronous and one.retry_count < function.definition.retry_policy.retries
