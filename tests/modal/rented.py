"""Evaluators over the local Modal, as small as they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kernels import quick
from local_modal.driver import Driver

from kbexp.config import ContainerConfig, EvaluatorConfig, GpuConfig, ImageConfig, Provider
from kbexp.evaluation.modal.evaluator import ModalEvaluator
from kbexp.kernel import Kernel

SLOW_S = 0.2
"""A kernel that waits so long in every call is judged for a second or two."""

SOFTMAX = """
import time, torch

class ModelNew(torch.nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(cols) + 0.5)

    def forward(self, x):
        time.sleep({wait_s})
        return torch.softmax(x * self.weight, dim=-1)  # {mark}
"""


@pytest.fixture(scope="module")
def unguarded() -> Iterator[None]:
    """What results may name is restricted by an evaluator for good; other tests rely on more."""
    from modal._serialization import Unpickler

    with pytest.MonkeyPatch.context() as patch:
        for name in ("find_class", "persistent_load"):
            patch.setattr(Unpickler, name, getattr(Unpickler, name))
        yield


def rented(**changes: Any) -> GpuConfig:
    """Return the settings of a container without a device, of known price."""
    box = ContainerConfig(
        cores=1.0, core_usd_per_s=0.01, gib_usd_per_s=0.0, image=ImageConfig(base="")
    )
    values = {"name": "modal_cpu", "provider": Provider.modal, "container": box, **changes}
    return GpuConfig(**values)


def opened(settings: EvaluatorConfig | None = None, **changes: Any) -> ModalEvaluator:
    """Return an evaluator that is not entered yet."""
    return ModalEvaluator(rented(**changes), settings or quick())


def softmax(mark: object, wait_s: float = 0.0) -> Kernel:
    """Return a right kernel of its own; one that waits takes some seconds to be judged."""
    return Kernel(SOFTMAX.format(mark=mark, wait_s=wait_s))


def soon(true: Callable[[], object], timeout_s: float = 30.0) -> bool:
    """Wait until something is so."""
    end = time.monotonic() + timeout_s
    pause = threading.Event()
    while not true():
        if time.monotonic() > end:
            return False
        pause.wait(0.05)
    return True


def alive(modal: Driver) -> set[str]:
    """Return the names of the containers that live."""
    return {container["task_id"] for container in modal.containers()}


def busy(modal: Driver) -> dict[str, Any]:
    """Wait until a container works on an evaluation, and return it."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = [one for one in modal.containers() if one["working_on"]]
        return bool(found)

    assert soon(look, 60), "no container works on anything"
    return found[0]
