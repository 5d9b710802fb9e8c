"""Clients that are not let in, do not get through, or are gone; and the service by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from local_modal import LocalModal

pytestmark = pytest.mark.timeout(120)

CLIENT = """
import sys, modal, sample_app
app, sample = sample_app.make_app()
with app.run():
    sample().sleep.remote(600, sys.argv[1])
"""


def test_a_token_that_is_not_valid(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    local_modal.set_faults(refuse_tokens=True)
    app, _ = sample_app.make_app()
    with pytest.raises(modal.exception.AuthError, match="not valid"), app.run():
        pass


def test_nobody_listens(local_modal: LocalModal) -> None:
    import modal
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        assert sample().add.remote(1) == 1
        local_modal.listening(False)
        with pytest.raises(modal.exception.ConnectionError):
            sample().add.remote(1)
        local_modal.listening(True)
        assert sample().add.remote(2) == 2


def test_no_answer_for_a_while(local_modal: LocalModal) -> None:
    import sample_app

    app, sample = sample_app.make_app()
    with app.run():
        assert sample().add.remote(1) == 1
        local_modal.set_faults(silent=True)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(sample().add.remote, 2)
            while local_modal.record()["requests"]["FunctionMap"] < 2:
                time.sleep(0.01)
            assert not answer.done()
            assert len(local_modal.containers()) == 1
            local_modal.set_faults(silent=False)
            assert answer.result(30) == 2


@pytest.mark.parametrize(
    ("profile", "message"),
    [("", "Token missing"), ("nobody", "Modal profile 'nobody' was not found")],
)
def test_a_client_that_is_nobody(local_modal: LocalModal, profile: str, message: str) -> None:
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "MODAL_PROFILE": profile}
    del variables["MODAL_TOKEN_ID"]
    client = subprocess.run(
        [sys.executable, "-c", CLIENT, ""], env=variables, capture_output=True, text=True
    )
    assert "AuthError" in client.stderr
    assert message in client.stderr
    assert local_modal.record()["requests"] == {}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_is_gone(
    local_modal: LocalModal, tmp_path: Path, number: signal.Signals
) -> None:
    note = tmp_path / "note"
    heard = {"MODAL_HEARTBEAT_INTERVAL": "0.2", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", CLIENT, str(note)]
    with subprocess.Popen(command, env=os.environ | heard, stderr=subprocess.DEVNULL) as client:
        local_modal.wait_busy()
        while not note.exists():
            time.sleep(0.02)
        for _ in range(4):
            client.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(20)
                break
    local_modal.set_faults(heartbeat_timeout_s=1.0)
    assert local_modal.wait_containers(0) == []
    expected = "KEYBOARD_INTERRUPT" if number == signal.SIGINT else "its client was not heard of"
    assert expected in local_modal.apps()[0]["stopped_why"]


def test_the_service_in_a_process_of_its_own(tmp_path: Path) -> None:
    from local_modal import OverHttp

    here = str(Path(__file__).parent)
    variables = os.environ | {"PYTHONPATH": here}
    command = [sys.executable, "-m", "local_modal"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables
    ) as service:
        assert service.stdout is not None
        lines = iter(service.stdout.readline, "\n")
        given = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)
        driver = OverHttp(given["LOCAL_MODAL_CONTROL"])
        script = CLIENT.replace("sleep.remote(600, sys.argv[1])", "fail.remote('so be it')")
        client = subprocess.run(
            [sys.executable, "-c", script],
            env=variables | given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "ValueError: so be it" in client.stderr
        assert driver.wait_containers(0) == []
        assert [one["answered"] for one in driver.containers(live=False)] == [1]
        assert service.stdin is not None
        service.stdin.close()
        assert service.wait(30) == 0
    assert not Path(given["MODAL_CONFIG_PATH"]).parent.exists()
