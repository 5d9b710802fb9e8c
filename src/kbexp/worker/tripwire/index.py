"""A kernel's syntax tree in one pass: what every name may be bound to, and the nodes to look at."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

Node = TypeVar("Node", bound=ast.AST)

MAX_NODES = 80_000
"""More nodes than this are not read: several thousand lines, and more than honest kernels have."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One way in which a name gets a value: `how` is is, each, item, path or def.

    `node` is the expression that is assigned, iterated over or put in, evaluated in `scope`;
    `path` is what was imported.
    """

    how: str
    scope: Scope
    node: ast.AST | None = None
    path: str = ""


@dataclass(eq=False, slots=True)
class Scope:
    """A module, class or function. A class's `bindings` are its attributes, `self.x` included."""

    kind: str
    node: ast.AST
    parent: Scope | None
    name: str = ""
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    elsewhere: dict[str, Scope] = field(default_factory=dict)
    parameters: list[str] = field(default_factory=list)
    defaults: dict[str, ast.expr] = field(default_factory=dict)
    returns: list[ast.expr] = field(default_factory=list)
    tensorish: set[str] = field(default_factory=set)

    def bind(self, name: str, binding: Binding) -> None:
        """Add a binding where the name lives."""
        home = self.elsewhere.get(name, self)
        home.bindings.setdefault(name, []).append(binding)

    @property
    def owner(self) -> Scope | None:
        """The class whose method this is, also where it stands inside the method."""
        scope: Scope | None = self
        while scope is not None:
            if scope.parent is not None and scope.parent.kind == "class":
                return scope.parent
            scope = scope.parent
        return None


@dataclass(slots=True)
class Index:
    """What one pass over a tree found; `complete` is False where it was too long to be read."""

    module: Scope
    scopes: dict[int, Scope] = field(default_factory=dict)
    nodes: dict[type[ast.AST], list[tuple[Any, Scope]]] = field(default_factory=dict)
    starred: list[str] = field(default_factory=list)
    loose: dict[str, list[Binding]] = field(default_factory=dict)
    complete: bool = True

    def all(self, kind: type[Node]) -> list[tuple[Node, Scope]]:
        """Return the nodes of one type and the scopes they stand in, in the order of the text."""
        return self.nodes.get(kind, [])


KEPT = {
    ast.Call, ast.Attribute, ast.Constant, ast.Assign, ast.AugAssign, ast.Delete, ast.Import,
    ast.ImportFrom, ast.FunctionDef, ast.ClassDef,
}  # fmt: skip
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def index(tree: ast.Module) -> Index:
    """Read a tree; iterative, so that depth does no harm, and bounded by `MAX_NODES`."""
    found = Index(Scope("module", tree, None))
    stack: list[tuple[ast.AST, Scope]] = [(tree, found.module)]
    count = 0
    while stack:
        node, scope = stack.pop()
        count += 1
        if count > MAX_NODES:
            found.complete = False
            break
        kind = type(node)
        if kind in KEPT:
            found.nodes.setdefault(kind, []).append((node, scope))
        inner = _enter(found, node, scope)
        if kind is ast.Expr and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # A docstring says nothing.
        if inner is scope:
            stack += [(child, scope) for child in reversed(children_of(node))]
            continue
        for name in reversed(node._fields):
            place = inner if name in ("body", "args") else scope
            value = getattr(node, name, None)
            below = value if isinstance(value, list) else [value]
            stack += [(item, place) for item in reversed(below) if isinstance(item, ast.AST)]
    return found


def children_of(node: ast.AST) -> list[ast.AST]:
    """Return a node's children, without what only says how a name is used or what an operator is.

    As `ast.iter_child_nodes`, several times as fast.
    """
    result: list[ast.AST] = []
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            result += [item for item in value if isinstance(item, ast.AST)]
        elif isinstance(value, ast.AST) and type(value) not in _SILENT:
            result.append(value)
    return result


_SILENT = frozenset(
    kind
    for base in (ast.expr_context, ast.operator, ast.unaryop, ast.boolop)
    for kind in base.__subclasses__()
)


def _enter(found: Index, node: ast.AST, scope: Scope) -> Scope:
    """Note what a node binds; return the scope of its body."""
    if isinstance(node, FUNCTIONS):
        return _function(found, node, scope)
    if isinstance(node, ast.ClassDef):
        made = Scope("class", node, scope, node.name)
        found.scopes[id(node)] = made
        scope.bind(node.name, Binding("def", made, node))
        return made
    handler = _HANDLERS.get(type(node))
    if handler is not None:
        handler(found, node, scope)
    return scope


def _plain(found: Index, node: Any, scope: Scope) -> None:
    """Bind what an assignment, a walrus, a loop, a comprehension or a `with` binds."""
    match node:
        case ast.Assign():
            for target in node.targets:
                _assign(found, target, node.value, scope)
        case ast.For() | ast.AsyncFor() | ast.comprehension():
            _assign(found, node.target, node.iter, scope, "each")
        case ast.withitem():
            if node.optional_vars is not None:
                _assign(found, node.optional_vars, node.context_expr, scope)
        case _:
            if node.value is not None:
                _assign(found, node.target, node.value, scope)


def _returned(_found: Index, node: Any, scope: Scope) -> None:
    if node.value is not None:
        scope.returns.append(node.value)


def _declared(found: Index, node: Any, scope: Scope) -> None:
    for name in node.names:
        outer = _home(name, scope.parent) if isinstance(node, ast.Nonlocal) else None
        scope.elsewhere[name] = outer or found.module


