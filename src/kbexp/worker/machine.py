"""On what a verdict was reached: the device's own name and the versions that matter."""

from __future__ import annotations

import platform
from pathlib import Path

from kbexp.worker.conditions import gpu_of


def environment(device: str) -> dict[str, str]:
    """Return the fingerprint of this machine and process; may make a CUDA context."""
    import numpy
    import torch

    found = {
        "device_name": device_name(device),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": str(numpy.__version__),
        "platform": platform.platform(),
        "threads": str(torch.get_num_threads()),
    }
    if device != "cpu":
        major, minor = torch.cuda.get_device_capability(device)
        found["compute_capability"] = f"{major}.{minor}"
        found["cuda"] = str(torch.version.cuda)
        properties = torch.cuda.get_device_properties(device)
        found["memory_bytes"] = str(properties.total_memory)
        cache = getattr(properties, "L2_cache_size", 0)
        if cache:
            found["l2_bytes"] = str(cache)
        gpu = gpu_of(device)
        driver = gpu.driver if gpu is not None else None
        if driver is not None:
            found["driver"] = driver
    return found


def global_state() -> dict[str, str]:
    """Return torch's settings that can change a kernel's speed or its answers.

    Those of a fresh process, where nothing has touched them yet: both runners start from the same.
    """
    import torch

    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return {
        "threads": str(torch.get_num_threads()),
        "interop_threads": str(torch.get_num_interop_threads()),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "tf32_matmul": _said(cuda.allow_tf32),
        "tf32_cudnn": _said(cudnn.allow_tf32),
        "cudnn_benchmark": _said(cudnn.benchmark),
        "deterministic": _said(torch.are_deterministic_algorithms_enabled()),
    }


def _said(flag: object) -> str:
    return "yes" if flag else "no"


def device_name(device: str) -> str:
    """Return the device's own name for itself."""
    if device == "cpu":
        return processor_name()
    import torch

    return str(torch.cuda.get_device_name(device))


def processor_name() -> str:
    """Return the processor's model name, with the number of its cores this process may use."""
    import os

    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name} x{len(os.sched_getaffinity(0))}"
