"""A connection that is lost in mid-run: what is waited for is waited for again, for a while."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from kernels import TASK, quick
from rented import SLOW_S, busy, rented, softmax, soon, unguarded  # noqa: F401

from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation import open_evaluator
from kbexp.evaluation.modal import connection
from kbexp.task import Task

if TYPE_CHECKING:
    from local_modal import LocalModal

SMALL = Task("small", TASK)
pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("unguarded")]


def test_a_break_costs_no_verdict_and_is_said_once(
    local_modal: LocalModal, capfd: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    with open_evaluator(rented(), quick(), said.append) as evaluator:
        future = evaluator.submit(SMALL, softmax("break", SLOW_S))
        container = busy(local_modal)["task_id"]
        local_modal.listening(False)
        assert soon(lambda: said)
        local_modal.listening(True)
        verdict = future.result(timeout=90)
    assert verdict.correct
    assert verdict.environment["container"] == container
    assert local_modal.inputs()["deliveries"] == local_modal.inputs()["total"]  # Judged once.
    assert len(said) == 2
    assert "connection to Modal is gone" in said[0]
    assert "answers again" in said[1]
    assert "Traceback" not in capfd.readouterr().err


def test_it_is_given_up_after_a_while_and_what_lives_on_is_counted(
    local_modal: LocalModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE_S", 1.0)
    evaluator = open_evaluator(rented(), quick(), [].append)
    with evaluator:
        future = evaluator.submit(SMALL, softmax("gone", SLOW_S))
        busy(local_modal)
        local_modal.listening(False)
        with pytest.raises(EvaluatorUnavailable, match=r"could not be reached .* resume=FOLDER"):
            future.result(timeout=90)
        before = evaluator.billed_usd
    local_modal.listening(True)
    assert before is not None
    # At one cent a second: until Modal has noticed, and the container has ended.
    assert (evaluator.billed_usd or 0.0) >= before + 0.9


def test_heartbeats_that_fail_print_nothing() -> None:
    from modal._utils.async_utils import logger

    connection.quiet_client()
    connection.quiet_client()

    def shown(text: str) -> bool:
        record = logger.makeRecord(logger.name, logging.ERROR, "", 0, text, (), None)
        return bool(logger.filter(record))

    assert not shown("Loop attempt for run.<locals>.heartbeat failed")
    assert shown("Something else")
    assert len(logger.filters) == len(set(logger.filters))


UNFINISHED = """
import asyncio, sys, threading
from kbexp.evaluation.modal import connection

async def upload(ready):
    for _ in range(10**6):  # as Modal's client does, each in a thread of the loop's pool
        await asyncio.to_thread(lambda: None)
        ready.set()

async def client(ready):
    task = asyncio.create_task(upload(ready))
    await asyncio.wait([task])

if sys.argv[1] == "quiet":
    connection.quiet_client()
ready = threading.Event()
threading.Thread(target=lambda: asyncio.run(client(ready)), daemon=True).start()
ready.wait()
import atexit, time
atexit.register(time.sleep, 0.5)  # as the client waits for its thread
"""


@pytest.mark.parametrize("how", ["as it is", "quiet"])
def test_an_upload_cut_by_the_end_of_the_program_prints_nothing(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNFINISHED, how], capture_output=True, text=True, check=True
    )
    assert ("cannot schedule new futures" in done.stderr) == (how != "quiet"), done.stderr


def test_an_outage_ends_when_the_evaluator_is_closed() -> None:
    from modal.exception import ConnectionError as NoConnection

    closing = threading.Event()
    closing.set()
    said: list[str] = []

    def fails() -> None:
        raise NoConnection("no route")

    with pytest.raises(NoConnection):
        connection.Connection(said.append, closing).reach(fails)
    assert said == []
