"""Whom the judge blames for what goes wrong with a runner."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kbexp.config import EvaluatorConfig
from kbexp.verdict import Phase, Status
from kbexp.worker.arena import Layout, create_host
from kbexp.worker.outcome import Stop
from kbexp.worker.report import Kind, pack_text, send_report
from kbexp.worker.scrutiny import Scrutiny
from kbexp.worker.side import REFERENCE_LIMIT_S, Side


@pytest.fixture
def kernel() -> Iterator[tuple[Side, socket.socket]]:
    """The judge's end of a conversation with a kernel's runner, and the runner's."""
    near, far = socket.socketpair()
    leash, other = socket.socketpair()
    side = Side("the kernel", near, leash, blamed=True)
    side.enter(Phase.LOAD, 0.2)
    yield side, far
    side.close()
    far.close()
    other.close()


def test_a_kernel_that_nobody_was_told_of_is_not_blamed(
    kernel: tuple[Side, socket.socket],
) -> None:
    side, far = kernel
    send_report(far, Kind.FAILED, pack_text("torch.OutOfMemoryError: CUDA out of memory"))
    with pytest.raises(Stop) as stopped:
        side.expect(Kind.READY)
    outcome = stopped.value.outcome
    assert outcome.status is Status.INFRASTRUCTURE_ERROR
    assert outcome.again
    assert "out of memory" in outcome.reasons[0]
    far.close()
    with pytest.raises(Stop) as stopped:
        side.tell({"source": ""})
    assert stopped.value.outcome.again
    # Nor has its runner less time to begin with the device than the reference's.
    assert side._limit_s == REFERENCE_LIMIT_S


def test_from_then_on_it_is(kernel: tuple[Side, socket.socket]) -> None:
    side, far = kernel
    side.expose()
    side.enter(Phase.LOAD, 0.2)
    with pytest.raises(Stop) as stopped:
        side.expect(Kind.READY)
    assert stopped.value.outcome.status is Status.TIMEOUT
    far.close()
    with pytest.raises(Stop) as stopped:
        side.expect(Kind.READY)
    assert stopped.value.outcome.status is Status.RUNTIME_ERROR
    assert not stopped.value.outcome.again


def test_few_slots_make_no_shorter_blocks(kernel: tuple[Side, socket.socket]) -> None:
    """What is left open is a block's: of three calls it would be all of a short one."""
    side, _ = kernel
    side.arena, fd = create_host(Layout((), ()), 3)
    os.close(fd)
    nobody: Any = SimpleNamespace(can_mix=True)  # It is not called here.
    settings = EvaluatorConfig()
    scrutiny = Scrutiny(nobody, side, side, settings, calls=3, reference_ms=0.03)
    assert scrutiny._bare_calls() == settings.max_calls
    assert scrutiny._kept_calls() == 3


@pytest.mark.parametrize(("mixes", "calls"), [(True, 100), (False, 25)])
def test_short_calls_are_many_where_new_inputs_take_no_time(
    kernel: tuple[Side, socket.socket], mixes: bool, calls: int
) -> None:
    side, _ = kernel
    side.arena, fd = create_host(Layout((), ()), 102)
    os.close(fd)
    nobody: Any = SimpleNamespace(can_mix=mixes)
    scrutiny = Scrutiny(nobody, side, side, EvaluatorConfig(), calls=3, reference_ms=0.03)
    assert (scrutiny._bare_calls(), scrutiny._kept_calls()) == (calls, calls)
