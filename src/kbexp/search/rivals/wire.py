"""Messages between the search and a rival in a process of its own: a JSON object a line.

One side asks and waits, the other answers. Whoever holds the asking end may be forked while nobody
waits: nothing is left in a buffer then.
"""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

MAX_MESSAGE_BYTES = 64 * 2**20
"""A question with all its kernels has some 100 KB."""


class Line:
    """One end of the line."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._read = end.makefile("rb")

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; raises OSError where nobody is left to read it."""
        self._end.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """Wait for a message; None once the other side has gone."""
        try:
            line = self._read.readline(MAX_MESSAGE_BYTES)
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        message = json.loads(line)
        return message if isinstance(message, dict) else None

    def close(self) -> None:
        """Hang up; whoever waits for a message gets None."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        self._read.close()
        self._end.close()
