"""Works out what expressions stand for.

Names are resolved through imports, aliases, attributes that `__init__` sets, containers, partial
application, `getattr` with a text that can be worked out, and functions of the module. Order of
statements is not looked at: a name stands for everything it is ever bound to.
"""

from __future__ import annotations

import ast

from kbexp.worker.tripwire import words
from kbexp.worker.tripwire.fold import fold
from kbexp.worker.tripwire.index import Binding, Index, Scope
from kbexp.worker.tripwire.makers import made_kernel
from kbexp.worker.tripwire.values import (
    MAX_VALUES,
    PLAIN,
    RESULT,
    TENSOR,
    Value,
    Values,
    attribute_of_library,
    called_method,
    canonical,
    few,
    holding,
    is_tensor,
    items_of,
    made_by,
)

MAX_STEPS = 60_000
MAX_DEPTH = 40
MAX_EVALUATED = 500


class Resolver:
    """Works out values on demand, each once, within a number of steps."""

    def __init__(self, found: Index) -> None:
        self.found = found
        self.exhausted = False
        self._memo: dict[object, tuple[Values, frozenset[int]]] = {}
        # What is known of a function's parameters grows: what was worked out with them then goes.
        self._reads: set[int] = set()
        self._hangs_on: dict[int, set[object]] = {}
        self._active: set[object] = set()
        self._arguments: dict[tuple[int, str], list[Value]] = {}
        self._steps = 0
        self._folds = 4000
        self._evaluated: dict[int, ast.expr | None] = {}
        self._depth = 0

    def values(self, node: ast.AST | None, scope: Scope) -> Values:
        """Return what an expression may be; () where nothing is known."""
        if node is None:
            return ()
        key = id(node)
        known = self._memo.get(key)
        if known is not None:
            self._reads |= known[1]
            return known[0]
        self._steps += 1
        if self._steps > MAX_STEPS:
            self.exhausted = True
            return ()
        if self._depth > MAX_DEPTH or key in self._active:
            return ()
        self._active.add(key)
        self._depth += 1
        outer, self._reads = self._reads, set()
        try:
            result = few(self._work_out(node, scope))
            self._remember(key, result)
        finally:
            self._depth -= 1
            self._active.discard(key)
            self._reads |= outer
        return result

    def _remember(self, key: object, result: Values) -> None:
        """Keep what was worked out, until a parameter that was read on the way is given more."""
        self._memo[key] = result, frozenset(self._reads)
        for function in self._reads:
            self._hangs_on.setdefault(function, set()).add(key)

    def named(self, name: str, scope: Scope) -> Values:
        """Return what a name may be."""
        return few(self._name(name, scope))

    def paths(self, node: ast.AST | None, scope: Scope) -> list[str]:
        """Return the dotted names that an expression may be."""
        return [value.text for value in self.values(node, scope) if value.kind == "path"]

    def text(self, node: ast.AST | None, scope: Scope) -> str | None:
        """Return the text that an expression comes to, None where it cannot be worked out."""
        return fold(node, lambda name: self._only(name, scope))

    def give(self, function: Scope, name: str, values: Values) -> bool:
        """Note what a parameter was given; return True where that was not known before."""
        key = (id(function), name)
        held = self._arguments.setdefault(key, [])
        fresh = [value for value in values if value not in held][: MAX_VALUES - len(held)]
        if fresh:
            held += fresh
            for hanging in self._hangs_on.pop(id(function), ()):
                self._memo.pop(hanging, None)
        return bool(fresh)

    def attribute(self, owner: Scope, attr: str, depth: int = 0) -> Values:
        """Return what an attribute of a class of the module may be, its bases looked at too."""
        if attr in owner.bindings:
            return self._bound(owner, attr)
        result: list[Value] = []
        if isinstance(owner.node, ast.ClassDef) and owner.parent is not None and depth < 8:
            for base in owner.node.bases[:8]:
                for value in self.values(base, owner.parent):
                    if value.kind == "def" and value.scope is not None:
                        result += self.attribute(value.scope, attr, depth + 1)
        return tuple(result)

    def _only(self, name: str, scope: Scope) -> ast.expr | None:
        self._folds -= 1
        place: Scope | None = scope
        while place is not None and self._folds > 0:
            bindings = place.bindings.get(name)
            if bindings and (place.kind != "class" or place is scope):
                one = bindings[0]
                good = len(bindings) == 1 and one.how == "is" and isinstance(one.node, ast.expr)
                return one.node if good and isinstance(one.node, ast.expr) else None
            if name in place.parameters:
                return None
            place = place.parent
        return None

    def _work_out(self, node: ast.AST, scope: Scope) -> Values:
        match node:
            case ast.Name(id=name):
                return self._name(name, scope)
            case ast.Attribute(value=value, attr=attr):
                return self._attribute(value, attr, scope)
            case ast.Call():
                return self._call(node, scope)
            case ast.Constant(value=value):
                return () if value is None or isinstance(value, str) else (PLAIN,)
            case ast.BinOp(left=left, right=right):
                both = self.values(left, scope) + self.values(right, scope)
                return (TENSOR,) if is_tensor(both) else (PLAIN,)
            case ast.UnaryOp(operand=side) | ast.Compare(left=side):
                return (TENSOR,) if is_tensor(self.values(side, scope)) else (PLAIN,)
            case ast.IfExp(body=body, orelse=orelse):
                return self.values(body, scope) + self.values(orelse, scope)
            case (
                ast.BoolOp(values=several) | ast.Tuple(elts=several) | ast.List(elts=several)
                | ast.Set(elts=several) | ast.Dict(values=several)
            ):  # fmt: skip
                held = tuple(v for e in several[:64] for v in self.values(e, scope))
                return held if isinstance(node, ast.BoolOp) else (holding(held),)
            case (
                ast.ListComp(elt=elt) | ast.GeneratorExp(elt=elt) | ast.SetComp(elt=elt)
                | ast.DictComp(value=elt)
            ):  # fmt: skip
                return (holding(self.values(elt, scope)),)
            case ast.Starred(value=value) | ast.NamedExpr(value=value) | ast.Await(value=value):
                return self.values(value, scope)
            case ast.Subscript(value=value, slice=key):
                return self._subscript(value, key, scope)
            case ast.Lambda():
                return (Value("def", scope=self.found.scopes.get(id(node))),)
        return ()

    def _name(self, name: str, scope: Scope) -> Values:
        place: Scope | None = scope
        if name in ("self", "cls") and scope.owner is not None:
            return (Value("object", scope=scope.owner),)
        while place is not None:
            home = place.elsewhere.get(name, place)
            if name in home.bindings and (home.kind != "class" or home is scope):
                return self._bound(home, name)
            if name in place.parameters:
                return self._parameter(place, name)
            place = place.parent
        starred = tuple(Value("path", f"{module}.{name}") for module in self.found.starred[:4])
        return (*starred, Value("path", f"builtins.{name}"))

    def _bound(self, home: Scope, name: str) -> Values:
        key = (id(home), name)
        known = self._memo.get(key)
        if known is not None:
            self._reads |= known[1]
            return known[0]
        if key in self._active:
            return ()
        self._active.add(key)
        outer, self._reads = self._reads, set()
        try:
            result: list[Value] = []
            for binding in home.bindings[name][:32]:
                result += self._binding(binding)
            if name in home.parameters:
                result += self._parameter(home, name)
            self._remember(key, few(tuple(result)))
        finally:
            self._active.discard(key)
            self._reads |= outer
        return self._memo[key][0]

    def _binding(self, binding: Binding) -> Values:
        if binding.how == "path":
            return (Value("path", binding.path),)
        if binding.how == "def":
            return self._definition(binding)
        given = self.values(binding.node, binding.scope)
        if binding.how == "item":
            return (holding(given),)
        if binding.how == "each":
            return items_of(given)
        return given

    def _definition(self, binding: Binding) -> Values:
        """A function with a decorator that makes a kernel of it is one of one's own."""
        node, outer = binding.node, binding.scope.parent
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and outer is not None:
            for decorator in node.decorator_list[:8]:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                for value in self.values(called, outer):
                    if value.kind == "path" and canonical(value.text) in words.MAKERS:
                        return (Value("own", words.MAKERS[canonical(value.text)]),)
        return (Value("def", scope=binding.scope),)

    def _parameter(self, function: Scope, name: str) -> Values:
        self._reads.add(id(function))
        result = list(self._arguments.get((id(function), name), ()))
        if name in function.defaults:
            result += self.values(function.defaults[name], function)
        if not result and name in function.tensorish and name not in ("self", "cls", "ctx"):
            return (TENSOR,)
        return tuple(result)

    def _attribute(self, value: ast.expr, attr: str, scope: Scope) -> Values:
        result: list[Value] = []
        held = self.values(value, scope)
        for one in held or (Value("unknown"),):
            result += self._attribute_of(one, attr)
        return tuple(result)

    def _attribute_of(self, one: Value, attr: str) -> Values:
        known = attribute_of_library(one, attr)
        if known is not None:
            return known
        if one.kind in ("object", "def") and one.scope is not None:
            held = self.attribute(one.scope, attr)
            if held:
                return held
            if attr == "apply" and one.kind == "def":
                return self.attribute(one.scope, "forward")
            if attr in ("__call__", "forward"):
                return (one,)
            return self._loose(attr) or (Value("method", attr, parts=(one,)),)
        if one.kind == "parts" and attr in ("get", "pop", "values", "items", "__getitem__"):
            return (Value("own_parts", parts=one.parts),)
        return self._loose(attr) or (Value("method", attr, parts=(one,)),)

    def _loose(self, attr: str) -> Values:
        """Return what was ever assigned to an attribute of that name, on whatever object."""
        key = ("loose", attr)
        if key in self._active:
            return ()
        self._active.add(key)
        try:
            bindings = self.found.loose.get(attr, [])[:8]
            return tuple(v for binding in bindings for v in self._binding(binding))
        finally:
            self._active.discard(key)

    def _subscript(self, value: ast.expr, key: ast.expr, scope: Scope) -> Values:
        result: list[Value] = []
        for one in self.values(value, scope):
            if one.kind == "parts":
                result += one.parts
            elif one.kind in ("tensor", "own", "result", "plain"):
                result.append(one)
            elif one.kind == "made" and one.parts:
                result += one.parts
            elif one.kind == "path" and one.text.endswith(".__dict__"):
                name = self.text(key, scope)
                if name is not None:
                    result.append(Value("path", f"{one.text[: -len('.__dict__')]}.{name}"[:200]))
            elif one.kind == "path" and one.text == "builtins.globals()":
                name = self.text(key, scope)
                result += self._name(name, self.found.module) if name else ()
        return tuple(result)

    def _call(self, node: ast.Call, scope: Scope) -> Values:
        result: list[Value] = []
        for callee in self.values(node.func, scope):
            result += self._called(callee, node, scope)
        return tuple(result)

    def _called(self, callee: Value, node: ast.Call, scope: Scope) -> Values:
        if callee.kind == "path":
            return self._called_path(canonical(callee.text), node, scope)
        if callee.kind == "own":
            return (RESULT, callee)
        if callee.kind == "own_parts":
            return callee.parts
        if callee.kind == "method":
            return called_method(callee, self._arguments_of(node, scope))
        if callee.kind == "made":
            works = callee.text.startswith("torch.nn.") or callee.of_library
            return (TENSOR,) if works else callee.parts
        if callee.kind == "object" and callee.scope is not None:
            entries = self.attribute(callee.scope, "forward")
            entries += self.attribute(callee.scope, "__call__")
            return tuple(v for entry in entries for v in self._returned(entry))
        if callee.kind == "def" and callee.scope is not None:
            if callee.scope.kind == "class":
                return (Value("object", scope=callee.scope),)
            return self._returned(callee)
        return ()

    def _returned(self, function: Value) -> Values:
        if function.scope is None or function.kind != "def":
            return (RESULT,) if function.kind == "own" else ()
        inside = function.scope
        return tuple(v for given in inside.returns[:16] for v in self.values(given, inside))

    def _arguments_of(self, node: ast.Call, scope: Scope) -> Values:
        given = [*node.args[:32], *(keyword.value for keyword in node.keywords[:32])]
        return tuple(v for one in given for v in self.values(one, scope))

    def _called_path(self, path: str, node: ast.Call, scope: Scope) -> Values:
        if path in words.MAKERS:
            return self._made_kernel(path, node, scope)
        if path in words.PLAIN_CALLS or path.startswith("math."):
            return (PLAIN,)
        if path in words.PASSED_ON:
            given = self._arguments_of(node, scope)
            return (*given, *(v for part in given for v in part.parts))
        first = node.args[0] if node.args else None
        if path == "builtins.getattr" and len(node.args) > 1:
            name = self.text(node.args[1], scope)
            return () if name is None else self._attribute(node.args[0], name, scope)
        if path in ("builtins.__import__", "importlib.import_module"):
            name = self.text(first, scope)
            return () if name is None else (Value("path", name[:200]),)
        if path in ("builtins.globals", "builtins.locals"):
            return (Value("path", "builtins.globals()"),)
        if path == "builtins.vars" and first is not None:
            return tuple(Value("path", p + ".__dict__") for p in self.paths(first, scope))
        if path in ("operator.attrgetter", "operator.methodcaller"):
            name = self.text(first, scope)
            return () if name is None else (Value("method", name),)
        if path == "builtins.super":
            return self._bases(scope)
        if path == "builtins.eval":
            return self.values(self.evaluated(first, scope), scope)
        return made_by(path, self._arguments_of(node, scope))

    def _made_kernel(self, path: str, node: ast.Call, scope: Scope) -> Values:
        opens = words.MAKERS[path] == "ctypes" and node.args
        library = self.text(node.args[0], scope) if opens else None
        return made_kernel(path, node, self._arguments_of(node, scope), library)

    def _bases(self, scope: Scope) -> Values:
        owner = scope.owner
        if owner is None or owner.parent is None or not isinstance(owner.node, ast.ClassDef):
            return ()
        bases = [v for base in owner.node.bases[:8] for v in self.values(base, owner.parent)]
        return tuple(Value("object", scope=v.scope) for v in bases if v.kind == "def")

    def evaluated(self, text: ast.expr | None, scope: Scope) -> ast.expr | None:
        """Return the expression that `eval` of a text would work out, where the text is known."""
        if text is None or id(text) in self._evaluated:
            return self._evaluated.get(id(text))
        source = self.text(text, scope)
        inside = None
        if source is not None and len(source) <= MAX_EVALUATED and len(self._evaluated) < 20:
            try:
                inside = ast.parse(source.strip(), mode="eval").body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                inside = None
        self._evaluated[id(text)] = inside  # Kept, too, so that its nodes' ids stay their own.
        return inside
