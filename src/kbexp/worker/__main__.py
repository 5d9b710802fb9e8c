"""`python -m kbexp.worker --device cpu`: a worker that is spoken to over its standard streams.

One JSON object a line. It first says `{"ready": {...}}` or `{"failed": sentence}`; a request is
`{"id", "task": {"name", "source"}, "kernel", "settings"}`, an answer `{"id", "verdict": {...}}` or
`{"id", "error": {"kind", "text"}}`. A request may name a `parcel`, a file with what was built of
the kernel elsewhere. One with `ahead: {"device", "capability"}` asks only to build for that device:
the answer is `{"id", "built": folder or null}`, or the verdict where it ends there. The worker ends
when its input does, whatever it is doing, and leaves nothing running.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from kbexp.config import EvaluatorConfig
from kbexp.errors import KbexpError
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Verdict
from kbexp.worker.worker import Worker


def main() -> int:
    """Serve requests until the end of the input; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kbexp.worker", description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, or a torch device such as cuda:0")
    parser.add_argument("--settings", default="{}", help="an EvaluatorConfig as JSON")
    arguments = parser.parse_args()
    # Whatever libraries print must not end up between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    # Ctrl-C goes to the whole group; the owner of this process decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = Worker(arguments.device, EvaluatorConfig(**json.loads(arguments.settings)))
    requests: queue.Queue[str] = queue.Queue()
    ending = threading.Event()
    threading.Thread(target=watch, args=(worker, requests, ending), daemon=True).start()
    try:
        worker.start()
        say(answers, {"ready": {"isolation": worker.isolation}})
        while True:
            say(answers, answer(worker, json.loads(requests.get())))
    except KbexpError as error:
        say(answers, {"failed": str(error)})
        worker.abandon()
        return error.exit_code
    except BrokenPipeError:
        worker.abandon()
        return 0
    except Exception:
        if not ending.is_set():
            raise
        # What is dropped in its middle may fail in any way: `watch` ends this process.
        threading.Event().wait()
        return 0


def watch(worker: Worker, requests: queue.Queue[str], ending: threading.Event) -> None:
    """Take requests in; at the end of the input, drop what is being judged and end at once."""
    for line in sys.stdin:
        requests.put(line)
    ending.set()
    worker.abandon()
    os._exit(0)


def answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    """Judge what one request asks for and return the answer to it."""
    task = Task(request["task"]["name"], request["task"]["source"])
    settings = EvaluatorConfig(**request["settings"])
    kernel = Kernel(request["kernel"])
    ahead, parcel = request.get("ahead"), request.get("parcel")
    try:
        if ahead is not None:
            built = worker.build_ahead(task, kernel, settings, ahead["device"], ahead["capability"])
            if not isinstance(built, Verdict):
                return {"id": request["id"], "built": str(built) if built else None}
            verdict = built
        else:
            verdict = worker.evaluate(task, kernel, settings, Path(parcel) if parcel else None)
    except KbexpError as error:
        return {"id": request["id"], "error": {"kind": type(error).__name__, "text": str(error)}}
    return {"id": request["id"], "verdict": verdict.to_record()}


def say(answers: TextIO, message: dict[str, Any]) -> None:
    """Write one line."""
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
