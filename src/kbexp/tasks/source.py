"""Reads and rewrites the source of a task by its syntax tree; nothing of it is ever run here.

A task in KernelBench's format keeps its sizes in module-level constants (`batch_size = 64`).
A different size is written into the text in place of the old one, so that the source stays
complete and its hash names the problem.
"""

from __future__ import annotations

import ast
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kbexp.config import SizeClass
from kbexp.errors import KbexpError

FORMAT_NAMES = ("Model", "get_inputs", "get_init_inputs")
"""What a task file must define."""

TABLE_NAME = "SIZES"
"""The optional constant that holds a task's sizes by class; it never reaches a run."""

MAX_CHARACTERS = 1 << 20
"""A longer source is refused: KernelBench's longest has about 20 thousand."""

_ARITHMETIC = (ast.Constant, ast.UnaryOp, ast.BinOp, ast.Name, ast.Tuple, ast.List)
_LITERAL_CONTEXT = (ast.operator, ast.unaryop, ast.expr_context)


@dataclass(frozen=True, slots=True)
class Constant:
    """A module-level assignment of a plain value.

    `start` and `end` are character offsets of the value. Where `after` is true one value is given
    to several names (`height = width = 256`): `start` and `end` are then both the end of that
    statement, where an assignment to this name alone can follow.
    """

    name: str
    value: ast.expr
    start: int
    end: int
    after: bool = False


def parse(source: str, where: str) -> ast.Module:
    """Return the syntax tree; raises KbexpError, which begins with `where`, if it is not Python."""
    if len(source) > MAX_CHARACTERS:
        raise KbexpError(
            f"{where} has {len(source)} characters, more than the {MAX_CHARACTERS} that a task "
            "may have: give a file that holds one task."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        line = f" (line {error.lineno}: {error.msg})" if error.lineno else f" ({error.msg})"
        raise KbexpError(f"{where} is not valid Python{line}: correct the file.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise KbexpError(
            f"{where} is not valid Python ({type(error).__name__}): correct the file."
        ) from error


def check_format(source: str, where: str) -> None:
    """Raise KbexpError where the source does not define what KernelBench's format asks for."""
    bound = set(_bound_names(parse(source, where).body))
    missing = [name for name in FORMAT_NAMES if name not in bound]
    if missing:
        raise KbexpError(
            f"{where} does not define {' and '.join(missing)} at module level: a task in "
            f"KernelBench's format defines {', '.join(FORMAT_NAMES)}."
        )


def constants(source: str, where: str = "The task") -> dict[str, list[Constant]]:
    """Return the module-level constants by name, each with all its assignments in order.

    A constant is a name that is only ever given literals, arithmetic on literals and other names.
    """
    tree = parse(source, where)
    offset_of = _offsets(source)
    found: dict[str, list[Constant]] = {}
    spoiled: set[str] = set()
    for statement in tree.body:
        for target, value, shared in _assignments(statement):
            if value is None or not _is_plain(value):
                spoiled.add(target)
                continue
            node = statement if shared else value
            end = offset_of(node.end_lineno, node.end_col_offset)
            start = end if shared else offset_of(value.lineno, value.col_offset)
            found.setdefault(target, []).append(Constant(target, value, start, end, shared))
    return {name: places for name, places in found.items() if name not in spoiled}


def with_sizes(source: str, sizes: Mapping[str, Any], where: str) -> str:
    """Return the source with the constants in `sizes` set to new values, and no other change.

    A value None leaves its constant as it is. Raises KbexpError where a name is no constant of the
    source or a value does not fit it.
    """
    known = constants(source, where)
    edits: list[tuple[int, int, str]] = []
    for name, value in sizes.items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise KbexpError(f"{where} has no constant '{name}' to set: its constants are {names}.")
        for place in known[name] if value is not None else ():
            text = _literal(name, value, place.value, where)
            edits.append((place.start, place.end, f"; {name} = {text}" if place.after else text))
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text + source[end:]
    return source


def take_size_table(source: str, where: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return the source without its size table, and the table: constants by size class.

    A source whose `SIZES` is missing, or is anything but a literal dict of size classes, comes
    back as it was, with an empty table: there it is a constant like any other.
    """
    body = parse(source, where).body
    for statement in body:
        for target, value, shared in _assignments(statement):
            if target != TABLE_NAME or value is None or shared or not _alone(statement, body):
                continue
            table = _size_table(value)
            if table is not None:
                return _without(source, statement), table
    return source, {}


def sized(source: str, sizes: SizeClass, overrides: Mapping[str, Any], where: str) -> str:
    """Return the source at the sizes of a class, with `overrides` on top.

    Raises KbexpError as `with_sizes` does.
    """
    source, table = take_size_table(source, where)
    source = with_sizes(source, table.get(str(sizes), {}), where)
    return with_sizes(source, overrides, where)


def describe(source: str, where: str = "The task") -> str:
    """Return the first line of the docstring of `Model`, or ""."""
    for statement in parse(source, where).body:
        if isinstance(statement, ast.ClassDef) and statement.name == "Model":
            return (ast.get_docstring(statement) or "").strip().partition("\n")[0]
    return ""


def _bound_names(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements bind, those inside if, try and with among them."""
    for statement in body:
        match statement:
            case ast.ClassDef() | ast.FunctionDef():
                yield statement.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name for alias in statement.names)
            case ast.If() | ast.With():
                yield from _bound_names(statement.body)
                yield from _bound_names(getattr(statement, "orelse", []))
            case ast.Try():
                yield from _bound_names(statement.body)
            case _:
                yield from (target for target, _, _ in _assignments(statement))


def _assignments(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None, bool]]:
    """Yield the names a statement assigns: name, value (None: not known), shared with others."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            yield name, value, False
        case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)) if len(
            names
        ) == len(values) and all(isinstance(name, ast.Name) for name in names):
            for target, value in zip(names, values, strict=True):
                assert isinstance(target, ast.Name)
                yield target.id, value, False
        case ast.Assign(targets=targets, value=value):
            shared = len(targets) > 1 and all(isinstance(target, ast.Name) for target in targets)
            for name in _stored_names(targets):
                yield name, value if shared else None, True
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
            yield name, value, False
        case ast.AugAssign(target=ast.Name(id=name)):
            yield name, None, False


def _stored_names(targets: Sequence[ast.expr]) -> Iterator[str]:
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _is_plain(value: ast.expr) -> bool:
    return all(isinstance(node, _ARITHMETIC + _LITERAL_CONTEXT) for node in ast.walk(value))


def _literal(name: str, value: Any, old: ast.expr, where: str) -> str:
    """Return a value as source text, of the old value's type where that type can be seen."""
    value = _plain_value(name, value, where)
    kind = _kind(old)
    if kind is float and type(value) is int:
        value = float(value)
    if kind in (tuple, list) and isinstance(value, tuple | list):
        value = tuple(value) if kind is tuple else list(value)
    if kind is not None and type(value) is not kind:
        raise KbexpError(
            f"The constant '{name}' of {where[:1].lower() + where[1:]} cannot be {value!r}: it is "
            f"{ast.unparse(old)}, so give a value of type {kind.__name__}."
        )
    return repr(value)


