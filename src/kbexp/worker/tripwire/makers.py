"""What comes out of calls that make a kernel, or open a library."""

from __future__ import annotations

import ast

from kbexp.worker.tripwire import words
from kbexp.worker.tripwire.values import Value, Values


def made_kernel(path: str, node: ast.Call, given: Values, library: str | None) -> Values:
    """Return what a call of a maker (`words.MAKERS`) gives.

    `given` is what its arguments may be, `library` the text of the first one where it is known. A
    library that is opened is what was built for it, where that was built here.
    """
    inner = tuple(value for value in given if value.kind == "own")
    if inner:
        return inner
    kind = words.MAKERS[path]
    if kind == "ctypes":
        first = node.args[0] if node.args else None
        if first is None or (isinstance(first, ast.Constant) and first.value is None):
            return (Value("path", "libc.process"),)
        if library is not None and (
            words.SYSTEM_BLAS.search(library) or words.SYSTEM_LIBRARY.match(library)
        ):
            return (Value("path", library[:80]),)
    if kind == "c++" and any(keyword.arg == "cuda_sources" for keyword in node.keywords):
        kind = "cuda"
    return (Value("own", kind),)
