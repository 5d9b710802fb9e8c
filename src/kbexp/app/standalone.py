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
    parts = (
        kbexp_check, kbexp_seed, kbexp_calm, kbexp_task, kbexp_each, kbexp_answers, kbexp_compare,
        kbexp_times,
    )  # fmt: skip
    check = "\n\n".join(inspect.getsource(part) for part in parts)
    calls = ["kbexp_calm()"] if device == "cpu" else []
    calls.append(f"kbexp_check(ModelNew, __file__, {device!r})")
    main = "".join(f"    {call}\n" for call in calls)
    return (
        f"{source}\n\n\n{MARKER}\nfrom typing import Any\n\n\n{check}\n\n"
        f'if __name__ == "__main__":\n{main}'
    )


def kernel_text(text: str) -> str:
    """Return the kernel's own text from what `standalone` returned."""
    return text.partition(f"\n\n\n{MARKER}\n")[0]


def kbexp_check(model_new: type, file: str, device: str) -> None:
    """Check a kernel on three inputs, time it in turns with the reference, print both times."""
    import sys

    import torch

    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("This kernel was found on a CUDA device, and torch sees none here.")
    task = kbexp_task(file)
    with torch.no_grad():
        arguments = task.get_init_inputs()
        models = []
        for kind in (task.Model, model_new):
            kbexp_seed(1)
            models.append(kind(*arguments).to(device))
        for seed in range(3):
            kbexp_seed(seed)
            inputs = kbexp_each(list(task.get_inputs()), lambda x: x.detach().to(device))
            kbexp_compare(models, inputs)
        print(kbexp_times(models, inputs, device))


def kbexp_seed(seed: int) -> None:
    """Seed all generators of which weights and inputs may be drawn."""
    import random
    import sys

    import torch

    torch.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)


def kbexp_calm() -> None:
    """Start the program once more with settings that OpenMP and glibc read as a process begins.

    Left alone, OpenMP's threads spin while they wait: where other programs want the cores too, a
    call takes up to ten times as long. And it is chance whether freed memory is kept, or fetched
    from the system again in every call, and whether the next tensor is put where the last one was.
    """
    import os
    import sys

    settings = {
        "GOMP_SPINCOUNT": "3000",
        "KMP_BLOCKTIME": "0",
        "GLIBC_TUNABLES": "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=17179869184"
        ":glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
    }
    # Not where a notebook or another program runs this file: that would be started again.
    if "KBEXP_CALM" not in os.environ and sys.argv[0] in sys.orig_argv:
        environment = {**settings, **os.environ, "KBEXP_CALM": "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


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


def kbexp_each(value: Any, change: Any) -> Any:
    """Return a value with `change` done to every tensor in it, however deep in lists and dicts."""
    import torch

    if torch.is_tensor(value):
        return change(value)
    if isinstance(value, dict):
        return {key: kbexp_each(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [kbexp_each(item, change) for item in value]
        return items if isinstance(value, list) else tuple(items)
    return value


def kbexp_answers(model: Any, inputs: list[Any], change: Any) -> list[Any]:
    """Return the tensors of a model's answer, in order; `change` makes a copy of each input."""
    found: list[Any] = []
    kbexp_each(model(*kbexp_each(inputs, change)), found.append)
    return [tensor.detach() for tensor in found]


def kbexp_compare(models: list[Any], inputs: list[Any]) -> None:
    """End the program where the outputs of reference and kernel differ by more than is allowed.

    Where the reference itself is farther off from what it answers in float64, more is allowed.
    """
    import copy
    import sys

    import torch

    def wide(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)

    def precise(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor.clone()

    wanted, given = (kbexp_answers(model, inputs, torch.clone) for model in models)
    try:
        truths = kbexp_answers(copy.deepcopy(models[0]).double(), inputs, precise)
    except Exception:
        truths = []
    if len(given) != len(wanted):
        sys.exit("WRONG: the kernel has not as many outputs as the reference.")
    for number, (expected, actual) in enumerate(zip(wanted, given)):  # noqa: B905  (compared)
        want, got = wide(expected), wide(actual)
        if (want.shape, expected.dtype) != (got.shape, actual.dtype):
            sys.exit("WRONG: the kernel's output is not of the reference's shape and type.")
        finite = torch.isfinite(want)
        size = want[finite].abs().square().mean().sqrt().nan_to_num() + want.abs()
        rough = 1e-2 if expected.dtype in (torch.float16, torch.bfloat16) else 1e-4
        if not (expected.is_floating_point() or expected.is_complex()):
            rough = 0.0
        elif len(truths) == len(wanted) and truths[number].dtype == torch.float64:
            own = ((want - truths[number]).abs() / size)[finite & (size > 0)]
            if own.numel():
                error = float(own.max())
                most = 2 * error if 2 * error <= 64 * rough else 0.0
                rough = max(min(max(rough, 4 * error), 10 * rough), most)
        right = ((got - want).abs() <= rough * size) & finite
        if not bool((right | (got == want) | (got.isnan() & want.isnan())).all()):
            sys.exit("WRONG: the kernel's output is not the reference's.")


def kbexp_times(models: list[Any], inputs: list[Any], device: str) -> str:
    """Time reference and kernel in turns; return times, speedup and its spread in words."""
    import os
    import statistics
    import time

    import torch

    def lap(model: Any, calls: int) -> float:
        """Return the seconds of a call, the mean of several."""
        begin = time.perf_counter()
        for _ in range(calls):
            model(*inputs)
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begin) / calls

    def block(model: Any) -> float:
        """Return the median of some laps; the first two warm up."""
        return statistics.median([lap(model, calls) for _ in range(9)][2:])

    once = min(lap(models[0], 1) for _ in range(3))
    calls = max(1, min(50, int(0.004 / max(once, 1e-7))))
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + 5.0
    while len(pairs) < 4 or (len(pairs) < 50 and time.perf_counter() < end):
        if len(pairs) % 2:
            pairs.append((block(models[0]), block(models[1])))
        else:
            pairs.append((block(models[1]), block(models[0]))[::-1])
    reference_ms, kernel_ms = (
        statistics.median(column) * 1e3 for column in zip(*pairs, strict=True)
    )
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    busy = f"; this machine is busy, load {load:.1f} on {cores} cores" if load > cores else ""
    low, middle, high = statistics.quantiles([before / after for before, after in pairs], n=4)
    return (
        f"correct; reference {reference_ms:.4g} ms, kernel {kernel_ms:.4g} ms, speedup "
        f"{middle:.3g}x (half of {len(pairs)} pairs of blocks from {low:.3g} to {high:.3g}){busy}"
    )
