"""A model server on loopback that speaks the usual chat protocol and answers by a script."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

KERNEL = """
import torch


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1){mark}
"""


def answer_correctly(number: int) -> tuple[int, str]:
    """Return a right kernel, another one for every number."""
    return 200, f"Softmax again.\n```python\n{KERNEL.format(mark=' + 0.0' * number)}```\n"


@dataclass
class ModelServer:
    """`answer` maps the number of a request, counted from 0, to HTTP status and text."""

    url: str = ""
    answer: Callable[[int], tuple[int, str]] = answer_correctly
    requests: list[dict] = field(default_factory=list)
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


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    server.gate.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            number = len(server.requests)
            server.requests.append(body)
            server.gate.wait(60)
            status, text = server.answer(number)
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
