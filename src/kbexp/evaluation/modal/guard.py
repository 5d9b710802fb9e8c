"""What a container may make this process do: nothing.

Modal's client reads results with `pickle`, which runs what the bytes name. Results here are bytes
objects and errors, so nothing else may be named: a container that a kernel has broken out into can
send what it likes, and gets no hold on the machine where keys and results are.
"""

from __future__ import annotations

import builtins
from typing import Any

from kbexp.errors import EvaluatorUnavailable

ALLOWED_MODULES = ("modal.exception", "builtins")


def guard_results() -> None:
    """Restrict what results can name, in this process and for good.

    Raises EvaluatorUnavailable where this version of Modal reads results in another way.
    """
    from modal import _serialization

    reader = getattr(_serialization, "Unpickler", None)
    if reader is None or not hasattr(reader, "find_class"):
        raise EvaluatorUnavailable(
            "This version of Modal reads results in a way that kbexp cannot restrict; install "
            "the version of constraints.txt."
        )
    reader.find_class = _find_class
    reader.persistent_load = _refuse


def _find_class(reader: object, module: str, name: str) -> Any:
    """Return an exception's class, the only thing that an answer may name."""
    import pickle

    if module in ALLOWED_MODULES and "." not in name:
        found: object = getattr(_module(module), name, None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
    raise pickle.UnpicklingError(f"a container's answer names {module}.{name}"[:200])


def _module(name: str) -> Any:
    import modal.exception

    return builtins if name == "builtins" else modal.exception


def _refuse(reader: object, _: object) -> Any:
    import pickle

    raise pickle.UnpicklingError("a container's answer names an object of Modal's")
