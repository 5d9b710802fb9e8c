"""Judging kernels, wherever the device is: one interface and its backends."""

from __future__ import annotations

from kbexp.config import EvaluatorConfig, GpuConfig, Provider
from kbexp.evaluation.evaluator import Evaluator
from kbexp.verdict import Verdict

__all__ = ["Evaluator", "open_evaluator"]


def open_evaluator(gpu: GpuConfig, settings: EvaluatorConfig) -> Evaluator:
    """Return the evaluator for a device, to be entered with `with`.

    Raises a `KbexpError` where it is clear at once that nothing can be judged there.
    """
    from kbexp.evaluation.bound import with_bound
    from kbexp.evaluation.local import LocalEvaluator, cuda_devices

    def complete(verdict: Verdict) -> Verdict:
        return with_bound(verdict, gpu)

    if gpu.provider is Provider.cpu:
        return LocalEvaluator([("cpu", None)], settings, complete)
    if gpu.provider is Provider.local:
        names = cuda_devices()[: max(gpu.count, 1)]
        return LocalEvaluator([("cuda:0", name) for name in names], settings, complete)
    from kbexp.evaluation.modal.evaluator import ModalEvaluator

    return ModalEvaluator(gpu, settings, complete)
