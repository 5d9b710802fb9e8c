"""On what a verdict was reached: the device's own name and the versions that matter."""

from __future__ import annotations

import platform
from pathlib import Path


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
        found["memory_bytes"] = str(torch.cuda.get_device_properties(device).total_memory)
    return found


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
