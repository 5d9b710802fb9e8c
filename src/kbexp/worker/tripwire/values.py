"""What an expression may stand for, as plain data: a library's name, a tensor, a kernel, …"""

from __future__ import annotations

from typing import NamedTuple

from kbexp.worker.tripwire import words
from kbexp.worker.tripwire.index import Scope

MAX_VALUES = 12
MAX_PARTS = 40


class Value(NamedTuple):
    """One thing that an expression may be.

    `kind`: path (a dotted name of a package), made (an instance of one), tensor, plain (a number,
    a shape), own (a kernel of one's own; `text` is its kind), result (what one returned), def (a
    function or class of the module, `scope`), object (an instance of such a class), method (of
    something unknown, or of a tensor), parts (a container).
    """

    kind: str
    text: str = ""
    scope: Scope | None = None
    parts: tuple[Value, ...] = ()

    @property
    def of_library(self) -> bool:
        """True for what belongs to another package that computes."""
        return self.text.partition(".")[0] in words.LIBRARIES


Values = tuple[Value, ...]

TENSOR = Value("tensor")
PLAIN = Value("plain")
RESULT = Value("result")


def canonical(path: str) -> str:
    """Return the usual name of what a package offers under several."""
    for prefix, usual in (
        ("torch._C._VariableFunctions.", "torch."),
        ("torch._VF.", "torch."),
        ("torch.functional.", "torch."),
        ("torch._C._nn.", "torch.nn.functional."),
        ("torch.nn.modules.", "torch.nn."),
        ("torch._C._TensorBase.", "torch.Tensor."),
    ):
        if path.startswith(prefix):
            path = usual + path[len(prefix) :]
            break
    return path


def attribute_of_library(one: Value, attr: str) -> Values | None:
    """Return what an attribute of something that is no object of the module's own may be.

    None where `one` is an object of the module, a container or unknown.
    """
    if one.kind == "path":
        return (Value("path", f"{one.text}.{attr}"[:200]),)
    if one.kind in ("tensor", "result"):
        if attr in ("T", "mT", "H", "mH", "data", "grad", "real", "imag"):
            return (one,)
        return (PLAIN,) if attr in words.SHAPES else (Value("method", attr, parts=(one,)),)
    if one.kind == "own":
        return (one,)
    if one.kind == "made":
        if one.text.startswith("torch.nn."):
            if attr in ("forward", "__call__", "_call_impl"):
                return (one,)
            return (TENSOR,) if attr in words.WEIGHTS else (PLAIN,)
        return (Value("method", attr, parts=(one,)),)
    return (PLAIN,) if one.kind == "plain" else None


def called_method(method: Value, arguments: Values) -> Values:
    """Return what a method gives: numbers where it asks, what it was called on where it moves."""
    if method.text in words.ASKS:
        return (PLAIN,)
    of = method.parts[0] if method.parts else Value("unknown")
    if of.kind in ("tensor", "result"):
        return (of,)
    if method.text.rstrip("_") in words.COMPUTE or method.text in (
        "contiguous", "reshape", "view", "clone", "detach", "to", "float", "transpose", "permute",
        "unsqueeze", "squeeze", "t", "expand", "numpy", "cpu", "cuda",
    ):  # fmt: skip
        return (TENSOR,)
    return tuple(
        v for v in (*arguments, *(p for a in arguments for p in a.parts)) if v.kind == "own"
    )


def is_tensor(values: Values) -> bool:
    """True where one of the values is a tensor."""
    return any(value.kind in ("tensor", "result") for value in values)


def holding(values: Values) -> Value:
    """A container, no deeper than two levels, so that values stay small."""
    flat = tuple(
        Value(v.kind, v.text, v.scope, v.parts if v.kind != "parts" else few(v.parts)[:4])
        for v in few(values)
    )
    return Value("parts", parts=flat)


def items_of(values: Values) -> Values:
    """Return what iterating over something gives."""
    result: list[Value] = []
    for value in values:
        if value.kind in ("parts", "made") and value.parts:
            result += value.parts
        elif value.kind in ("tensor", "result", "plain"):
            result.append(value)
    return tuple(result)


def few(values: Values) -> Values:
    """Return every value once, and no more than `MAX_VALUES`."""
    return values if len(values) < 2 else tuple(dict.fromkeys(values))[:MAX_VALUES]


def made_by(path: str, given: Values) -> Values:
    """Return what a package's function or class makes of what it is given."""
    root, last = path.partition(".")[0], path.rpartition(".")[2]
    if root == "torch":
        if path.startswith("torch.nn.") and last[:1].isupper():
            if last in ("Parameter", "Buffer"):
                return (TENSOR,)
            held = given if last in words.HOLDERS else ()
            deeper = [v for part in held for v in part.parts]
            parts = tuple(dict.fromkeys((*held, *deeper)))[:MAX_PARTS]
            return (Value("made", path, parts=parts),)
        asks = path.startswith(("torch.cuda.", "torch.get_", "torch.is_", "torch.backends."))
        if asks or (last[:1].isupper() and last != "Tensor"):
            return (Value("made", path),)
        return (TENSOR,)
    if root in words.ARRAYS:
        return (TENSOR,) if is_tensor(given) else (PLAIN,)
    return (PLAIN,) if root in ("ctypes", "builtins") else (Value("made", path),)
