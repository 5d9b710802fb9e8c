"""Vectors of kernels without a model: hashed token trigrams of length one.

The distance between two such vectors is L2, between 0 (the same tokens) and √2 (nothing in
common). White space and comments do not count. The longer a kernel, the less one change moves it:
a changed number is about 0.15 in a file of up to forty lines and 0.06 in one of more than eighty, a
renamed identifier 0.20 and 0.09 (medians of benchmarks/distances.py).
"""

from __future__ import annotations

import io
import re
import tokenize
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kbexp.candidate import Vector

DIMENSIONS = 1024
"""Length of a vector. A trigram adds or takes one, by its hash, so that what collides cancels on
average and distances are those of the counts themselves, give or take some percent."""

_TOKEN = re.compile(r"[^\W\d]\w*|\d[\w.]*|[^\w\s]")
_C_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_SKIPPED = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE})


class Trigrams:
    """An `Embedder` that asks nobody."""

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector of length one for each text; one without tokens is the zero vector."""
        return [embed(text).tolist() for text in texts]


def tokens(source: str) -> list[str]:
    """Split a kernel's source into tokens, without comments and white space.

    Strings are split too, because native code stands in them, and lose their C comments. A text
    that Python cannot tokenise is split as it is.
    """
    pieces: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type not in _SKIPPED:
                text = token.string
                pieces.append(_C_COMMENT.sub(" ", text) if "\n" in text else text)
    except (tokenize.TokenError, SyntaxError, ValueError):
        pieces = [source]
    return [word for piece in pieces for word in _TOKEN.findall(piece)]


def embed(source: str) -> npt.NDArray[np.float32]:
    """Return the source's token trigrams, hashed and signed, as a vector of length one."""
    words = ["", *tokens(source), ""]
    text = [
        "\0".join(trigram).encode("utf-8", "surrogatepass")
        for trigram in zip(words, words[1:], words[2:], strict=False)
    ]
    hashes = np.fromiter(map(zlib.crc32, text), np.int64, len(text))
    signs = np.where(hashes & DIMENSIONS, 1.0, -1.0)
    vector = np.bincount(hashes % DIMENSIONS, signs, DIMENSIONS)
    norm = float(np.linalg.norm(vector))
    return (vector / norm if norm else vector).astype(np.float32)
