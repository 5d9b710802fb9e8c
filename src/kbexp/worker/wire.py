"""Messages between trusted processes: length-prefixed JSON over Unix sockets, with descriptors.

What an untrusted process says never comes through here; `report` reads that.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

LENGTH = struct.Struct("<I")
MAX_BYTES = 64 * 2**20
MAX_DESCRIPTORS = 16
WORD = b"."
LINGER_S = 0.002
"""Who is asleep when something comes needs 0.05 to 0.2 ms to wake on a virtual machine."""


class Closed(Exception):
    """The other end has gone."""


class TooLate(Exception):
    """Nothing, or not all of it, came in time."""


def send(channel: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message and, with its first byte, copies of the descriptors `fds`.

    Raises `Closed` where nobody is at the other end any more.
    """
    body = json.dumps(message, allow_nan=True).encode()
    data = LENGTH.pack(len(body)) + body
    try:
        channel.settimeout(60)
        if fds:
            sent = channel.sendmsg(
                [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())]
            )
            data = data[sent:]
        if data:
            # Sending nothing would still fail where the reader has answered and gone.
            channel.sendall(data)
    except OSError as error:
        raise Closed(str(error)) from error


def receive(
    channel: socket.socket, timeout_s: float | None = None, max_bytes: int = MAX_BYTES
) -> tuple[dict[str, Any], list[int]]:
    """Wait for one message; return it and the descriptors that came with it, now the caller's.

    Raises `Closed` at the end of the stream and `TooLate` after `timeout_s`.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    fds: list[int] = []
    header = read_exactly(channel, LENGTH.size, deadline, fds)
    (length,) = LENGTH.unpack(header)
    if length > max_bytes:
        raise Closed(f"a message of {length} bytes was announced, more than {max_bytes}")
    return json.loads(read_exactly(channel, length, deadline, fds)), fds


def send_word(channel: socket.socket) -> None:
    """Say that something is there that the other end knows of; raises `Closed`."""
    try:
        channel.settimeout(60)
        channel.sendall(WORD)
    except OSError as error:
        raise Closed(str(error)) from error


def await_word(channel: socket.socket) -> None:
    """Wait for what `send_word` sends; raises `Closed`."""
    linger(channel)
    read_exactly(channel, len(WORD), None)


def linger(channel: socket.socket) -> None:
    """Wait for something to read without falling asleep, for a short time only.

    Whoever else wants the processor has it in between.
    """
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    until = time.monotonic() + LINGER_S
    while not poll.poll(0) and time.monotonic() < until:
        os.sched_yield()


def read_exactly(
    channel: socket.socket, count: int, deadline: float | None, fds: list[int] | None = None
) -> bytes:
    """Read `count` bytes before `deadline` (monotonic), gathering descriptors in `fds`.

    With `fds` None no descriptor is accepted: the kernel closes what was sent.
    """
    data = bytearray()
    while len(data) < count:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TooLate
            channel.settimeout(left)
        else:
            channel.settimeout(None)
        try:
            if fds is None:
                part = channel.recv(min(count - len(data), 2**20))
            else:
                part, new, _, _ = socket.recv_fds(
                    channel, min(count - len(data), 2**20), MAX_DESCRIPTORS
                )
                fds.extend(new)
        except TimeoutError:
            raise TooLate from None
        except OSError as error:
            raise Closed(str(error)) from error
        if not part:
            raise Closed("the other end has gone")
        data += part
    return bytes(data)
