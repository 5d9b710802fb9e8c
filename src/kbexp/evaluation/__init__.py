"""Judging kernels, wherever the device is: one interface and its backends."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kbexp.config import EvaluatorConfig, GpuConfig, Provider
from kbexp.errors import KbexpError
from kbexp.evaluation.evaluator import Evaluator
from kbexp.verdict import Verdict

__all__ = ["Evaluator", "open_evaluator"]

log = logging.getLogger(__name__)


def open_evaluator(
    gpu: GpuConfig, settings: EvaluatorConfig, say: Callable[[str], None] = log.warning
) -> Evaluator:
    """Return the evaluator for a device, to be entered with `with`.

    `say` is told in sentences what a person should know of a rented device, from any thread.
    Raises a `KbexpError` where it is clear at once that nothing can be judged there.
    """
    from kbexp.evaluation.bound import with_bound
    from kbexp.evaluation.local import LocalEvaluator, cuda_devices

    def complete(verdict: Verdict) -> Verdict:
        return with_bound(verdict, gpu)

    if gpu.provider is not Provider.modal:
        _check_here(gpu)
    if gpu.provider is Provider.cpu:
        return LocalEvaluator([("cpu", None)], settings, complete)
    if gpu.provider is Provider.local:
        names = cuda_devices()[: max(gpu.count, 1)]
        return LocalEvaluator([("cuda:0", name) for name in names], settings, complete)
    from kbexp.evaluation.modal.evaluator import ModalEvaluator

    return ModalEvaluator(gpu, settings, complete, say)


def _check_here(gpu: GpuConfig) -> None:
    """Raise KbexpError for settings that only a rented device has a use for."""
    if gpu.deployed:
        raise KbexpError(
            f"gpu={gpu.name} is not rented, so nothing of it is deployed: leave gpu.deployed=true "
            "out, or give a rented device, such as gpu=h100."
        )
    if gpu.provider is Provider.cpu and gpu.count > 1:
        raise KbexpError(
            f"gpu={gpu.name} judges one kernel at a time, because two would disturb each other: "
            f"leave gpu.count={gpu.count} out."
        )
