"""A gRPC server that can hang up on those who are connected."""

from __future__ import annotations

import asyncio
import contextlib
import weakref

from grpclib.protocol import H2Protocol
from grpclib.server import Server


class Listener(Server):
    """As the library's, which on closing only takes no new connections."""

    def __init__(self, service: object) -> None:
        super().__init__([service])  # type: ignore[list-item]
        self.lines: weakref.WeakSet[H2Protocol] = weakref.WeakSet()

    def _protocol_factory(self) -> H2Protocol:
        line = super()._protocol_factory()
        self.lines.add(line)
        return line

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        assert isinstance(self._server, asyncio.Server)
        return int(self._server.sockets[0].getsockname()[1])

    async def hang_up(self) -> None:
        """Take no new connection and end those that there are."""
        self.close()
        for line in list(self.lines):
            line.connection.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait_closed(), 5)