def _kind(old: ast.expr) -> type | None:
    """Return the type of an expression's value where it shows, or None."""
    match old:
        case ast.Constant(value=value) if value is not None:
            return type(value)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return _kind(operand)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult(), right=right):
            return int if _kind(left) is int and _kind(right) is int else None
        case ast.Tuple():
            return tuple
        case ast.List():
            return list
    return None


def _plain_value(name: str, value: Any, where: str) -> Any:
    """Return a value made of numbers, texts, lists and tuples; raises KbexpError for others."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        items = [_plain_value(name, item, where) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    raise KbexpError(
        f"The constant '{name}' of {where[:1].lower() + where[1:]} cannot be {value!r}: give a "
        "finite number, a text or a list of them."
    )


def _size_table(value: ast.expr) -> dict[str, dict[str, Any]] | None:
    """Return a literal dict of size classes, or None where the expression is something else."""
    try:
        table = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(table, dict) or not table:
        return None
    classes = {str(size) for size in SizeClass}
    for size, values in table.items():
        if size not in classes or not isinstance(values, dict):
            return None
        if not all(isinstance(name, str) for name in values):
            return None
    return table


def _alone(statement: ast.stmt, body: Sequence[ast.stmt]) -> bool:
    """Return whether no other statement stands on the lines of this one."""
    first, last = statement.lineno, statement.end_lineno or statement.lineno
    return all(
        other is statement or (other.end_lineno or other.lineno) < first or other.lineno > last
        for other in body
    )


def _without(source: str, statement: ast.stmt) -> str:
    """Return the source without the lines of a statement and the blank lines before it."""
    lines = _lines(source)
    first, last = statement.lineno - 1, statement.end_lineno or statement.lineno
    while first > 0 and not lines[first - 1].strip():
        first -= 1
    return "".join(lines[:first] + lines[last:])


def _lines(source: str) -> list[str]:
    """Split where Python's tokenizer does; str.splitlines also splits at form feeds and others."""
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", source)


def _offsets(source: str) -> Callable[[int | None, int | None], int]:
    """Return a function from a tree's line and column (UTF-8 bytes) to an offset in characters."""
    lines = _lines(source)
    starts = [0, *itertools.accumulate(len(line) for line in lines)]

    def offset_of(line: int | None, column: int | None) -> int:
        assert line is not None
        assert column is not None
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    return offset_of
