"""Tests before a fallback: does the input have the form that the kernel is made for?

A guard is believed: whether the task's inputs ever fall through it is not known here.
"""

from __future__ import annotations

import ast

from kbexp.worker.tripwire import words
from kbexp.worker.tripwire.index import Scope, children_of
from kbexp.worker.tripwire.resolver import Resolver

NO_GUARD = ("", False)


def guard_of(test: ast.expr, scope: Scope, resolver: Resolver, depth: int = 0) -> tuple[str, bool]:
    """Return a test's kind and whether it is true where the kernel's own way does not apply.

    The kind is form, place or status; "" for any other test, and for one of a size by order (`n >
    4096` chooses between two ways of computing).
    """
    if depth > 8:
        return NO_GUARD
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            kind, mismatch = guard_of(operand, scope, resolver, depth + 1)
            return kind, not mismatch
        case ast.BoolOp(op=op, values=values):
            parts = [guard_of(value, scope, resolver, depth + 1) for value in values[:16]]
            kinds = [kind for kind, _ in parts]
            same = len({mismatch for _, mismatch in parts}) == 1
            # `fits and fits` fails where one does; `unfit or unfit` holds where one does.
            right = parts[0][1] is isinstance(op, ast.Or)
            if "" in kinds or not same or not right:
                return NO_GUARD
            return ("place" if "place" in kinds else kinds[0]), parts[0][1]
        case ast.Compare(left=left, ops=[op], comparators=[right_side]):
            kind = _kind(left, scope, resolver) or _kind(right_side, scope, resolver)
            if isinstance(op, ast.In | ast.NotIn) and not isinstance(
                right_side, ast.Tuple | ast.List | ast.Set
            ):
                return NO_GUARD  # What is looked up is something that was kept.
            if kind and isinstance(op, ast.NotEq | ast.IsNot | ast.NotIn):
                return kind, True
            if kind and isinstance(op, ast.Eq | ast.Is | ast.In):
                return kind, False
            if kind == "status" and isinstance(op, ast.Lt | ast.Gt):
                return kind, True
            return NO_GUARD
    kind = _kind(test, scope, resolver)
    if kind == "status":
        return kind, True
    return (kind, False) if kind else NO_GUARD


def _kind(node: ast.expr, scope: Scope, resolver: Resolver) -> str:
    """Return what an expression asks about: form, place, status, or "" for anything else."""
    kind = ""
    for inner in _few_nodes(node):
        name = inner.attr if isinstance(inner, ast.Attribute) else ""
        if name in words.PLACE:
            return "place"
        aligned = isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Mod | ast.BitAnd)
        if name in words.FORM or (aligned and _asks_address(inner)):
            kind = "form"
    if not kind and isinstance(node, ast.Name | ast.Call):
        values = resolver.values(node, scope)
        if any(value.kind == "result" for value in values):
            return "status"
    return kind


def _asks_address(node: ast.AST) -> bool:
    return any(getattr(inner, "attr", "") == "data_ptr" for inner in _few_nodes(node))


def _few_nodes(node: ast.AST) -> list[ast.AST]:
    found = [node]
    for inner in found:
        if len(found) > 60:
            break
        found += children_of(inner)
    return found


def always_leaves(block: list[ast.stmt]) -> bool:
    """True where a block ends in a return or a raise."""
    return bool(block) and isinstance(block[-1], ast.Return | ast.Raise)
