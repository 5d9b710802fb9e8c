"""The queue that the search waits at: in order, from many threads, in time in spite of signals."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType, SimpleNamespace

import pytest

from kbexp.candidate import Proposal, ProposalRequest
from kbexp.search import RunState
from kbexp.search.inflight import POLL_S
from kbexp.search.mailbox import Mailbox
from kbexp.search_config import AlgorithmConfig


def test_what_was_put_in_comes_out_in_order() -> None:
    box: Mailbox[int | None] = Mailbox()
    for item in (1, None, 3):
        box.put(item)
    assert [box.take(0) for _ in range(3)] == [1, None, 3]
    for timeout_s in (0, -1.0, 0.01):
        with pytest.raises(TimeoutError):
            box.take(timeout_s)


def test_nothing_is_lost_among_threads() -> None:
    box: Mailbox[int] = Mailbox()

    def put(first: int) -> None:
        for item in range(first, first + 2000):
            box.put(item)

    firsts = range(0, 8000, 2000)
    threads = [threading.Thread(target=put, args=(first,)) for first in firsts]
    for thread in threads:
        thread.start()
    taken = [box.take(60) for _ in range(8000)]
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(8000))
    for first in firsts:
        own = [item for item in taken if first <= item < first + 2000]
        assert own == sorted(own)


def test_whoever_waits_is_woken() -> None:
    box: Mailbox[str] = Mailbox()
    timer = threading.Timer(0.05, box.put, ["news"])
    timer.start()
    assert box.take(60) == "news"
    timer.join()


@contextlib.contextmanager
def interrupted(after_s: float, does: Callable[[], object]) -> Iterator[threading.Timer]:
    """Give a timer that interrupts this thread, which is the main one, with what `does` does."""
    main = threading.main_thread().ident
    assert main == threading.get_ident()

    def handle(number: int, frame: FrameType | None) -> None:
        does()

    before = signal.signal(signal.SIGUSR1, handle)
    timer = threading.Timer(after_s, signal.pthread_kill, [main, signal.SIGUSR1])
    try:
        yield timer
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_the_time_is_up_though_a_signal_took_what_was_left_of_it() -> None:
    box: Mailbox[str] = Mailbox()
    rescue = threading.Timer(20, box.put, ["rescued"])
    rescue.start()
    with interrupted(0.05, lambda: time.sleep(0.3)) as timer:
        timer.start()
        with pytest.raises(TimeoutError):
            box.take(0.2)
    rescue.cancel()


def test_a_search_that_is_stopped_as_it_looks_up_does_not_wait_for_the_model(
    land: SimpleNamespace,
) -> None:
    stop, release = threading.Event(), threading.Event()

    def asked_to_stop() -> None:
        stop.set()
        time.sleep(3 * POLL_S)  # The time for which the search waits is up when this returns.

    with interrupted(POLL_S / 2, asked_to_stop) as timer:

        class Proposer:
            def propose(self, request: ProposalRequest) -> Proposal:
                timer.start()
                release.wait(20)
                return Proposal(request.number, (), None, error="too late")

        config = AlgorithmConfig(name="ps", num_threads=1)
        outcome = land.Run(config, proposer=Proposer(), stop=stop, grace_s=0.05).go()
        release.set()
    assert outcome.state is RunState.STOPPED
    assert outcome.archive.proposals == {}
