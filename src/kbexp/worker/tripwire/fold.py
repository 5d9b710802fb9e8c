"""Texts that a kernel pieces together out of constants: `"mat" + "mul"`, `chr(109)`, `[::-1]`."""

from __future__ import annotations

import ast
from collections.abc import Callable

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
        case ast.NamedExpr(value=value) | ast.FormattedValue(value=value):
            return fold(value, names, depth)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _joined([fold(left, names, depth), fold(right, names, depth)])
        case ast.BinOp(op=ast.Mod(), left=left, right=right):
            filled = _joined_items(right, names, depth)
            pattern = fold(left, names, depth)
            if pattern is None or filled is None or pattern.count("%s") != len(filled):
                return None
            for part in filled:
                pattern = pattern.replace("%s", part, 1)
            return pattern
        case ast.JoinedStr(values=values):
            return _joined([fold(value, names, depth) for value in values[:100]])
        case ast.Subscript(value=value, slice=ast.Slice(lower=low, upper=high, step=step)):
            text_ = fold(value, names, depth)
            try:
                return None if text_ is None else text_[_end(low) : _end(high) : _end(step)]
            except ValueError:
                return None
        case ast.Call(func=ast.Name(id="chr"), args=[ast.Constant(value=int() as code)]):
            return chr(code) if 0 <= code < 0x110000 else None
        case ast.Call(func=ast.Name(id="str"), args=[value]):
            return fold(value, names, depth)
        case ast.Call(
            func=ast.Name(id="bytes"), args=[ast.List(elts=codes) | ast.Tuple(elts=codes)]
        ):
            values_ = [c.value for c in codes[:1000] if isinstance(c, ast.Constant)]
            good = all(isinstance(v, int) and 0 <= v < 256 for v in values_)
            return bytes(values_).decode("latin-1") if good and len(values_) == len(codes) else None  # type: ignore[arg-type]
        case ast.Call(func=ast.Attribute(value=value, attr=attr), args=args):
            return _method(value, attr, args, names, depth)
    return None


def _method(
    value: ast.expr, attr: str, args: list[ast.expr], names: Names, depth: int
) -> str | None:
    text = fold(value, names, depth)
    if text is None:
        return None
    if attr == "join" and len(args) == 1:
        parts = _joined_items(args[0], names, depth)
        return None if parts is None else text.join(parts)
    given = [fold(arg, names, depth) for arg in args[:8]]
    simple: dict[str, Callable[[str], str]] = {
        "lower": str.lower,
        "upper": str.upper,
        "strip": str.strip,
        "title": str.title,
        "swapcase": str.swapcase,
        "decode": str,
        "encode": str,
    }
    if attr in simple:
        return simple[attr](text)
    if attr == "replace" and len(given) == 2 and None not in given:
        return text.replace(str(given[0]), str(given[1])) if len(text) < 5000 else None
    if attr == "format" and None not in given and text.count("{}") == len(given):
        for part in given:
            text = text.replace("{}", str(part), 1)
        return text
    return None


def _joined_items(node: ast.expr, names: Names, depth: int) -> list[str] | None:
    """Return the texts of a list that is written out, or of one text's characters."""
    match node:
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            parts = [fold(element, names, depth) for element in elements[:200]]
            return None if None in parts else [part for part in parts if part is not None]
        case ast.Call(func=ast.Name(id="reversed" | "list" | "tuple" as name), args=[inner]):
            parts_ = _joined_items(inner, names, depth)
            return parts_ if parts_ is None or name != "reversed" else parts_[::-1]
        case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id="chr"), ast.List(elts=codes)]):
            numbers = [c.value for c in codes[:200] if isinstance(c, ast.Constant)]
            good = all(isinstance(n, int) and 0 <= n < 0x110000 for n in numbers)
            return [chr(n) for n in numbers if isinstance(n, int)] if good else None
    text = fold(node, names, depth)
    return None if text is None else list(text)


def _joined(parts: list[str | None]) -> str | None:
    known = [part for part in parts if part is not None]
    if len(known) != len(parts) or sum(map(len, known)) > MAX_TEXT:
        return None
    return "".join(known)


def _end(node: ast.expr | None) -> int | None:
    """Return a slice's end, None where it is left out; ValueError where it is not constant."""
    match node:
        case None | ast.Constant(value=None):
            return None
        case ast.Constant(value=int() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as number)):
            return -number
    raise ValueError("not constant")
