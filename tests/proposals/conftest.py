"""A real OpenAI-compatible model server on loopback, and what the tests ask it with."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kbexp.candidate import Candidate, Proposal, ProposalRequest
from kbexp.config import LlmConfig
from kbexp.kernel import Kernel
from kbexp.proposals.device import DeviceFacts
from kbexp.proposals.litellm_setup import import_opto
from kbexp.task import Task
from kbexp.verdict import Interval, Phase, Status, Verdict

# Trace looks through all modules there are for each of its operators as it is imported: 4 s now,
# 15 s when the tests of a whole session have imported theirs.
import_opto()

KEY = "sk-test-0123456789-do-not-show"
TASK = Task(
    "softmax",
    "import torch\nclass Model(torch.nn.Module):\n    def forward(self, x):\n"
    "        return torch.softmax(x, -1)\n",
)
CPU = DeviceFacts(name="a CPU", kind="cpu", cores=2, features=("avx2",))
PARENT = Kernel("import torch\nclass ModelNew(torch.nn.Module):\n    pass  # the parent\n")


@dataclass
class Reply:
    """One scripted HTTP answer; `body` is sent as it is if it is bytes, else as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0


def completion(
    text: str | None,
    *,
    finish: str = "stop",
    model: str = "served",
    usage: dict[str, Any] | None = None,
    **reply: Any,
) -> Reply:
    """A chat completion as OpenAI words it."""
    used = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
    body = {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text},
            }
        ],
        "usage": used if usage is None else usage,
    }
    return Reply(body, **reply)


def failure(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """An error as OpenAI words it."""
    body = {"error": {"message": message, "type": "error", "code": code}}
    return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def letters(text: str) -> list[float]:
    """A vector that says how often each letter stands in a text, and how long the text is."""
    counts = [float(text.lower().count(chr(97 + i))) for i in range(26)]
    return [*counts, float(len(text))]


def embeddings(body: dict[str, Any]) -> Reply:
    """Embeddings as OpenAI words them, in another order than they were asked for."""
    data = [
        {"object": "embedding", "index": i, "embedding": letters(text)}
        for i, text in enumerate(body["input"])
    ]
    used = {"prompt_tokens": 10 * len(data), "total_tokens": 10 * len(data)}
    return Reply({"object": "list", "data": data[::-1], "model": body["model"], "usage": used})


class ModelServer(ThreadingHTTPServer):
    """Answers chat completions from a script; the last entry is repeated.

    An entry is a Reply, or a function of the request's body that returns one. Embeddings have a
    script of their own, which is empty at first: every text then gets the vector of its letters.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Reply | Callable[[dict[str, Any]], Reply]] = []
        self.requests: list[dict[str, Any]] = []
        self.embedding_script: list[Reply | Callable[[dict[str, Any]], Reply]] = []
        self.embedding_requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def next_reply(self, path: str, body: dict[str, Any], key: str) -> Reply:
        embeds = path.endswith("/embeddings")
        requests = self.embedding_requests if embeds else self.requests
        script = (self.embedding_script or [embeddings]) if embeds else self.script
        with self.lock:
            entry = script[min(len(requests), len(script) - 1)]
            requests.append(body)
            self.keys.append(key)
        return entry if isinstance(entry, Reply) else entry(body)


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        reply = self.server.next_reply(self.path, body, self.headers.get("authorization", ""))
        time.sleep(reply.delay_s)
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        try:
            self.send_response(reply.status)
            for name, value in {"content-type": "application/json", **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            if reply.drip_s:
                for i in range(len(data)):
                    self.wfile.write(data[i : i + 1])
                    self.wfile.flush()
                    time.sleep(reply.drip_s)
            else:
                self.wfile.write(data)
        except OSError:
            pass  # The client gave up, as it should.


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(
    model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., LlmConfig]:
    """Settings for the server on loopback, with waits too short to notice."""
    monkeypatch.setenv("KBEXP_TEST_API_KEY", KEY)

    def make(**changes: Any) -> LlmConfig:
        given: dict[str, Any] = {
            "name": "test",
            "model": "openai/served",
            "api_base": model_server.url,
            "api_key_env": "KBEXP_TEST_API_KEY",
            "max_retries": 2,
            "retry_initial_s": 0.001,
            "timeout_s": 10.0,
        }
        return LlmConfig(**(given | changes))

    return make


def verdict(status: Status = Status.CORRECT, **changes: Any) -> Verdict:
    """A verdict on the parent."""
    given: dict[str, Any] = {
        "kernel_id": PARENT.id,
        "task_id": TASK.id,
        "status": status,
        "phase": Phase.TIMING if status is Status.CORRECT else Phase.CORRECTNESS,
        "device": "cpu",
        "isolation": "none",
    }
    if status is Status.CORRECT:
        given |= {
            "time_ms": Interval(2.0, 1.9, 2.1),
            "reference_ms": Interval(3.0, 2.9, 3.1),
            "speedup": Interval(1.5, 1.4, 1.6),
        }
    return Verdict(**(given | changes))


def request(
    number: int = 0, *others: Candidate, summary: str = "", seed: int = 7
) -> ProposalRequest:
    """A request to improve the parent."""
    parent = Candidate(PARENT, 0, verdicts=[verdict()])
    return ProposalRequest(number, (parent, *others), seed, summary)


def proposal(number: int, kernel: Kernel | None, model: str, *, error: str = "") -> Proposal:
    """An answer that a model gave to improve the parent."""
    return Proposal(number, (PARENT.id,), kernel, error=error, model=model)


@pytest.fixture
def kit() -> Any:
    """The names above, for tests: modules in this folder are not importable by name."""
    import types

    return types.SimpleNamespace(
        CPU=CPU,
        KEY=KEY,
        PARENT=PARENT,
        TASK=TASK,
        Reply=Reply,
        completion=completion,
        embeddings=embeddings,
        letters=letters,
        failure=failure,
        proposal=proposal,
        request=request,
        verdict=verdict,
    )
