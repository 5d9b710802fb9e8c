"""Rewrites of any reference: the same operators with less around them."""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass

from kbexp.proposals.offline.playbook.entry import Tunable, Values, Variant
from kbexp.proposals.offline.playbook.mark import Mark, write_mark
from kbexp.proposals.offline.recognise import parsed

NAME = "generic"
"""What stands in the mark in place of a task's name."""

_ABOUT = "The reference, with what its operators need not do taken away."
_FLAGS = ("INFERENCE", "IN_PLACE", "CHANNELS_LAST", "CONTIGUOUS")
_TASK_FUNCTIONS = ("get_inputs", "get_init_inputs")
# Functions of torch and torch.nn.functional whose result shares no memory with what they are
# given, and those among them that have a form in place.
_FRESH = {"matmul", "mm", "bmm", "einsum", "linear", "conv1d", "conv2d", "conv3d", "softmax"}
_IN_PLACE = {"relu", "sigmoid", "tanh", "exp", "sqrt", "rsqrt", "abs", "neg", "square", "log"}
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A reference that can be rewritten; the variant's tunables are those that change its text."""

    source: str
    variant: Variant

    def text(self, values: Values) -> str:
        """Return the kernel's text for some values."""
        mark = write_mark(Mark(NAME, self.variant.name, values))
        return f"{mark}\n# {_ABOUT}\n{_rewritten(self.source, values)}\n"


def rewrite_of(source: str, device_kind: str) -> Rewrite | None:
    """Return what can be done with a task's source; None where it defines no `Model`."""
    try:
        plain = _rewritten(source, {})
        flags = [flag for flag in _FLAGS if _rewritten(source, {flag: 1}) != plain]
    except (ValueError, RecursionError):
        return None
    tunables = [Tunable(flag, (0, 1)) for flag in flags]
    if device_kind == "cpu":
        tunables.append(Tunable("THREADS", (0, 1, 2, 4, 8, 16)))
    variant = Variant("rewrite", _ABOUT, "any", ("torch",), "", tunables=tuple(tunables))
    return Rewrite(source, variant)


def _rewritten(source: str, values: Values) -> str:
    """Return the source as a kernel; raises ValueError where it defines no `Model.forward`."""
    tree = parsed(source)
    model = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Model"), None)
    forward = _method(model, "forward") if model else None
    if forward is None:
        raise ValueError("no Model with a forward")
    if values.get("IN_PLACE"):
        _in_place(forward)
    inputs = [arg.arg for arg in forward.args.args[1:]]
    prepared = []
    if values.get("CHANNELS_LAST"):
        prepared += [_prepared(name, "channels_last", 4) for name in inputs]
    elif values.get("CONTIGUOUS"):
        prepared += [_prepared(name, "contiguous_format", 0) for name in inputs]
    start = 1 if ast.get_docstring(forward, clean=False) is not None else 0
    forward.body[start:start] = [statement for group in prepared for statement in group.body]
    if values.get("INFERENCE"):
        forward.decorator_list.append(ast.parse("torch.inference_mode()", mode="eval").body)
    _Renamed().visit(tree)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.FunctionDef) and node.name in _TASK_FUNCTIONS)
    ]
    if values.get("THREADS"):
        tree.body.append(ast.parse(f"torch.set_num_threads({values['THREADS']})").body[0])
    after_docstring_and_future = sum(_must_be_first(node) for node in tree.body[:2])
    tree.body.insert(after_docstring_and_future, ast.parse("import torch").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def _method(model: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    methods = (node for node in model.body if isinstance(node, ast.FunctionDef))
    return next((method for method in methods if method.name == name), None)


def _prepared(name: str, memory_format: str, dimensions: int) -> ast.Module:
    of_this_kind = f" and {name}.dim() == {dimensions}" if dimensions else ""
    return ast.parse(
        f"if torch.is_tensor({name}){of_this_kind}:\n"
        f"    {name} = {name}.contiguous(memory_format=torch.{memory_format})"
    )


def _must_be_first(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "__future__"
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _in_place(forward: ast.FunctionDef) -> None:
    """Turn `x = f(x)` and `x = x + y` into their forms in place, where x is forward's own."""
    own: set[str] = set()
    for place, node in enumerate(forward.body):
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
            continue
        name, value = node.targets[0].id, node.value
        if name in own and _is_name(getattr(value, "left", None), name):
            value = copy.deepcopy(value)
            if isinstance(value, ast.BinOp) and isinstance(value.op, _OPERATORS):
                target = ast.Name(id=name, ctx=ast.Store())
                forward.body[place] = ast.AugAssign(target, value.op, value.right)
        elif isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            of_itself = len(value.args) == 1 and _is_name(value.args[0], name)
            if name in own and value.func.attr in _IN_PLACE and of_itself and not value.keywords:
                value.func = ast.Attribute(
                    ast.Name(id="torch", ctx=ast.Load()), value.func.attr + "_", ast.Load()
                )
        if _is_fresh(value):
            own.add(name)
        else:
            own.discard(name)


def _is_name(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_fresh(value: ast.expr) -> bool:
    if isinstance(value, ast.BinOp):
        return True
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
        module = value.func.value
        known = isinstance(module, ast.Name) and module.id in ("torch", "F")
        return known and value.func.attr.rstrip("_") in _FRESH | _IN_PLACE
    return False


class _Renamed(ast.NodeTransformer):
    """Model becomes ModelNew, wherever the name stands."""

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id == "Model":
            node.id = "ModelNew"
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        if node.name == "Model":
            node.name = "ModelNew"
        self.generic_visit(node)
        return node
