"""What a figure was measured on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform

import kbexp
from kbexp.worker.machine import processor_name


def machine() -> dict[str, str]:
    """Return the machine's name, its software and the date."""
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor_name(),
        "cores": str(len(os.sched_getaffinity(0))),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": importlib.metadata.version("torch"),
        "kbexp": kbexp.__version__,
    }
