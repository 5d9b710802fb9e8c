"""Who reports stops in that very call."""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from kernels import quick
from waiting import stopped, wait_for

from kbexp.worker import wire
from kbexp.worker.leash import Leash
from kbexp.worker.nursery import Nursery, end_all
from kbexp.worker.trap import prepare_trap, set_trap


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


def number(shared: mmap.mmap) -> int:
    return int.from_bytes(shared[:8], "little")


def test_it_works_on_linux() -> None:
    # In a process that has no other thread.
    code = "from kbexp.worker.trap import traps_work; print(traps_work())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


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
            wait_for(lambda: stopped(child))
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


@pytest.mark.parametrize("level", ["namespaces", "user_namespaces", "process"])
def test_a_runner_behind_walls_runs_into_it(level: str) -> None:
    nursery = Nursery("cpu", quick(isolation="process"), {})
    try:
        nursery.start()
        child = nursery.spawn("runner", quick(), level=level)
        leash = Leash(child.leash)
        set_trap(child.channel, True)
        # It knows no such order, says so, and would end.
        wire.send(child.channel, {})
        seen = select.select([child.channel], [], [], 60)[0]
        if not seen or not child.channel.recv(2**16):
            pytest.skip(f"{level} cannot be had here: {child.wait(60).log}")
        with pytest.raises(wire.TooLate):
            child.wait(1)
        set_trap(child.channel, False)
        leash.hold()
        leash.let_go()
        assert child.wait(60).exit == 0
        end_all([child])
    finally:
        nursery.close()
