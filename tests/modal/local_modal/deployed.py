"""Deployed apps: find them, their functions and classes by name; list and stop containers."""

from __future__ import annotations

from typing import Any

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from local_modal.functions import data_of, layout
from local_modal.service import Part, unary
from local_modal.state import App


class Deployed(Part):
    """Calls that look things up by name."""

    @unary
    async def AppGetByDeploymentName(
        self, request: api_pb2.AppGetByDeploymentNameRequest
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        environment = request.environment_name or "main"
        app = self.state.deployment(environment, request.name)
        if app is not None:
            return api_pb2.AppGetByDeploymentNameResponse(
                app_id=app.app_id, environment_name=environment, lifecycle=lifecycle(app)
            )
        before = [a for a in self.state.apps.values() if a.name == request.name and a.stopped_at]
        if not before:
            return api_pb2.AppGetByDeploymentNameResponse(environment_name=environment)
        return api_pb2.AppGetByDeploymentNameResponse(
            previous_app_id=before[-1].app_id,
            environment_name=environment,
            lifecycle=lifecycle(before[-1]),
        )

    @unary
    async def AppGetOrCreate(
        self, request: api_pb2.AppGetOrCreateRequest
    ) -> api_pb2.AppGetOrCreateResponse:
        environment = request.environment_name or "main"
        app = self.state.deployment(environment, request.app_name)
        if app is None:
            if request.object_creation_type != api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING:
                raise GRPCError(Status.NOT_FOUND, f"App {request.app_name!r} not found")
            app = App(
                self.state.new_id("ap"),
                request.app_name,
                environment,
                api_pb2.APP_STATE_DEPLOYED,
                name=request.app_name,
            )
            self.state.apps[app.app_id] = app
        return api_pb2.AppGetOrCreateResponse(app_id=app.app_id)

    @unary
    async def AppGetLifecycle(self, request: Any) -> api_pb2.AppGetLifecycleResponse:
        app = self.state.app(request.app_id)
        return api_pb2.AppGetLifecycleResponse(lifecycle=lifecycle(app))

    @unary
    async def AppGetLayout(
        self, request: api_pb2.AppGetLayoutRequest
    ) -> api_pb2.AppGetLayoutResponse:
        app = self.state.app(request.app_id)
        return api_pb2.AppGetLayoutResponse(app_layout=layout(self.state.functions, app))

    @unary
    async def FunctionGet(self, request: api_pb2.FunctionGetRequest) -> api_pb2.FunctionGetResponse:
        app = self._deployed(request.environment_name, request.app_name)
        function_id = app.function_ids.get(request.object_tag)
        if function_id is None:
            raise GRPCError(Status.NOT_FOUND, f"App {app.name!r} has no {request.object_tag!r}")
        function = self.state.function(function_id)
        return api_pb2.FunctionGetResponse(
            function_id=function_id,
            handle_metadata=function.metadata,
            function=data_of(function.definition),
        )

    @unary
    async def ClassGet(self, request: api_pb2.ClassGetRequest) -> api_pb2.ClassGetResponse:
        app = self._deployed(request.environment_name, request.app_name)
        class_id = app.class_ids.get(request.object_tag)
        if class_id is None:
            raise GRPCError(Status.NOT_FOUND, f"App {app.name!r} has no {request.object_tag!r}")
        return api_pb2.ClassGetResponse(
            class_id=class_id, handle_metadata=api_pb2.ClassHandleMetadata()
        )

    def _deployed(self, environment: str, name: str) -> App:
        app = self.state.deployment(environment or "main", name)
        if app is None:
            where = environment or "main"
            raise GRPCError(Status.NOT_FOUND, f"App {name!r} not found in environment {where!r}")
        return app

    @unary
    async def TaskList(self, request: api_pb2.TaskListRequest) -> api_pb2.TaskListResponse:
        return api_pb2.TaskListResponse(
            tasks=[
                api_pb2.TaskStats(
                    task_id=c.task_id,
                    app_id=c.function.app_id,
                    app_description=self.state.apps[c.function.app_id].description,
                    enqueued_at=c.started_at,
                    started_at=c.ready_at,
                )
                for c in self.state.live_containers(request.app_id or None)
            ]
        )

    @unary
    async def ContainerStop(
        self, request: api_pb2.ContainerStopRequest
    ) -> api_pb2.ContainerStopResponse:
        """What `modal container stop` sends: the container's inputs begin again elsewhere."""
        self.world.scheduler.preempt(self.state.containers[request.task_id])
        return api_pb2.ContainerStopResponse()


def lifecycle(app: App) -> api_pb2.AppLifecycle:
    """How far an app has come."""
    return api_pb2.AppLifecycle(
        app_state=app.state,  # type: ignore[arg-type]
        created_at=app.created_at,
        version=app.version,
        stopped_at=app.stopped_at,
    )
