"""Functions and classes: define them, bind parameters and options."""

from __future__ import annotations

from collections.abc import Mapping

from grpclib import GRPCError, Status
from modal_proto import api_pb2

from local_modal.service import Part, unary
from local_modal.state import App, Function


class Functions(Part):
    """Calls that define functions and classes."""

    @unary
    async def FunctionPrecreate(
        self, request: api_pb2.FunctionPrecreateRequest
    ) -> api_pb2.FunctionPrecreateResponse:
        function_id = request.existing_function_id or self.state.new_id("fu")
        metadata = api_pb2.FunctionHandleMetadata(
            app_id=request.app_id,
            function_name=request.function_name,
            function_type=request.function_type,
            function_schema=request.function_schema,
            supported_input_formats=request.supported_input_formats,
            supported_output_formats=request.supported_output_formats,
            method_handle_metadata=methods(request.method_definitions, request.app_id),
        )
        return api_pb2.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)

    @unary
    async def FunctionCreate(
        self, request: api_pb2.FunctionCreateRequest
    ) -> api_pb2.FunctionCreateResponse:
        app = self.state.app(request.app_id)
        if not app.running:
            raise GRPCError(Status.FAILED_PRECONDITION, f"App {app.app_id} is stopped")
        # With a list of GPUs there is one definition for each; the first is as good as any here.
        definition = request.function
        if request.HasField("function_data"):
            definition = request.function_data.ranked_functions[0].function
        function_id = request.existing_function_id or self.state.new_id("fu")
        metadata = handle(definition, app)
        function = self.state.functions.get(function_id)
        if function is None:
            function = Function(function_id, app.app_id, definition, metadata)
            self.state.functions[function_id] = function
        function.definition, function.metadata = definition, metadata
        function.version = app.version + 1
        self._forget_variants(function_id)
        return api_pb2.FunctionCreateResponse(
            function_id=function_id,
            function=definition,
            function_data=data_of(definition),
            handle_metadata=metadata,
        )

    def _forget_variants(self, function_id: str) -> None:
        """A new definition ends the variants of the old one: they are bound again when called."""
        for variant in list(self.state.functions.values()):
            if variant.base_id == function_id:
                variant.base_id = ""
                for container in self.state.containers_of(variant):
                    self.world.scheduler.drain(container, "a new version was deployed")

    @unary
    async def ClassCreate(self, request: api_pb2.ClassCreateRequest) -> api_pb2.ClassCreateResponse:
        class_id = request.existing_class_id or self.state.new_id("cs")
        self.state.classes[class_id] = request.app_id
        return api_pb2.ClassCreateResponse(
            class_id=class_id, handle_metadata=api_pb2.ClassHandleMetadata()
        )

    @unary
    async def FunctionBindParams(
        self, request: api_pb2.FunctionBindParamsRequest
    ) -> api_pb2.FunctionBindParamsResponse:
        """The same parameters and options are the same variant, with containers of its own."""
        base = self.state.function(request.function_id)
        options = request.function_options.SerializeToString(deterministic=True)
        function = self._variant(base, request.serialized_params, options)
        if function is None:
            function = Function(
                function_id=self.state.new_id("fu"),
                app_id=base.app_id,
                definition=with_options(base.definition, request.function_options),
                metadata=base.metadata,
                base_id=base.function_id,
                params=request.serialized_params,
                options=options,
                version=base.version,
            )
            self.state.functions[function.function_id] = function
        return api_pb2.FunctionBindParamsResponse(
            bound_function_id=function.function_id, handle_metadata=function.metadata
        )

    def _variant(self, base: Function, params: bytes, options: bytes) -> Function | None:
        if not params and not options:
            return base
        for function in self.state.functions.values():
            same = (function.base_id, function.params, function.options)
            if same == (base.function_id, params, options):
                return function
        return None

    @unary
    async def FunctionUpdateSchedulingParams(
        self, request: api_pb2.FunctionUpdateSchedulingParamsRequest
    ) -> api_pb2.FunctionUpdateSchedulingParamsResponse:
        function = self.state.function(request.function_id)
        function.settings.MergeFrom(request.settings)
        self.world.settings_changed()
        self.world.scheduler.reconcile(function)
        return api_pb2.FunctionUpdateSchedulingParamsResponse(current_settings=function.settings)

    @unary
    async def FunctionGetCurrentStats(
        self, request: api_pb2.FunctionGetCurrentStatsRequest
    ) -> api_pb2.FunctionStats:
        function = self.state.function(request.function_id)
        live = self.state.live_containers(function.app_id)
        containers = [c for c in live if c.function is function]  # Those that end too: a guess.
        return api_pb2.FunctionStats(
            backlog=len(function.waiting),
            num_total_tasks=len(containers),
            num_running_inputs=sum(len(c.inputs) for c in containers),
        )


