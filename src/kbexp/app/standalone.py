"""The best kernel as a program of its own, for a machine with torch and nothing of kbexp."""

from __future__ import annotations

import inspect
from typing import Any

MARKER = (
    "# --- End of the kernel. What follows checks it against task.py, and is no part of it. ---"
)


def standalone(source: str, device: str) -> str:
    """Return a kernel's text with a part that checks and times it beside its `task.py`.

    `device` is cpu or cuda. The kernel's own text comes first, unchanged: its id is the hash of
    what stands before the marker and the blank lines that lead to it.
    """
    parts = (kbexp_check, kbexp_keep_memory, kbexp_task, kbexp_compare, kbexp_times)
    check = "\n\n".join(inspect.getsource(part) for part in parts)
    call = f"kbexp_check(ModelNew, __file__, {device!r})"
    return (
        f"{source}\n\n\n{MARKER}\nfrom typing import Any\n\n\n{check}\n\n"
        f'if __name__ == "__main__":\n    {call}\n'
    )


def kernel_text(text: str) -> str:
    """Return the kernel's own text from what `standalone` returned."""
    return text.partition(f"\n\n\n{MARKER}\n")[0]


def kbexp_check(model_new: type, file: str, device: str) -> None:
    """Check a kernel on three inputs, time it in turns with the reference, print both times."""
    import sys

    import torch

    kbexp_keep_memory()
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("This kernel was found on a CUDA device, and torch sees none here.")
    task = kbexp_task(file)
    with torch.no_grad():
        arguments = task.get_init_inputs()
        models = []
        for kind in (task.Model, model_new):
            torch.manual_seed(1)
            models.append(kind(*arguments).to(device))
        for seed in range(3):
            torch.manual_seed(seed)
            inputs = [x.to(device) if torch.is_tensor(x) else x for x in task.get_inputs()]
            kbexp_compare(models, inputs)
        print(kbexp_times(models, inputs, device))


def kbexp_keep_memory() -> None:
    """Have glibc keep freed memory (M_MMAP_MAX 0, M_TRIM_THRESHOLD large).

    Otherwise it is chance whether a call must fetch its memory from the system again, several
    times its own time.
    """
    import contextlib
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)
        libc.mallopt(-1, 2**31 - 1)


def kbexp_task(file: str) -> Any:
    """Return the module `task.py` that lies beside a file."""
    import importlib.util
    import pathlib
    import sys

    place = pathlib.Path(file).resolve().with_name("task.py")
    spec = importlib.util.spec_from_file_location("task", place)
    if spec is None or spec.loader is None or not place.is_file():
        sys.exit(f"The task is missing: {place} belongs beside the kernel.")
    task = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(task)
    return task


def kbexp_compare(models: list[Any], inputs: list[Any]) -> None:
    """End the program where the outputs of reference and kernel differ by more than is allowed."""
    import sys

    import torch

    both = []
    for model in models:
        found = model(*[x.clone() if torch.is_tensor(x) else x for x in inputs])
        both.append(list(found) if isinstance(found, (list, tuple)) else [found])
    for expected, actual in zip(*both, strict=True):
        rough = 1e-2 if expected.dtype in (torch.float16, torch.bfloat16) else 1e-4
        exact = not expected.is_floating_point()
        want, got = expected.double(), actual.double()
        allowed = 0.0 if exact else rough * (want.square().mean().sqrt() + want.abs())
        if want.shape != got.shape or not bool(((got - want).abs() <= allowed).all()):
            sys.exit("WRONG: the kernel's output is not the reference's.")


def kbexp_times(models: list[Any], inputs: list[Any], device: str) -> str:
    """Time reference and kernel in turns; return times, speedup and its spread in words."""
    import statistics
    import time

    import torch

    def seconds(model: Any, calls: int) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            model(*inputs)
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begin) / calls

    once = min(seconds(models[0], 1) for _ in range(3))
    calls = max(1, min(50, int(0.02 / max(once, 1e-7))))
    pairs = [[seconds(model, calls) for model in models] for _ in range(12)][2:]
    reference_ms, kernel_ms = (
        statistics.median(column) * 1e3 for column in zip(*pairs, strict=True)
    )
    speedups = sorted(reference / kernel for reference, kernel in pairs)
    return (
        f"correct; reference {reference_ms:.4g} ms, kernel {kernel_ms:.4g} ms, "
        f"speedup {statistics.median(speedups):.3g}x (from {speedups[0]:.3g} to "
        f"{speedups[-1]:.3g}: medians and ends of {len(pairs)} pairs of {calls} calls)"
    )
