"""Follows `ModelNew.forward`: which operators and which kernels of its own it may come to call."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from kbexp.worker.tripwire import words
from kbexp.worker.tripwire.guards import always_leaves, guard_of
from kbexp.worker.tripwire.index import FUNCTIONS, Scope, children_of
from kbexp.worker.tripwire.operators import is_operator
from kbexp.worker.tripwire.resolver import Resolver
from kbexp.worker.tripwire.values import Value, Values, canonical

EXECUTED = "<exec>"
"""The name of a function that stands for statements that a kernel runs through `exec`."""

PREPARING = "preparing"
"""The guard of what is done when a module is imported and a model is constructed.

It is followed for what functions are given there; what it computes is nobody's business.
"""

MAX_DEPTH = 80
MAX_VISITS = 6
MAX_BLOCK = 2000
MAX_EXPRESSIONS = 40_000

_ARITHMETIC = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.FloorDiv: "//",
    ast.Mod: "%", ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
}  # fmt: skip
_DECLARED = re.compile(r"TORCH_LIBRARY\w*\s*\(\s*(\w+)|[\"'](\w+)::\w+")


@dataclass(slots=True)
class Reached:
    """What forward may come to call.

    `own` has the kinds of kernels that are reached, and `own_way` says whether one is reached
    outside fallbacks. `operators` has the line of the first call by operator and guard: "" and
    "except" lie on the way to the output, "form", "place" and "status" are fallbacks behind a test
    of the input's form, of the device, of what an own kernel said. `found` is False where there is
    no forward to follow.
    """

    operators: dict[tuple[str, str], int] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    own_way: bool = False
    functions: dict[int, Scope] = field(default_factory=dict)
    reference: int = 0
    found: bool = False
    exhausted: bool = False


def reach(resolver: Resolver, source: str) -> Reached:
    """Follow `ModelNew.forward`; every function where there is none to be found."""
    return _Walk(resolver, source).run()


class _Walk:
    def __init__(self, resolver: Resolver, source: str) -> None:
        self._resolver = resolver
        self._declared = {a or b for a, b in _DECLARED.findall(source[: 2**18])}
        self._visits: dict[tuple[int, str], int] = {}
        self._todo: list[tuple[Scope, str]] = []
        self._perhaps: dict[tuple[str, str], int] = {}
        self._seen = 0
        self.reached = Reached()

    def run(self) -> Reached:
        module = self._resolver.found.module
        assert isinstance(module.node, ast.Module)
        self._block(module.node.body, module, PREPARING, 0)
        entries: list[Value] = []
        for value in self._resolver.named("ModelNew", module):
            if value.kind == "def" and value.scope is not None:
                if value.scope.kind == "class":
                    self._inherits(value.scope)
                    for method in self._resolver.attribute(value.scope, "__init__"):
                        self._reference((method,), 1, PREPARING)
                    entries += self._resolver.attribute(value.scope, "forward")
                    entries += self._resolver.attribute(value.scope, "__call__")
                else:
                    entries.append(value)
        self.reached.found = any(e.kind in ("def", "own") for e in entries)
        self._follow()
        self._reference(tuple(entries), 1, "")
        for scope in self._resolver.found.scopes.values():
            if scope.kind == "function" and (not self.reached.found or scope.name == EXECUTED):
                self._visit(scope, "")
        self._follow()
        if not self.reached.own:
            # A parameter of which nothing is known is a tensor rather than a number where nothing
            # but the library works on it.
            for (operator, guard), line in self._perhaps.items():
                self._operator(operator, line, guard)
        return self.reached

    def _follow(self) -> None:
        while self._todo:
            scope, guard = self._todo.pop()
            self._function(scope, guard)

    def _inherits(self, owner: Scope) -> None:
        """Note where the class, or one it derives from, derives from a class named Model."""
        todo = [owner]
        for scope in todo[:16]:
            if not isinstance(scope.node, ast.ClassDef) or scope.parent is None:
                continue
            for base in scope.node.bases[:8]:
                for value in self._resolver.values(base, scope.parent):
                    name = value.scope.name if value.scope else value.text.rpartition(".")[2]
                    if name == "Model":
                        self.reached.reference = base.lineno
                    elif value.kind == "def" and value.scope is not None and len(todo) < 16:
                        todo.append(value.scope)

    def _visit(self, function: Scope, guard: str) -> None:
        key = (id(function), guard)
        if key not in self._visits:
            self._visits[key] = 1
            self._todo.append((function, guard))

    def _function(self, function: Scope, guard: str) -> None:
        if guard != PREPARING:
            self.reached.functions[id(function)] = function
        node = function.node
        if isinstance(node, ast.Lambda):
            self._expressions(node.body, function, guard)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            self._block(node.body, function, guard, 0)

    def _block(self, statements: list[ast.stmt], scope: Scope, guard: str, depth: int) -> None:
        for statement in statements:
            if depth > MAX_DEPTH:
                self._expressions(statement, scope, guard)
                continue
            match statement:
                case ast.If():
                    guard = self._if(statement, scope, guard, depth)
                case ast.Try() | ast.TryStar():
                    self._block(statement.body, scope, guard, depth + 1)
                    for handler in statement.handlers:
                        self._block(handler.body, scope, guard or "except", depth + 1)
                    self._block(statement.orelse, scope, guard, depth + 1)
                    self._block(statement.finalbody, scope, guard, depth + 1)
                case ast.For(iter=first) | ast.AsyncFor(iter=first) | ast.While(test=first):
                    self._expressions(first, scope, guard)
                    self._block(statement.body + statement.orelse, scope, guard, depth + 1)
                case ast.With() | ast.AsyncWith():
                    for item in statement.items:
                        self._expressions(item.context_expr, scope, guard)
                    self._block(statement.body, scope, guard, depth + 1)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    pass  # Followed where it is used.
                case _:
                    self._expressions(statement, scope, guard)

    def _if(self, node: ast.If, scope: Scope, guard: str, depth: int) -> str:
        """Follow both ways; return the guard under which what comes after the `if` stands."""
        self._expressions(node.test, scope, guard)
        body, orelse, after = guard, guard, guard
        kind, mismatch = guard_of(node.test, scope, self._resolver)
        if kind and not guard:
            if mismatch and not (node.orelse or always_leaves(node.body)):
                pass  # What follows goes on with what was done here.
            elif mismatch:
                body = kind
            else:
                orelse = kind
                own_way = always_leaves(node.body) and self._works(node.body, scope)
                after = kind if own_way else guard
        self._block(node.body, scope, body, depth + 1)
        self._block(node.orelse, scope, orelse, depth + 1)
        return after

    def _works(self, block: list[ast.stmt], scope: Scope) -> bool:
        """True where a block may run a kernel; an early return of an empty input does not."""
        todo: list[ast.AST] = [*block]
        for count, node in enumerate(todo):
            if isinstance(node, ast.Call):
                values = self._resolver.values(node.func, scope)
                if any(value.kind in ("own", "def", "object", "made") for value in values):
                    return True
            if count < MAX_BLOCK:
                todo += children_of(node)
        return False

    def _expressions(self, root: ast.AST, scope: Scope, guard: str) -> None:
        """Look at everything in an expression, or in a statement as if it were one."""
        stack: list[tuple[ast.AST, str]] = [(root, guard)]
        while stack:
            node, guard = stack.pop()
            self._seen += 1
            if self._seen > MAX_EXPRESSIONS:
                self.reached.exhausted = True
                return
            if isinstance(node, FUNCTIONS):
                inner = self._resolver.found.scopes.get(id(node))
                if inner is not None and isinstance(node, ast.Lambda):
                    self._visit(inner, guard)
                continue
            if isinstance(node, ast.IfExp):
                kind, mismatch = guard_of(node.test, scope, self._resolver)
                inside = guard or kind
                stack += [
                    (node.test, guard),
                    (node.body, inside if mismatch else guard),
                    (node.orelse, guard if mismatch else inside),
                ]
                continue
            if type(node) in _LOOKED_AT:
                self._look(node, scope, guard)
            while isinstance(node, ast.Attribute):
                node = node.value
                if not isinstance(node, ast.Attribute | ast.Name):
                    stack.append((node, guard))
            stack += [(child, guard) for child in children_of(node)]

    def _look(self, node: ast.AST, scope: Scope, guard: str) -> None:
        match node:
            case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()):
                self._reference(self._resolver.values(node, scope), node.lineno, guard)
            case ast.Call():
                self._call(node, scope, guard)
            case ast.BinOp(left=left, op=op, right=right):
                if isinstance(op, ast.MatMult) or self._tensor(left, right, scope=scope):
                    self._operator(_name_of(op), node.lineno, guard)
                elif any(isinstance(side, ast.Name) and side.id in scope.parameters
                         for side in (left, right)):  # fmt: skip
                    self._perhaps.setdefault((_name_of(op), guard), node.lineno)
            case ast.AugAssign(target=target, op=op, value=value):
                if isinstance(op, ast.MatMult) or self._tensor(value, target, scope=scope):
                    self._operator(_name_of(op), node.lineno, guard)
            case ast.UnaryOp(op=ast.USub() | ast.Invert(), operand=operand):
                if self._tensor(operand, scope=scope):
                    self._operator("operator -", node.lineno, guard)
            case ast.Compare(left=left, ops=ops) if not isinstance(ops[0], _IDENTITY):
                if self._tensor(left, scope=scope):
                    self._operator("comparison", node.lineno, guard)

    def _tensor(self, *nodes: ast.expr, scope: Scope) -> bool:
        """True where one of the nodes can only be a tensor."""
        return any({value.kind for value in self._resolver.values(node, scope)} == {"tensor"}
                   for node in nodes)  # fmt: skip

    def _call(self, node: ast.Call, scope: Scope, guard: str) -> None:
        callees = self._resolver.values(node.func, scope)
        line = node.lineno
        if not isinstance(node.func, ast.Name | ast.Attribute):
            self._reference(callees, line, guard)
        for value in callees:
            self._called(value, node, scope, guard)
        if any(value.text == "builtins.eval" for value in callees) and node.args:
            evaluated = self._resolver.evaluated(node.args[0], scope)
            if evaluated is not None:
                self._expressions(evaluated, scope, guard)
        # What a call returns may be called in turn: getattr, partial.
        if callees and callees[0].kind == "path":
            made = self._resolver.values(node, scope)
            self._reference(tuple(v for v in made if v.kind in ("path", "method")), line, guard)

    def _called(self, value: Value, node: ast.Call, scope: Scope, guard: str) -> None:
        line = node.lineno
        if value.kind == "made" and value.text.startswith("torch.nn."):
            for layer in (value, *value.parts):
                self._layer(layer, node, scope, guard)
        elif value.kind == "made" and value.of_library:
            self._operator(value.text, line, guard)
        elif value.kind == "parts":
            for part in value.parts:
                self._called(part, node, scope, guard)
        elif value.kind == "object" and value.scope is not None:
            if value.scope.name == "Model" and guard != PREPARING:
                self.reached.reference = line
            for entry in ("forward", "__call__"):
                for method in self._resolver.attribute(value.scope, entry):
                    self._give(method, node, scope, guard)
        elif value.kind == "def" and value.scope is not None:
            if value.scope.kind == "class":
                if value.scope.name == "Model" and guard != PREPARING:
                    self.reached.reference = line
                for method in self._resolver.attribute(value.scope, "__init__"):
                    self._give(method, node, scope, guard)
            else:
                self._give(value, node, scope, guard)
        elif value.kind == "path" and value.text.partition(".")[0] in words.ARRAYS:
            name = value.text.rpartition(".")[2].rstrip("_")
            if name in words.COMPUTE and self._tensor(*node.args[:4], scope=scope):
                self._operator(value.text, line, guard)

    def _layer(self, layer: Value, node: ast.Call, scope: Scope, guard: str) -> None:
        last = layer.text.rpartition(".")[2]
        if layer.kind == "made" and last not in words.LAYERS_THAT_DO_NOTHING:
            self._operator(layer.text, node.lineno, guard)
        elif layer.kind != "made":
            self._called(layer, node, scope, guard)

    def _give(self, function: Value, node: ast.Call, scope: Scope, guard: str) -> None:
        """Tell a function what it is called with, and follow it (again, where that is news)."""
        inside = function.scope
        if function.kind == "own":
            self._own(function.text, guard)
        if function.kind != "def" or inside is None or inside.kind != "function":
            return
        names = inside.parameters
        if names and names[0] in ("self", "cls", "ctx"):
            names = names[1:]
        news = False
        for name, given in zip(names, node.args, strict=False):
            if isinstance(given, ast.Starred):
                break
            news |= self._resolver.give(inside, name, self._resolver.values(given, scope))
        for keyword in node.keywords:
            if keyword.arg in names:
                values = self._resolver.values(keyword.value, scope)
                news |= self._resolver.give(inside, keyword.arg or "", values)
        key = (id(inside), guard)
        if news and 0 < self._visits.get(key, 0) < MAX_VISITS:
            self._visits[key] += 1
            self._todo.append((inside, guard))
        self._visit(inside, guard)

    def _reference(self, values: Values, line: int, guard: str) -> None:
        """Note what a name may stand for; whatever is named is taken to be used."""
        for value in values:
            if value.kind == "own":
                self._own(value.text, guard)
            elif value.kind == "path":
                self._path(canonical(value.text), line, guard)
            elif value.kind == "method":
                self._method(value, line, guard)
            elif value.kind == "def" and value.scope and value.scope.kind == "function":
                self._visit(value.scope, guard)

    def _path(self, path: str, line: int, guard: str) -> None:
        if path.startswith("torch.ops.") and path.count(".") > 2:
            namespace = path.split(".")[2]
            if namespace not in words.NAMESPACES and namespace in self._declared:
                self._registered(guard)
                return
        if is_operator(path):
            self._operator(path, line, guard)

    def _registered(self, guard: str) -> None:
        """Follow an operator that the kernel registers itself, in C++ or in Python."""
        index = self._resolver.found
        found = False
        for node, scope in index.all(ast.FunctionDef):
            for decorator in node.decorator_list[:4]:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                paths = self._resolver.paths(called, scope)
                if any(path.startswith("torch.library.") for path in paths):
                    self._visit(index.scopes[id(node)], guard)
                    found = True
        if not found:
            self._own("c++", guard)

    def _method(self, value: Value, line: int, guard: str) -> None:
        if value.parts and value.parts[0].kind == "made" and value.parts[0].of_library:
            self._operator(f"{value.parts[0].text}.{value.text}", line, guard)
        name = words.DUNDERS.get(value.text, value.text.rstrip("_"))
        if name not in words.COMPUTE:
            return
        of = value.parts[0].kind if value.parts else "unknown"
        if of in ("tensor", "result") or (of == "unknown" and name not in words.SHARED):
            self._operator(f"Tensor.{name}", line, guard)

    def _operator(self, name: str, line: int, guard: str) -> None:
        if len(self.reached.operators) < 200 and guard != PREPARING:
            self.reached.operators.setdefault((name[:120], guard), line)

    def _own(self, kind: str, guard: str) -> None:
        if guard != PREPARING:
            self.reached.own.add(kind)
            self.reached.own_way |= guard in ("", "except")


_LOOKED_AT = {
    ast.Name, ast.Attribute, ast.Call, ast.BinOp, ast.AugAssign, ast.UnaryOp, ast.Compare,
}  # fmt: skip
_IDENTITY = (ast.Is, ast.IsNot, ast.In, ast.NotIn)


def _name_of(op: ast.operator) -> str:
    return f"operator {_ARITHMETIC.get(type(op), '')}".strip()