def methods(
    definitions: Mapping[str, api_pb2.MethodDefinition], app_id: str
) -> dict[str, api_pb2.FunctionHandleMetadata]:
    """Handles of a class's methods: calls through them name the method that is meant."""
    return {
        name: api_pb2.FunctionHandleMetadata(
            app_id=app_id,
            function_name=definition.function_name,
            function_type=definition.function_type,
            function_schema=definition.function_schema,
            is_method=True,
            use_method_name=name,
            supported_input_formats=definition.supported_input_formats,
            supported_output_formats=definition.supported_output_formats,
        )
        for name, definition in definitions.items()
    }


def handle(definition: api_pb2.Function, app: App) -> api_pb2.FunctionHandleMetadata:
    """What a client keeps of a function."""
    return api_pb2.FunctionHandleMetadata(
        app_id=app.app_id,
        function_name=definition.function_name,
        function_type=definition.function_type,
        is_method=definition.is_method,
        definition_id=f"de-{app.version + 1:022d}",
        class_parameter_info=definition.class_parameter_info,
        function_schema=definition.function_schema,
        supported_input_formats=definition.supported_input_formats,
        supported_output_formats=definition.supported_output_formats,
        method_handle_metadata=methods(definition.method_definitions, app.app_id),
    )


def data_of(definition: api_pb2.Function) -> api_pb2.FunctionData:
    """A definition in the form that holds one for each GPU."""
    return api_pb2.FunctionData(
        module_name=definition.module_name,
        function_name=definition.function_name,
        function_type=definition.function_type,
        is_class=definition.is_class,
        autoscaler_settings=definition.autoscaler_settings,
        timeout_secs=definition.timeout_secs,
        class_parameter_info=definition.class_parameter_info,
        method_definitions=definition.method_definitions,
        method_definitions_set=definition.method_definitions_set,
        ranked_functions=[api_pb2.FunctionData.RankedFunction(rank=0, function=definition)],
    )


def with_options(
    definition: api_pb2.Function, options: api_pb2.FunctionOptions
) -> api_pb2.Function:
    """A variant's definition: its base's, and on top of it what `with_options` named."""
    variant = api_pb2.Function()
    variant.CopyFrom(definition)
    settings = variant.autoscaler_settings
    if options.HasField("resources"):
        variant.resources.MergeFrom(options.resources)
    if options.HasField("retry_policy"):
        variant.retry_policy.CopyFrom(options.retry_policy)
    if options.HasField("timeout_secs"):
        variant.timeout_secs = options.timeout_secs
    if options.HasField("concurrency_limit"):
        settings.max_containers = options.concurrency_limit
    if options.HasField("task_idle_timeout_secs"):
        settings.scaledown_window = options.task_idle_timeout_secs
    if options.HasField("max_concurrent_inputs"):
        variant.max_concurrent_inputs = options.max_concurrent_inputs
    if options.replace_volume_mounts:
        del variant.volume_mounts[:]
        variant.volume_mounts.extend(options.volume_mounts)
    if options.replace_secret_ids:
        del variant.secret_ids[:]
        variant.secret_ids.extend(options.secret_ids)
    return variant


def layout(functions: Mapping[str, Function], app: App) -> api_pb2.AppLayout:
    """The functions and classes of an app, as a container or a second deployment wants them."""
    objects = [
        api_pb2.Object(object_id=f.function_id, function_handle_metadata=f.metadata)
        for f in functions.values()
        if f.app_id == app.app_id and not f.params and not f.options
    ]
    objects += [
        api_pb2.Object(object_id=class_id, class_handle_metadata=api_pb2.ClassHandleMetadata())
        for class_id in app.class_ids.values()
    ]
    return api_pb2.AppLayout(
        objects=objects, function_ids=app.function_ids, class_ids=app.class_ids
    )
