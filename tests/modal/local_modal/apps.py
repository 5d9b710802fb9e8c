"""Apps: create, publish, keep alive, list, stop, and what their containers print."""

from __future__ import annotations

import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from local_modal.service import Part, unary
from local_modal.state import App

LOGS_POLL_S = 10.0


class Apps(Part):
    """Calls on apps and environments."""

    @unary
    async def ClientHello(self, request: Empty) -> api_pb2.ClientHelloResponse:
        return api_pb2.ClientHelloResponse(image_builder_version="2025.06")

    @unary
    async def WorkspaceNameLookup(self, request: Empty) -> api_pb2.WorkspaceNameLookupResponse:
        return api_pb2.WorkspaceNameLookupResponse(workspace_name="local", username="local")

    @unary
    async def AuthTokenGet(self, request: Any) -> api_pb2.AuthTokenGetResponse:
        return api_pb2.AuthTokenGetResponse(token="e30.e30.")

    @unary
    async def EnvironmentGetOrCreate(
        self, request: api_pb2.EnvironmentGetOrCreateRequest
    ) -> api_pb2.EnvironmentGetOrCreateResponse:
        name = request.deployment_name or "main"
        settings = api_pb2.EnvironmentSettings(image_builder_version="2025.06")
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id=f"en-{name}",
            metadata=api_pb2.EnvironmentMetadata(name=name, settings=settings),
        )

    @unary
    async def AppCreate(self, request: api_pb2.AppCreateRequest) -> api_pb2.AppCreateResponse:
        app = App(
            app_id=self.state.new_id("ap"),
            description=request.description,
            environment=request.environment_name or "main",
            state=request.app_state,
            tags=dict(request.tags),
        )
        self.state.apps[app.app_id] = app
        page = f"https://modal.invalid/{app.app_id}"
        return api_pb2.AppCreateResponse(
            app_id=app.app_id, app_page_url=page, app_logs_url=f"{page}/logs"
        )

    @unary
    async def AppHeartbeat(self, request: api_pb2.AppHeartbeatRequest) -> Empty:
        self.state.app(request.app_id).heard_at = time.monotonic()
        return Empty()

    @unary
    async def AppPublish(self, request: api_pb2.AppPublishRequest) -> api_pb2.AppPublishResponse:
        app = self.state.app(request.app_id)
        if app.stopped_at:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.app_id} is stopped")
        app.function_ids = dict(request.function_ids)
        app.class_ids = dict(request.class_ids)
        app.tags.update(request.tags)
        app.version += 1
        if request.app_state == api_pb2.APP_STATE_DEPLOYED:
            previous = self.state.deployment(app.environment, request.name)
            if previous is not None and previous is not app:
                await self.world.scheduler.stop_app(previous, "replaced by another app")
            app.name = request.name
        if request.app_state:
            app.state = request.app_state
        await self.world.scheduler.published(app)
        return api_pb2.AppPublishResponse(
            url=f"https://modal.invalid/{app.app_id}", deployed_at=time.time()
        )

    @unary
    async def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest) -> Empty:
        app = self.state.app(request.app_id)
        if app.state in (api_pb2.APP_STATE_EPHEMERAL, api_pb2.APP_STATE_INITIALIZING):
            reason = api_pb2.AppDisconnectReason.Name(request.reason)
            await self.world.scheduler.stop_app(app, reason)
        return Empty()

    @unary
    async def AppStop(self, request: api_pb2.AppStopRequest) -> Empty:
        app = self.state.app(request.app_id)
        source = api_pb2.AppStopSource.Name(request.source)
        await self.world.scheduler.stop_app(app, f"stopped from outside ({source})")
        return Empty()

    @unary
    async def AppSetTags(self, request: api_pb2.AppSetTagsRequest) -> Empty:
        app = self.state.app(request.app_id)
        app.tags = dict(request.tags)
        return Empty()

    @unary
    async def AppGetTags(self, request: api_pb2.AppGetTagsRequest) -> api_pb2.AppGetTagsResponse:
        return api_pb2.AppGetTagsResponse(tags=self.state.app(request.app_id).tags)

    @unary
    async def AppList(self, request: api_pb2.AppListRequest) -> api_pb2.AppListResponse:
        environment = request.environment_name or "main"
        return api_pb2.AppListResponse(
            apps=[
                api_pb2.AppListResponse.AppListItem(
                    app_id=app.app_id,
                    description=app.description,
                    state=app.state,  # type: ignore[arg-type]
                    name=app.name,
                    created_at=app.created_at,
                    stopped_at=app.stopped_at,
                    n_running_tasks=len(self.state.live_containers(app.app_id)),
                )
                for app in self.state.apps.values()
                if app.environment == environment
            ]
        )

    async def AppGetLogs(self, stream: Any) -> None:
        """What containers print, until the app is done or the poll is over."""
        request: api_pb2.AppGetLogsRequest = await stream.recv_message()
        app = self.state.app(request.app_id)
        sent = int(request.last_entry_id.partition("-")[0] or 0)
        end = time.monotonic() + min(request.timeout, LOGS_POLL_S)
        while True:

            def news(sent: int = sent) -> bool | None:
                return True if len(app.logs) > sent or not app.running else None

            await self.state.changes.until(news, max(0.0, end - time.monotonic()))
            for batch in app.logs[sent:]:
                sent += 1
                batch.entry_id = f"{sent}-0"
                await stream.send_message(batch)
            if not app.running and not self.state.live_containers(app.app_id):
                await stream.send_message(api_pb2.TaskLogsBatch(app_done=True))
                return
            if time.monotonic() >= end:
                return
