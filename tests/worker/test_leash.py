"""A held process does not run; a process that was let go does."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import stopped

from kbexp.worker import wire
from kbexp.worker.leash import Grip, Leash, await_stopped, obey


@pytest.fixture
def counting() -> Iterator[tuple[int, mmap.mmap]]:
    """A process that counts as fast as it can, in memory that it shares."""
    shared = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        count = 0
        while True:
            count += 1
            shared[:8] = count.to_bytes(8, "little")
    yield child, shared
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def moves(shared: mmap.mmap, seconds: float) -> bool:
    before = bytes(shared[:8])
    deadline = time.monotonic() + seconds
    while bytes(shared[:8]) == before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_held_and_let_go(counting: tuple[int, mmap.mmap]) -> None:
    child, shared = counting
    ours, theirs = socket.socketpair()
    served: list[bool] = []

    def serve() -> None:
        while obey(theirs, lambda number: os.kill(child, number)):
            served.append(True)

    thread = threading.Thread(target=serve)
    thread.start()
    leash = Leash(ours)
    assert moves(shared, 30)
    for _ in range(3):
        leash.hold()
        os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOWAIT)
        assert not moves(shared, 0.05)
        leash.hold()  # Once is enough.
        leash.let_go()
        assert moves(shared, 30)
    leash.close()
    thread.join(30)
    assert not thread.is_alive()
    assert len(served) == 6


def test_what_wakes_while_it_is_held_stops_again(counting: tuple[int, mmap.mmap]) -> None:
    child, shared = counting
    ours, theirs = socket.socketpair()
    grip = Grip(theirs, lambda number: os.kill(child, number), lambda stop: None)
    ended = threading.Event()

    def attend() -> None:
        while not ended.is_set():
            grip.attend(0.05)

    thread = threading.Thread(target=attend)
    thread.start()
    leash = Leash(ours)
    assert moves(shared, 30)
    for _ in range(3):
        leash.hold()
        os.kill(child, signal.SIGCONT)  # As the kernel does.
        deadline = time.monotonic() + 30
        while moves(shared, 0.1):
            assert time.monotonic() < deadline, "it runs although it is held"
        leash.let_go()
        for _ in range(3):
            assert moves(shared, 30)
            time.sleep(0.02)
    ended.set()
    leash.close()
    thread.join(30)
    assert not thread.is_alive()


def test_no_thread_runs_on_while_the_first_waits_for_a_child() -> None:
    """A stop signal to the process would wait until the first thread can take it."""
    shared = mmap.mmap(-1, 8)
    libc = ctypes.CDLL(None)
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)

        def count() -> None:
            number = 0
            while True:
                number += 1
                shared[:8] = number.to_bytes(8, "little")

        threading.Thread(target=count, daemon=True).start()
        stack = ctypes.create_string_buffer(2**16)
        top = (ctypes.addressof(stack) + len(stack)) & ~63
        vfork = 0x100 | 0x4000  # CLONE_VM, CLONE_VFORK
        libc.clone(
            ctypes.cast(libc.pause, ctypes.c_void_p),
            ctypes.c_void_p(top),
            vfork | signal.SIGCHLD,
            None,
        )
        os._exit(1)
    try:
        task = Path(f"/proc/{child}/task/{child}")
        deadline = time.monotonic() + 60
        while not (task / "stat").read_text().rpartition(")")[2].startswith(" D"):
            assert time.monotonic() < deadline, "it does not wait"
            time.sleep(0.001)
        os.kill(child, signal.SIGSTOP)
        assert moves(shared, 30)
        await_stopped(lambda: os.kill(child, signal.SIGSTOP), lambda: [child])
        assert not moves(shared, 0.05)
        os.kill(child, signal.SIGCONT)
        assert moves(shared, 30)
    finally:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_system_call_that_no_signal_stops_is_waited_for() -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, b"now")
        mmap.mmap(-1, 512 * 2**20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
        while True:
            signal.pause()
    os.read(read_end, 3)
    os.kill(child, signal.SIGSTOP)
    deadline = time.monotonic() + 60

    def processes() -> list[int]:
        assert time.monotonic() < deadline, "it does not stop"
        return [child]

    try:
        await_stopped(lambda: None, processes)
        assert stopped(child)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read_end)
        os.close(write_end)


def test_what_wakes_while_another_is_waited_for_stops_again(
    counting: tuple[int, mmap.mmap],
) -> None:
    child, shared = counting
    looks = 0

    def processes() -> list[int]:
        nonlocal looks
        looks += 1
        # It has no limit of its own. Left running, a child would be looked at for ever.
        assert time.monotonic() < deadline, "it runs on, and nobody stops it again"
        if looks == 1:
            os.kill(child, signal.SIGCONT)  # As a call that outlasts the signal may do at its end.
        return [child]

    assert moves(shared, 30)
    os.kill(child, signal.SIGSTOP)
    deadline = time.monotonic() + 20
    await_stopped(lambda: os.kill(child, signal.SIGSTOP), processes)
    assert stopped(child)
    os.kill(child, signal.SIGCONT)


def test_nobody_left_to_hold() -> None:
    ours, theirs = socket.socketpair()

    def gone(number: int) -> None:
        raise ProcessLookupError

    thread = threading.Thread(target=obey, args=(theirs, gone))
    thread.start()
    Leash(ours).hold()
    thread.join(30)
    theirs.close()
    with pytest.raises(wire.Closed):
        Leash(ours).hold()


def test_ended_is_gone() -> None:
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        while True:
            signal.pause()

    ends: list[int] = []

    def send(number: int) -> None:
        os.kill(child, number)
        if number == signal.SIGKILL:
            ends.append(os.waitpid(child, 0)[1])

    def serve() -> None:
        while not ends:
            obey(theirs, send)
        theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    leash = Leash(ours)
    leash.hold()
    assert not ends
    leash.end()
    assert [os.WTERMSIG(end) for end in ends] == [signal.SIGKILL]
    thread.join(30)
    leash.end()  # What has gone already has ended.


def test_what_is_no_order_is_not_obeyed() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(b"?")
    assert not obey(theirs, lambda number: pytest.fail("sent"))
