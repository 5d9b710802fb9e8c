"""Texts that a kernel pieces together out of constants: `"mat" + "mul"`, `chr(109)`, `[::-1]`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence

MAX_TEXT = 20_000
MAX_DEPTH = 60

Names = Callable[[str], ast.expr | None]
"""Returns the one expression that a name is bound to, None where there are several or none."""


def fold(node: ast.AST | None, names: Names, depth: int = 0) -> str | None:
    """Return the text that an expression comes to; None where it is no text or not constant."""
    if node is None or depth > MAX_DEPTH:
        return None
    text = _fold(node, names, depth + 1)
    return text if text is None or len(text) <= MAX_TEXT else None


def _fold(node: ast.AST, names: Names, depth: int) -> str | None:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.Constant(value=bytes() as raw):
            return raw.decode("latin-1")
        case ast.Name(id=name):
            return fold(names(name), names, depth)
        case ast.FormattedValue(value=value) | ast.Call(func=ast.Name(id="str"), args=[value]):
            return fold(value, names, depth)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _joined("", [left, right], names, depth)
        case ast.JoinedStr(values=values):
            return _joined("", values, names, depth)
        case ast.Subscript(value=value, slice=ast.Slice(lower=low, upper=high, step=step)):
            whole = fold(value, names, depth)
            try:
                return None if whole is None else whole[_end(low) : _end(high) : _end(step)]
            except ValueError:
                return None
        case ast.Call(func=ast.Name(id="chr"), args=[ast.Constant(value=int() as code)]):
            return chr(code) if 0 <= code < 0x110000 else None
        case ast.Call(
            func=ast.Attribute(value=value, attr="join"),
            args=[ast.List(elts=parts) | ast.Tuple(elts=parts)],
        ):
            between = fold(value, names, depth)
            return None if between is None else _joined(between, parts, names, depth)
        case ast.Call(func=ast.Attribute(value=value, attr="format"), args=args):
            pattern = fold(value, names, depth)
            given = [fold(arg, names, depth) for arg in args[:8]]
            if pattern is None or None in given or pattern.count("{}") != len(given):
                return None
            for part in given:
                pattern = pattern.replace("{}", str(part), 1)
            return pattern
        case ast.Call(func=ast.Attribute(value=value, attr="encode" | "decode")):
            return fold(value, names, depth)
    return None


def _joined(between: str, parts: Sequence[ast.expr], names: Names, depth: int) -> str | None:
    texts = [fold(part, names, depth) for part in parts] if len(parts) <= 200 else [None]
    known = [text for text in texts if text is not None]
    if len(known) != len(texts) or sum(map(len, known)) > MAX_TEXT:
        return None
    return between.join(known)


def _end(node: ast.expr | None) -> int | None:
    """Return a slice's end, None where it is left out; ValueError where it is not constant."""
    match node:
        case None:
            return None
        case ast.Constant(value=int() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
    raise ValueError("not constant")
