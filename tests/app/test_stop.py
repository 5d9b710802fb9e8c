"""Signals: the first asks, the second ends at once, and the old handlers come back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from kbexp.app.explain import Stopped
from kbexp.app.stop import StopFlag

STUCK = """
import os, signal, threading, time
from kbexp.app import stop
stop.GRACE_S = 0.2
with stop.StopFlag():
    for _ in range(2):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except BaseException as error:
            assert error.exit_code == 130
    time.sleep(60)
"""

UNHEARD = """
import os, signal, sys
from kbexp.app import stop
with stop.StopFlag() as asked:
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit(asked.exit_code if asked.flag.is_set() else 1)
"""


def test_the_first_signal_asks_and_the_second_ends(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopFlag() as stop:
        assert not stop.flag.is_set()
        signal.raise_signal(signal.SIGTERM)
        assert stop.flag.is_set()
        assert stop.exit_code == 143
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert "again" in capfd.readouterr().err


def test_a_second_signal_ends_a_process_that_does_not_end_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], timeout=30, check=False, stderr=subprocess.DEVNULL
    )
    assert done.returncode == 130


def test_a_run_stops_though_nobody_takes_what_it_says() -> None:
    # A pipe that is full, as before a pager that has shown its first page.
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, b"." * 4096)
    os.set_blocking(write_end, True)
    done = subprocess.run(
        [sys.executable, "-c", UNHEARD], timeout=30, check=False, stderr=write_end
    )
    os.close(write_end)
    os.close(read_end)
    assert done.returncode == 130


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    handlers = []

    def enter() -> None:
        with StopFlag() as stop:
            handlers.append(signal.getsignal(signal.SIGINT))
            assert not stop.flag.is_set()

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [before]
    assert issubclass(Stopped, BaseException)
    assert not issubclass(Stopped, Exception)
