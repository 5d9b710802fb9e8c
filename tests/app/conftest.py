"""A model server on loopback that answers by a script, and runs that several tests look at."""

from __future__ import annotations

import contextlib
import fcntl
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

KEY = "sk-that-must-appear-nowhere"

SMALL = [
    "debug=default",
    "task=softmax",
    "task.sizes.rows=64",
    "task.sizes.cols=128",
    "evaluator.timing_s=0.2",
    "budget.wall_s=null",
    "logger=none",
]
"""A run of a few seconds, however long they take: four kernels of a task that takes no time."""

KERNEL = """
import torch


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1){mark}
"""


def answer_correctly(number: int, model: str) -> tuple[int, str]:
    """Return a right kernel, another one for every number; refuse the key of one model."""
    if model == "refused":
        return 401, "Incorrect API key provided"
    return 200, f"Softmax again.\n```python\n{KERNEL.format(mark=' + 0.0' * number)}```\n"


def embeddings(texts: list[str]) -> dict[str, Any]:
    """Return vectors that say where a text's characters are; every text has another one."""
    vectors = [[float(text.count(chr(i))) for i in range(32, 127)] for text in texts]
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1}}


@dataclass
class ModelServer:
    """`answer` maps a request's number, counted from 0, and its model to HTTP status and text.

    `embedded` are the texts that it was asked to embed.
    """

    url: str = ""
    answer: Callable[[int, str], tuple[int, str]] = answer_correctly
    requests: list[dict] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def settings(self) -> list[str]:
        return [
            "llm.model=openai/scripted",
            f"llm.api_base={self.url}/v1",
            "llm.api_key_env=SCRIPTED_KEY",
            "llm.max_retries=0",
            "llm.input_usd_per_mtok=1",
            "llm.output_usd_per_mtok=2",
        ]


@contextlib.contextmanager
def serving() -> Iterator[ModelServer]:
    """Serve until the block ends."""
    server = ModelServer()
    server.gate.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/embeddings"):
                server.embedded += body["input"]
                self.reply(200, embeddings(body["input"]))
                return
            number = len(server.requests)
            server.requests.append(body)
            server.gate.wait(60)
            status, text = server.answer(number, body["model"])
            message = {"role": "assistant", "content": text}
            reply = (
                {
                    "id": str(number),
                    "object": "chat.completion",
                    "created": 0,
                    "model": "scripted",
                    "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                    "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
                }
                if status == 200
                else {"error": {"message": text, "type": "error", "code": str(status)}}
            )
            self.reply(status, reply)

        def reply(self, status: int, reply: dict[str, Any]) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        server.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield server
        server.gate.set()
        listening.shutdown()


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    """A server of this test's own."""
    with serving() as server:
        yield server


@dataclass(frozen=True)
class Finished:
    """A program that has ended, and the folder it was started in."""

    folder: Path
    returncode: int
    stdout: str
    stderr: str

    def run(self, number: int) -> Path:
        """Return the folder of one run of a sweep."""
        (found,) = self.folder.glob(f"outputs/sweeps/*/{number}_*")
        return found


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Finished:
    """A sweep of two runs as a person starts it: the model's key is refused in the first.

    It takes long enough for all processes that run tests to share one.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, ended = shared / "sweep", shared / "sweep.json"
    with (shared / "sweep.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ended.exists():
            shutil.rmtree(folder, ignore_errors=True)  # The process that began it may have died.
            folder.mkdir()
            ended.write_text(json.dumps(swept(folder, repository)))
        return Finished(folder, **json.loads(ended.read_text()))


def swept(folder: Path, repository: Path) -> dict[str, Any]:
    with serving() as server:
        arguments = [
            *SMALL, *server.settings(), "logger=mlflow", "seed=7", "confirm.kernels=2",
            "task.confirm_sizes=[{rows: 32}]", "llm.model=openai/refused,openai/scripted",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, str(repository / "run.py"), "-m", *arguments],
            cwd=folder,
            env=os.environ | {"SCRIPTED_KEY": KEY},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    return {"returncode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}


@pytest.fixture(scope="session")
def small_run() -> list[str]:
    """The settings of a run of a few seconds."""
    return SMALL


@pytest.fixture(scope="session")
def result_of() -> Callable[[Path], dict[str, Any]]:
    """Read a run's `result.json`."""

    def read(folder: Path) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return record

    return read


@pytest.fixture(scope="session")
def events_of() -> Callable[[Path], list[dict[str, Any]]]:
    """Read a run's journal."""

    def read(folder: Path) -> list[dict[str, Any]]:
        lines = (folder / "journal.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    return read
