"""Whom the judge blames for what goes wrong with a runner."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from kbexp.verdict import Phase, Status
from kbexp.worker.outcome import Stop
from kbexp.worker.report import Kind, pack_text, send_report
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


def test_what_its_judge_does_meanwhile_takes_nothing_of_its_time(
    kernel: tuple[Side, socket.socket],
) -> None:
    """A generator of inputs may take longer than a kernel's limit."""
    side, _ = kernel
    before = side._deadline
    with side.apart():
        time.sleep(0.05)
    assert side._deadline >= before + 0.05
