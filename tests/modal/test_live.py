"""The real service, for people with an account: `pytest -m live tests/modal`. Costs a few cents.

Everything is measured where nothing else can be: no figure decides, only that it works.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from kernels import TASK, compiled_kernel, quick
from rented import softmax

from kbexp.app import configuration
from kbexp.config import GpuConfig, RunConfig
from kbexp.evaluation import open_evaluator
from kbexp.task import Task

SMALL = Task("small", TASK)
pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def an_account() -> None:
    if not (os.environ.get("MODAL_TOKEN_ID") or (Path.home() / ".modal.toml").exists()):
        pytest.skip("there is no token of Modal's here: `modal token new` makes one")
    if "127.0.0.1" in os.environ.get("MODAL_SERVER_URL", ""):
        pytest.skip("the client of this process speaks to the local Modal: run these tests alone")


def gpu_named(repository: Path, name: str, **changes: Any) -> GpuConfig:
    from hydra import compose, initialize_config_dir

    configuration.register(repository / "conf")
    with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
        gpu = configuration.typed(compose("config", overrides=[f"gpu={name}"]), RunConfig).gpu
    for key, value in changes.items():
        setattr(gpu, key, value)
    return gpu


def test_a_container_without_a_gpu_judges(repository: Path) -> None:
    with open_evaluator(gpu_named(repository, "modal_cpu"), quick()) as evaluator:
        verdicts = [evaluator.evaluate(SMALL, softmax(number)) for number in range(3)]
        assert all(verdict.correct for verdict in verdicts), verdicts
        assert len({verdict.environment["container"] for verdict in verdicts}) == 1
        built = evaluator.evaluate(SMALL, compiled_kernel())
        assert built.correct, built
        assert evaluator.billed_usd
    print([verdict.isolation for verdict in verdicts], evaluator.billed_usd)


def test_the_cheapest_gpu_judges_and_says_what_it_is(repository: Path) -> None:
    gpu = gpu_named(repository, "t4")
    with open_evaluator(gpu, quick(memory_bytes=8 * 2**30)) as evaluator:
        verdict = evaluator.evaluate(SMALL, softmax("gpu"))
    assert verdict.correct, verdict
    assert verdict.device in gpu.own_names
    print(verdict.isolation, verdict.environment, evaluator.billed_usd)


def test_a_deployed_app_is_made_used_and_stopped(repository: Path) -> None:
    from kbexp.evaluation.modal.deployed import deploy, find, stop

    gpu = gpu_named(repository, "modal_cpu", deployed=True, idle_timeout_s=60)
    deploy(gpu, quick())
    try:
        with open_evaluator(gpu, quick()) as evaluator:
            assert evaluator.evaluate(SMALL, softmax("deployed")).correct
        assert find(gpu) is not None
    finally:
        assert stop(gpu)
    assert find(gpu) is None
