"""Calls that are given up when their evaluator closes."""

from __future__ import annotations

import threading

import pytest

from kbexp.config import EvaluatorConfig, GpuConfig
from kbexp.evaluation.modal import calls
from kbexp.evaluation.modal.calls import Caller
from kbexp.evaluation.modal.session import Session


class Call:
    """A call to be cancelled, over a network that is not there."""

    def __init__(self, release: threading.Event) -> None:
        self.release, self.asked, self.done = release, threading.Event(), threading.Event()

    def cancel(self) -> None:
        self.asked.set()
        if self.release.wait(20):
            raise ConnectionError
        self.done.set()


def test_a_network_that_is_gone_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CANCEL_S", 0.1)
    gpu = GpuConfig(name="h100")
    caller = Caller(gpu, Session(gpu, EvaluatorConfig()), threading.Event(), lambda text: None)
    release = threading.Event()
    waiting = [Call(release) for _ in range(3)]
    caller._waiting |= set(waiting)
    caller.cancel()
    assert not any(call.done.is_set() for call in waiting)
    assert all(call.asked.wait(20) for call in waiting)  # Each of them, none after another.
    release.set()
