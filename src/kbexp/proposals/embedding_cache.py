"""Embeddings that were paid for, one small file each in the user's cache folder.

A file is a line that says what it is and numbers after it. What is read from there is believed no
more than any other file: its size is checked before it is read, its line must be the one expected,
and the numbers must make a vector of length one.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kbexp.kernel import text_id

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MAX_DIMENSIONS = 16_384
"""More numbers than any embedding model gives; the largest known have 4,096."""

_NUMBER_BYTES = 4
_LENGTH_ERROR = 1e-3


def default_folder() -> Path:
    """Return the folder of embeddings in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kbexp" / "embeddings"


class EmbeddingCache:
    """Vectors of one model by texts, each named by its `text_id`. Losing one costs a call only.

    `model` names the model and whatever else its vectors depend on.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self._model_id = text_id(model)
        self.folder = folder / self._model_id

    def find(self, text: str) -> npt.NDArray[np.float32] | None:
        """Return the vector of a text, None where there is none that can be believed."""
        import numpy as np

        head = self._head(text)
        data = _read(self._path(text), len(head) + _NUMBER_BYTES * MAX_DIMENSIONS)
        if data is None or not data.startswith(head):
            return None
        numbers = data[len(head) :]
        if not numbers or len(numbers) % _NUMBER_BYTES:
            return None
        vector = np.frombuffer(numbers, dtype="<f4").astype(np.float32)
        with np.errstate(all="ignore"):
            length = float(np.linalg.norm(vector.astype(np.float64)))
        # NaN is not within anything.
        return vector if abs(length - 1.0) <= _LENGTH_ERROR else None

    def keep(self, text: str, vector: npt.NDArray[np.float32]) -> None:
        """Keep a vector, whole or not at all; where that cannot be done, it is not kept."""
        path = self._path(text)
        data = self._head(text) + vector.astype("<f4").tobytes()
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    def _head(self, text: str) -> bytes:
        return f"kbexp-embedding 1 {self._model_id} {text}\n".encode("ascii")

    def _path(self, text: str) -> Path:
        return self.folder / text[:2] / text


def _read(path: Path, most_bytes: int) -> bytes | None:
    """Return a plain file's content, None where there is no such file or it is too large."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_size > most_bytes:
            return None
        with os.fdopen(os.dup(fd), "rb") as file:
            data = file.read(most_bytes + 1)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if len(data) <= most_bytes else None