def _tensorish(_found: Index, node: Any, scope: Scope) -> None:
    """Note names that are used as tensors are."""
    if isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name):
            scope.tensorish.add(node.value.id)
    elif isinstance(node.op, ast.MatMult):
        scope.tensorish |= {s.id for s in (node.left, node.right) if isinstance(s, ast.Name)}


def _home(name: str, scope: Scope | None) -> Scope | None:
    while scope is not None:
        if name in scope.bindings or name in scope.parameters:
            return scope
        scope = scope.parent
    return None


def _function(
    found: Index, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: Scope
) -> Scope:
    made = Scope("function", node, scope, getattr(node, "name", "<lambda>"))
    found.scopes[id(node)] = made
    given = node.args
    ordered = [*given.posonlyargs, *given.args]
    made.parameters = [a.arg for a in (*ordered, *given.kwonlyargs)]
    for extra in (given.vararg, given.kwarg):
        if extra is not None:
            made.parameters.append(extra.arg)
    if given.defaults:
        behind = ordered[-len(given.defaults) :]
        made.defaults = {a.arg: d for a, d in zip(behind, given.defaults, strict=True)}
    if isinstance(node, ast.Lambda):
        made.returns.append(node.body)
    else:
        scope.bind(node.name, Binding("def", made, node))
    return made


def _assign(found: Index, target: ast.expr, value: ast.expr, scope: Scope, how: str = "is") -> None:
    """Bind a target; tuples pair by pair where the value is written as a tuple of the same size."""
    todo: list[tuple[ast.expr, ast.expr, str]] = [(target, value, how)]
    for at, given, mode in todo:
        binding = Binding(mode, scope, given)
        match at:
            case ast.Name(id=name):
                scope.bind(name, binding)
            case ast.Attribute(value=holder, attr=attr):
                _set(found, holder, attr, binding)
            case ast.Subscript(value=ast.Name(id=name)):
                _put_in(found, name, scope, given)
            case ast.Subscript(value=ast.Attribute(value=holder, attr=attr)):
                _set(found, holder, attr, Binding("item", scope, given))
            case ast.Starred(value=inner):
                todo.append((inner, given, "each"))
            case ast.Tuple(elts=places) | ast.List(elts=places):
                same = isinstance(given, ast.Tuple | ast.List) and len(given.elts) == len(places)
                if mode == "is" and same and isinstance(given, ast.Tuple | ast.List):
                    pairs = zip(places, given.elts, strict=True)
                    todo += [(place, part, "is") for place, part in pairs]
                else:
                    todo += [(place, given, "each") for place in places]


def _put_in(found: Index, name: str, scope: Scope, value: ast.expr) -> None:
    """Note that a value was put into what a name holds, where that name lives."""
    home = _home(name, scope) or found.module
    home.bindings.setdefault(name, []).append(Binding("item", scope, value))


def _set(found: Index, holder: ast.expr, attr: str, binding: Binding) -> None:
    """Bind an attribute: of the class where its holder is a method's own object."""
    owner = binding.scope.owner
    own = owner is not None and isinstance(holder, ast.Name) and holder.id in ("self", "cls")
    attributes = owner.bindings if own and owner is not None else found.loose
    attributes.setdefault(attr, []).append(binding)


def _import(found: Index, node: Any, scope: Scope) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            path = alias.name if alias.asname else alias.name.partition(".")[0]
            scope.bind(alias.asname or path, Binding("path", scope, node, path))
        return
    for alias in node.names:
        if alias.name == "*":
            found.starred.append(node.module or "")
        else:
            path = f"{node.module or ''}.{alias.name}"
            scope.bind(alias.asname or alias.name, Binding("path", scope, node, path))


def _call(found: Index, node: Any, scope: Scope) -> None:
    """Note attributes that a call sets, and which names are given where tensors are wanted."""
    match node:
        case (
            ast.Call(
                func=ast.Attribute(
                    value=holder,
                    attr="register_buffer"
                    | "register_parameter"
                    | "add_module"
                    | "register_module",
                ),
                args=[ast.Constant(value=str() as attr), value, *_],
            )
            | ast.Call(
                func=ast.Name(id="setattr"),
                args=[holder, ast.Constant(value=str() as attr), value],
            )
        ):
            _set(found, holder, attr, Binding("is", scope, value))
        case ast.Call(
            func=ast.Attribute(
                value=ast.Name(id=name), attr="append" | "add" | "insert" | "setdefault" | "extend"
            ),
            args=[*_, value],
        ):
            _put_in(found, name, scope, value)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="torch" | "F"))):
            scope.tensorish |= {a.id for a in node.args if isinstance(a, ast.Name)}


_HANDLERS: dict[type[ast.AST], Callable[[Index, Any, Scope], None]] = {
    ast.Assign: _plain,
    ast.AnnAssign: _plain,
    ast.AugAssign: _plain,
    ast.NamedExpr: _plain,
    ast.For: _plain,
    ast.AsyncFor: _plain,
    ast.comprehension: _plain,
    ast.withitem: _plain,
    ast.Return: _returned,
    ast.Yield: _returned,
    ast.Global: _declared,
    ast.Nonlocal: _declared,
    ast.Import: _import,
    ast.ImportFrom: _import,
    ast.Call: _call,
    ast.Attribute: _tensorish,
    ast.BinOp: _tensorish,
}
