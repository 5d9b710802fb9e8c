"""Tells which entry of the playbook a task's source belongs to, by what its `Model` computes."""

from __future__ import annotations

import ast
import warnings
from functools import cache
from importlib.resources import files

from kbexp.proposals.offline.playbook import ENTRIES
from kbexp.proposals.offline.playbook.entry import Entry

MAX_SOURCE_CHARACTERS = 400_000


def recognise(name: str, source: str) -> Entry | None:
    """Return the entry whose bundled task has the same `Model`, or None.

    Names of arguments and local variables, annotations, docstrings, comments and everything
    outside the class make no difference, so other sizes do not either. Where several bundled
    tasks share a `Model`, the task's name decides.
    """
    print_ = fingerprint(source)
    matches = [task for task in ENTRIES if print_ and print_ == _bundled_fingerprint(task)]
    if not matches:
        return None
    return ENTRIES[name if name in matches else matches[0]]


def fingerprint(source: str) -> str:
    """Return a text that two sources share where their `Model` reads the same, "" without one."""
    tree = parsed(source)
    model = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Model"), None)
    if model is None:
        return ""
    try:
        methods = [_Plain().visit(node) for node in model.body if isinstance(node, ast.FunctionDef)]
        return "\n".join(ast.dump(method) for method in methods)
    except RecursionError:
        return ""


def parsed(source: str) -> ast.Module:
    """Return a source's syntax tree, an empty one where it is not Python or far too long."""
    empty = ast.Module(body=[], type_ignores=[])
    if len(source) > MAX_SOURCE_CHARACTERS:
        return empty
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return empty


@cache
def _bundled_fingerprint(task: str) -> str:
    return fingerprint((files("kbexp.tasks") / "bundled" / f"{task}.py").read_text("utf-8"))


class _Plain(ast.NodeTransformer):
    """Numbers arguments and local variables in order and drops what people write for people."""

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        for arg in ast.walk(node.args):
            if isinstance(arg, ast.arg):
                self._number(arg.arg)
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                self._number(name.id)
        node.returns, node.decorator_list = None, []
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        self.generic_visit(node)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        return node if node.value is None else ast.Assign(targets=[node.target], value=node.value)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(arg=self._numbers.get(node.arg, node.arg))

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(id=self._numbers.get(node.id, node.id), ctx=node.ctx)

    def _number(self, name: str) -> None:
        self._numbers.setdefault(name, f"_{len(self._numbers)}")
