"""The process that OpenEvolve runs in: `python -m kbexp.search.rivals.evolving.main FD FOLDER`.

`FOLDER` is its own, for all that it writes, and goes with it. OpenEvolve works out an iteration in
a process that it forks from this one; both use the socket `FD`, never at once, because there is a
single worker and this one waits for it.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from kbexp.search.rivals.wire import Line

ITERATIONS = 10**9
"""The search ends this process; OpenEvolve itself is to come to no end."""

_EVALUATION = "from kbexp.search.rivals.evolving.main import evaluate\n"

FENCE, STAND_IN = "```", "\u02cb\u02cb\u02cb"
"""OpenEvolve takes a program to end at the first fence; one in a kernel is put in other words."""

LINE: Line | None = None
"""The way to the search, in this process and in those that are forked from it."""


def evaluate(program_path: str) -> Any:
    """Return what the search knows of a program: OpenEvolve's evaluator."""
    from openevolve.evaluation_result import EvaluationResult

    text = Path(program_path).read_text(encoding="utf-8")
    told = _call({"judge": text.replace(STAND_IN, FENCE)})
    metrics = {"combined_score": float(told["score"])}
    if told["speedup"] is not None:
        metrics["speedup"] = float(told["speedup"])
    return EvaluationResult(metrics=metrics, artifacts={"feedback": str(told["feedback"])})


class Model:
    """OpenEvolve's model: the search asks for it."""

    def __init__(self, _: Any) -> None:
        pass

    async def generate(self, prompt: str, **_: Any) -> str:
        """Answer a prompt."""
        return await self.generate_with_context("", [{"role": "user", "content": prompt}])

    async def generate_with_context(
        self, system_message: str, messages: list[dict[str, str]], **_: Any
    ) -> str:
        """Answer a question; raises RuntimeError where the answer holds no kernel."""
        user = "\n\n".join(message["content"] for message in messages)
        reply = _call({"system": system_message, "user": user.replace(STAND_IN, FENCE)})
        if "kernel" not in reply:
            raise RuntimeError(str(reply.get("error", "")))
        return f"{FENCE}python\n{str(reply['kernel']).replace(FENCE, STAND_IN)}\n{FENCE}"


def _call(message: dict[str, Any]) -> dict[str, Any]:
    """Ask the search and wait for its answer; where it has gone, for the end of this process."""
    assert LINE is not None
    LINE.send(message)
    while (reply := LINE.receive()) is None:
        time.sleep(1.0)
    return reply


def _settings(seed: int) -> Any:
    """Return OpenEvolve's defaults, but for what a run needs that can be repeated."""
    from openevolve.config import Config, LLMModelConfig

    config = Config()
    config.random_seed = seed
    config.max_iterations = ITERATIONS
    config.checkpoint_interval = ITERATIONS
    config.log_level = "ERROR"
    config.language = "python"
    # Whole programs, of any length that a kernel may have.
    config.diff_based_evolution = False
    config.max_code_length = 2**20
    config.llm.models = [
        LLMModelConfig(name="kbexp", init_client=Model, api_key="none", api_base="none")
    ]
    config.evaluator.cascade_evaluation = False
    config.evaluator.parallel_evaluations = 1
    config.evaluator.max_retries = 0
    config.evaluator.timeout = ITERATIONS
    config.database.log_prompts = False
    return config


def _repeatable(seed: int) -> None:
    """Have programs named by the seed: where they stand in a set depends on their names."""
    names = random.Random(f"{seed}/names")

    def forked() -> None:
        names.seed(f"{seed}/names of the worker")

    os.register_at_fork(after_in_child=forked)
    uuid.uuid4 = lambda: uuid.UUID(int=names.getrandbits(128), version=4)


def _die_with_the_search(folder: Path) -> None:
    """End all processes of this session once the one that started it has gone."""

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: whoever is forked meanwhile would inherit its lock
            pass
        shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def main(descriptor: int, folder: Path) -> None:
    """Run OpenEvolve for the search at the other end of the socket."""
    global LINE
    _die_with_the_search(folder)
    LINE = Line(socket.socket(fileno=descriptor))
    start = LINE.receive()
    if start is None:
        return
    try:
        _evolve(int(start["seed"]), str(start["first"]), folder)
    except Exception as error:
        LINE.send({"failed": f"{type(error).__name__}: {error}"[:2000]})
    else:
        LINE.send({"over": True})


def _evolve(seed: int, first: str, folder: Path) -> None:
    from openevolve.controller import OpenEvolve

    program, evaluation = folder / "first.py", folder / "evaluation.py"
    program.write_text(first, encoding="utf-8")
    evaluation.write_text(_EVALUATION, encoding="utf-8")
    _repeatable(seed)
    evolution = OpenEvolve(str(program), str(evaluation), _settings(seed), str(folder / "out"))
    asyncio.run(evolution.run())


if __name__ == "__main__":
    # Under its own name: what OpenEvolve loads by path finds the same line.
    from kbexp.search.rivals.evolving import main as ours

    ours.main(int(sys.argv[1]), Path(sys.argv[2]))
