"""How the modules that serve calls are written: one coroutine a call, from request to reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from grpclib import GRPCError, Status
from modal_proto.api_grpc import ModalClientBase

if TYPE_CHECKING:
    from local_modal.world import World

Handler = Callable[[Any, Any], Awaitable[None]]


def unary(method: Callable[[Any, Any], Awaitable[Any]]) -> Handler:
    """Make a call out of a method that takes a request and returns the reply."""

    async def serve(self: Any, stream: Any) -> None:
        request = await stream.recv_message()
        await stream.send_message(await method(self, request))

    serve.__name__ = method.__name__
    return serve


def _unserved(name: str) -> Handler:
    async def serve(self: Any, stream: Any) -> None:
        self.world.unserved.append(name)
        raise GRPCError(Status.UNIMPLEMENTED, f"The local Modal does not serve {name}")

    return serve


class Part:
    """What every module's calls can reach."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.state = world.state


Rest = type(
    "Rest",
    (ModalClientBase,),
    {name: _unserved(name) for name in ModalClientBase.__abstractmethods__},
)
"""All calls of the protocol, each answered by "not served". Goes last among the bases."""
