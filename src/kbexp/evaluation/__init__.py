"""Judging kernels, wherever the device is: one interface and its backends."""

from __future__ import annotations

from kbexp.config import EvaluatorConfig, GpuConfig, Provider
from kbexp.errors import EvaluatorUnavailable
from kbexp.evaluation.evaluator import Evaluator
from kbexp.verdict import Verdict

__all__ = ["Evaluator", "open_evaluator"]


def open_evaluator(gpu: GpuConfig, settings: EvaluatorConfig) -> Evaluator:
    """Return the evaluator for a device, to be entered with `with`.

    Raises `EvaluatorUnavailable` where it is clear at once that nothing can be judged there.
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
    raise EvaluatorUnavailable(
        f"gpu={gpu.name} is a rented GPU, and judging on Modal is not built yet; use gpu=local on "
        "a machine with a CUDA device, or gpu=cpu."
    )
