"""Who reports stops in that very call; who slips through is seen to run."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from kernels import quick

from kbexp.worker import wire
from kbexp.worker.leash import Grip, Leash
from kbexp.worker.nursery import Nursery, end_all
from kbexp.worker.rest import running
from kbexp.worker.trap import AT_REST, RUNS, Lookout, prepare_trap, set_trap


@contextlib.contextmanager
def forked(serve: Callable[[], None]) -> Iterator[int]:
    """A process in a session of its own."""
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            serve()
        finally:
            os._exit(0)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def number(shared: mmap.mmap) -> int:
    return int.from_bytes(shared[:8], "little")


def test_a_report_stops_all_threads_before_it_has_been_made() -> None:
    ours, theirs = socket.socketpair()
    reports, counts = mmap.mmap(-1, 8), mmap.mmap(-1, 8)

    def count() -> None:
        while True:
            counts[:8] = (number(counts) + 1).to_bytes(8, "little")

    def serve() -> None:
        threading.Thread(target=count, daemon=True).start()
        while theirs.recv(1):
            theirs.sendall(b"!")
            reports[:8] = (number(reports) + 1).to_bytes(8, "little")

    with forked(serve) as child:
        prepare_trap(ours, child)
        for round_ in range(20):
            set_trap(ours, True)
            ours.sendall(b"?")
            # Who sleeps in recv is sent no signal; who waits with a limit does so in poll.
            ours.settimeout(60)
            assert ours.recv(1) == b"!"
            wait_for(lambda: not running([child]))
            assert number(reports) == 2 * round_
            counted = number(counts)
            time.sleep(0.005)
            assert number(counts) == counted
            set_trap(ours, False)
            os.kill(child, signal.SIGCONT)
            # Where none is set, it goes on.
            ours.sendall(b"?")
            assert ours.recv(1) == b"!"
            wait_for(lambda asked=round_: number(reports) == 2 * asked + 2)
            wait_for(lambda before=counted: number(counts) > before)


def test_what_works_and_then_waits_has_run() -> None:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        while theirs.recv(1):
            until = time.thread_time() + 0.02
            while time.thread_time() < until:
                pass
            theirs.sendall(b"!")

    def waits() -> bool:
        return running([child]) == {(child, child): b"S"}

    with forked(serve) as child:
        lookout = Lookout(lambda: [child])
        wait_for(waits)
        lookout.look()
        for _ in range(3):
            assert lookout.look() != RUNS
            ours.sendall(b"?")
            assert ours.recv(1) == b"!"
            wait_for(waits)
            assert lookout.look() == RUNS
        os.kill(child, signal.SIGSTOP)
        wait_for(lambda: not running([child]))
        assert lookout.look() == AT_REST


def test_what_is_in_no_group_of_the_trap_runs() -> None:
    def serve() -> None:
        while True:
            pass

    with forked(serve) as child:
        near, far = socket.socketpair()
        grip = Grip(far, lambda signal_: os.kill(child, signal_), lambda stop: None)
        grip._lookout = Lookout(lambda: [child])
        ended = threading.Event()

        def attend() -> None:
            while not ended.is_set():
                grip.attend(0.05)

        thread = threading.Thread(target=attend)
        thread.start()
        leash = Leash(near)
        assert leash.hold_trapped() == RUNS
        wait_for(lambda: not running([child]))
        leash.let_go()
        wait_for(lambda: running([child]))
        # All of it has stopped already, as a trap would have it.
        os.kill(child, signal.SIGSTOP)
        wait_for(lambda: not running([child]))
        assert leash.hold_trapped() == AT_REST
        ended.set()
        thread.join(60)
        assert not thread.is_alive()
        near.close()
        far.close()


@pytest.mark.parametrize("level", ["namespaces", "user_namespaces"])
def test_a_runner_behind_walls_runs_into_it(level: str) -> None:
    nursery = Nursery("cpu", quick(isolation="process"), {})
    try:
        nursery.start()
        child = nursery.spawn("runner", quick(), level=level)
        leash = Leash(child.leash)
        set_trap(child.channel, True)
        # It knows no such order, and says so.
        wire.send(child.channel, {})
        seen = select.select([child.channel], [], [], 60)[0]
        said = bool(seen) and bool(child.channel.recv(2**16))
        if not said:
            pytest.skip(f"{level} cannot be had here: {child.wait(60).log}")
        wait_for(lambda: leash.hold_trapped() == AT_REST)
        set_trap(child.channel, False)
        leash.let_go()
        assert child.wait(60).exit == 0
        end_all([child])
    finally:
        nursery.close()
