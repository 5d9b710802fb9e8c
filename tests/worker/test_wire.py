"""Messages between trusted processes."""

from __future__ import annotations

import os
import socket
import threading

import pytest

from kbexp.worker import wire


def test_messages_and_descriptors_cross() -> None:
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    with ours, theirs:
        wire.send(ours, {"text": "ü", "number": 1.5}, [write_end])
        os.close(write_end)
        message, fds = wire.receive(theirs, 1.0)
        assert message == {"text": "ü", "number": 1.5}
        os.write(fds[0], b"x")
        os.close(fds[0])
        assert os.read(read_end, 5) == b"x"
        assert os.read(read_end, 5) == b""
    os.close(read_end)


def test_a_large_message_crosses_in_parts() -> None:
    ours, theirs = socket.socketpair()
    text = "x" * (5 * 2**20)
    with ours, theirs:
        sender = threading.Thread(target=wire.send, args=(ours, {"text": text}))
        sender.start()
        message, fds = wire.receive(theirs, 10.0)
        sender.join()
    assert message["text"] == text
    assert fds == []


def test_the_end_of_the_stream_and_silence_are_told_apart() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with pytest.raises(wire.TooLate):
            wire.receive(theirs, 0.05)
        ours.close()
        with pytest.raises(wire.Closed):
            wire.receive(theirs, 0.05)
        with pytest.raises(wire.Closed):
            wire.send(theirs, {})


def test_a_reader_that_answered_and_went_has_still_been_told() -> None:
    ours, theirs = socket.socketpair()
    null = os.open("/dev/null", os.O_RDONLY)
    with ours:
        wire.send(ours, {"a": 1}, [null])
        theirs.close()
    os.close(null)


def test_an_announced_size_is_bounded() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(wire.LENGTH.pack(2**31))
        with pytest.raises(wire.Closed, match="announced"):
            wire.receive(theirs, 1.0, max_bytes=1000)
