"""What a container may make this process do: nothing.

Modal's client reads results with `pickle`, which calls whatever the bytes name. Results here are
bytes objects, and errors are only ever shown, so whatever is named becomes a `RemoteError`. A
container that a kernel has broken out into can send what it likes: it gets no hold on the machine
where keys and results are, and cannot pass for an error of Modal's own.
"""

from __future__ import annotations

from kbexp.errors import EvaluatorUnavailable


def guard_results() -> None:
    """Restrict what results can name, in this process and for good.

    Raises EvaluatorUnavailable where this version of Modal reads results in another way.
    """
    import pickle

    from modal import _serialization

    reader = getattr(_serialization, "Unpickler", None)
    if not (isinstance(reader, type) and issubclass(reader, pickle.Unpickler)):
        raise EvaluatorUnavailable(
            "This version of Modal reads results in a way that kbexp cannot restrict; install "
            "the version of constraints.txt."
        )
    setattr(reader, "find_class", _remote_error)  # noqa: B010
    setattr(reader, "persistent_load", _refuse)  # noqa: B010


def _remote_error(reader: object, module: str, name: str) -> type[Exception]:
    """Return what stands for everything that an answer names."""
    from modal.exception import RemoteError

    del reader, module, name
    return RemoteError


def _refuse(reader: object, name: object) -> object:
    import pickle

    del reader, name
    raise pickle.UnpicklingError("a container's answer names an object of Modal's")
