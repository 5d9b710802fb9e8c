"""What is found out before anything is paid for: folders, keys, servers of this machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from kbexp.app.checks import check_servers
from kbexp.config import LlmConfig, ModelConfig
from kbexp.errors import ModelUnavailable


@pytest.fixture
def port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
    return number


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.2"])
def test_a_server_of_this_machine_that_does_not_run_is_named(host: str, port: int) -> None:
    config = LlmConfig(name="o", model="ollama_chat/m", api_base=f"http://{host}:{port}/v1")
    with pytest.raises(ModelUnavailable, match=rf"{host}:{port}.*ollama_chat/m.*start it"):
        check_servers(config)
    one_of_two = LlmConfig(
        name="s", model="x/y", models=[ModelConfig(model="openai/a", api_base=config.api_base)]
    )
    with pytest.raises(ModelUnavailable, match="openai/a"):
        check_servers(one_of_two)


def test_a_server_that_listens_or_is_elsewhere_is_not_refused(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    def check(address: str | None) -> None:
        check_servers(LlmConfig(name="o", model="openai/m", api_base=address))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        check(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
    # Nothing of these is asked, so that no name is looked up and no proxy passed by.
    monkeypatch.setattr(socket, "create_connection", None)
    for address in (None, "", "https://models.invalid/v1", "http://192.0.2.1:9", "http://x:y:z"):
        check(address)
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    monkeypatch.setenv("no_proxy", "")
    check(f"http://localhost:{port}")


def test_a_run_without_its_models_server_ends_before_anything_is_judged(
    command_line: Any, tmp_path: Path, port: int, small_run: list[str]
) -> None:
    address = f"http://localhost:{port}"
    done = command_line("run.py", *small_run, "llm=ollama", f"llm.api_base={address}")
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert address in done.stderr
    assert list(tmp_path.iterdir()) == []
