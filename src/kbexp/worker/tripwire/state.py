"""What a kernel keeps between calls and lets its behaviour depend on: addresses, counts."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from kbexp.worker.tripwire.index import Scope, children_of
from kbexp.worker.tripwire.reach import Reached
from kbexp.worker.tripwire.resolver import Resolver

_ADDRESS = frozenset(["data_ptr", "_version", "const_data_ptr", "_cdata"])
MAX_STATEMENTS = 3000


def states(resolver: Resolver, reached: Reached) -> Iterator[tuple[int, str]]:
    """Yield suspicions about the functions that forward reaches."""
    for function in reached.functions.values():
        nodes = _nodes(function)
        yield from _addresses(function, nodes)
        yield from _counters(nodes)
        if function.name == "forward" or function.name == "__call__":
            yield from _unfilled(resolver, function, nodes)
            if reached.own:
                yield from _for_show(resolver, function, nodes)


def _nodes(function: Scope) -> list[ast.AST]:
    """Return a function's nodes without those of functions inside it."""
    body = getattr(function.node, "body", [])
    found: list[ast.AST] = [*body] if isinstance(body, list) else [body]
    for node in found:
        if len(found) > MAX_STATEMENTS:
            break
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found += children_of(node)
    return found


def _addresses(function: Scope, nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """Something is kept by address: an address is a key, or is compared with one that was kept."""
    keys = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and _has_address(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def address(node: ast.AST) -> bool:
        return _has_address(node) or (isinstance(node, ast.Name) and node.id in keys)

    for node in nodes:
        match node:
            case (
                ast.Subscript(slice=key)
                | ast.Call(func=ast.Attribute(attr="get" | "setdefault" | "pop"), args=[key, *_])
            ) if address(key):
                yield node.lineno, "keeps something by a tensor's address"
            case ast.Compare(left=left, ops=ops, comparators=[right, *_]):
                if isinstance(ops[0], ast.Is | ast.IsNot) and _kept(left, right, function):
                    yield node.lineno, "compares an input with one that was kept"
                elif any(address(side) and not _alignment(side) for side in (left, right)):
                    yield node.lineno, "compares a tensor's address"


def _has_address(node: ast.AST) -> bool:
    """True for `x.data_ptr()`, `id(x)` and tuples of them; not for an address passed to a call."""
    todo = [node]
    for one in todo:
        match one:
            case ast.Attribute(attr=attr) | ast.Call(func=ast.Attribute(attr=attr)) if (
                attr in _ADDRESS
            ):
                return True
            case ast.Call(func=ast.Name(id="id" | "hash")):
                return True
            case ast.Tuple() | ast.List() | ast.BinOp() | ast.NamedExpr() if len(todo) < 40:
                todo += children_of(one)
    return False


def _alignment(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod | ast.BitAnd)


def _kept(left: ast.expr, right: ast.expr, function: Scope) -> bool:
    """True for `x is self.last`: a parameter against an attribute or a global."""
    return any(
        isinstance(one, ast.Name)
        and one.id in function.parameters
        and isinstance(other, ast.Attribute | ast.Subscript)
        for one, other in ((left, right), (right, left))
    )


def _dotted(node: ast.AST) -> str:
    """Return `self.n` or `STATE['n']` as a text; "" for anything else."""
    match node:
        case (
            ast.Attribute(value=ast.Name())
            | ast.Subscript(
                value=ast.Name() | ast.Attribute(value=ast.Name()), slice=ast.Constant()
            )
        ):
            return ast.unparse(node)
    return ""


def _counters(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """A count of calls is kept, and a test looks at it."""
    shared = {name for node in nodes if isinstance(node, ast.Global | ast.Nonlocal)
              for name in node.names}  # fmt: skip

    def name_of(node: ast.AST) -> str:
        return node.id if isinstance(node, ast.Name) and node.id in shared else _dotted(node)

    counted: dict[str, int] = {}
    copies: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
            if name_of(node.target) and isinstance(node.value, ast.Constant):
                counted[name_of(node.target)] = node.lineno
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = name_of(node.targets[0])
            if target and _increment(node.value, target):
                counted[target] = node.lineno
            elif isinstance(node.targets[0], ast.Name) and name_of(node.value):
                copies[node.targets[0].id] = name_of(node.value)
    tests = [node.test for node in nodes if isinstance(node, ast.If | ast.IfExp | ast.While)]
    for inner in (inner for test in tests for inner in ast.walk(test)):
        name = copies.get(inner.id, "") if isinstance(inner, ast.Name) else ""
        name = name or name_of(inner)
        if name in counted:
            yield counted[name], f"counts its calls in {name[:60]} and acts on the count"
        elif isinstance(inner, ast.Call) and getattr(inner.func, "id", "") == "next":
            yield inner.lineno, "counts its calls and acts on the count"


def _increment(value: ast.expr, target: str) -> bool:
    """True for `self.n + 1` and `getattr(self, "n", 0) + 1`."""
    match value:
        case ast.BinOp(left=ast.Name(id=name), op=ast.Add() | ast.Sub(), right=ast.Constant()):
            return name == target
        case ast.BinOp(
            left=ast.Call(
                func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str() as attr), *_]
            ),
            op=ast.Add() | ast.Sub(),
            right=ast.Constant(),
        ):
            return target.endswith(f".{attr}")
        case ast.BinOp(left=side, op=ast.Add() | ast.Sub(), right=ast.Constant()):
            return _dotted(side) == target
    return False


def _unfilled(
    resolver: Resolver, function: Scope, nodes: list[ast.AST]
) -> Iterator[tuple[int, str]]:
    """Memory that nobody wrote to is returned as the answer."""

    def empty(node: ast.AST | None) -> bool:
        if not isinstance(node, ast.Call):
            return False
        last = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        paths = resolver.paths(node.func, function) if not last or "empty" in last else []
        return any(p.startswith(("torch.empty",)) for p in paths) or last == "new_empty"

    for node in nodes:
        if not isinstance(node, ast.Return) or node.value is None:
            continue
        for value in node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]:
            if empty(value):
                yield node.lineno, "returns memory that was never written to"
            elif isinstance(value, ast.Name):
                bindings = function.bindings.get(value.id, [])
                if not bindings or value.id in function.parameters:
                    continue
                only_empty = all(b.how == "is" and empty(b.node) for b in bindings)
                if only_empty and not _touched(value.id, function, nodes):
                    yield node.lineno, "returns memory that was never written to"


def _touched(name: str, function: Scope, nodes: list[ast.AST]) -> bool:
    """True where a name is used anywhere but as what is returned, inner functions included."""
    uses = 0
    for count, inner in enumerate(ast.walk(function.node)):
        if isinstance(inner, ast.Name) and inner.id == name and isinstance(inner.ctx, ast.Load):
            uses += 1
        if count > MAX_STATEMENTS:
            return True
    returned = sum(
        isinstance(inner, ast.Name) and inner.id == name
        for node in nodes
        if isinstance(node, ast.Return) and node.value is not None
        for inner in (node.value.elts if isinstance(node.value, ast.Tuple) else [node.value])
    )
    return uses > returned


def _for_show(
    resolver: Resolver, function: Scope, nodes: list[ast.AST]
) -> Iterator[tuple[int, str]]:
    """A kernel is called, but nothing that it was given or gave comes back from forward.

    Looks at names only, without order: what a call was given counts as written by it, except
    forward's own parameters.
    """
    calls = [n for n in nodes if isinstance(n, ast.Call) and _calls_own(resolver, n, function)]
    returns = [n.value for n in nodes if isinstance(n, ast.Return) and n.value is not None]
    own = {id(call) for call in calls}

    def holds_call(node: ast.AST) -> bool:
        return any(id(inner) in own for inner in ast.walk(node))

    if not calls or not returns or any(holds_call(value) for value in returns):
        return
    # What leads to a name, so that a list of arguments stands for what is in it.
    sources: dict[str, set[str]] = {}
    written = {name for call in calls for name in _names(call)}
    for node in nodes:
        if not isinstance(
            node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.NamedExpr | ast.For
        ):
            continue
        given = node.iter if isinstance(node, ast.For) else node.value
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        to = {name for target in targets for name in _names(target)}
        for name in to if given is not None else ():
            sources.setdefault(name, set()).update(_names(given) if given is not None else ())
        if given is not None and holds_call(given):
            written |= to
    written = _closure(written, sources)
    for value in returns:
        direct = _names(value)
        behind = _closure(direct, sources) - set(function.parameters)
        bare = isinstance(value, ast.Name | ast.Attribute | ast.Tuple)
        if (behind & written) or (bare and direct & written):
            return
    yield calls[0].lineno, "what its own kernel computes does not reach what forward returns"


def _calls_own(resolver: Resolver, call: ast.Call, function: Scope) -> bool:
    return any(
        v.kind in ("own", "def", "object", "made") for v in resolver.values(call.func, function)
    ) or any(v.kind in ("own", "result") for v in resolver.values(call, function))


def _names(node: ast.AST) -> set[str]:
    """Return the names in an expression; attributes of `self` as `self.x`."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            found.add(inner.id)
        elif isinstance(inner, ast.Attribute):
            found.add(_dotted(inner))
    return found - {"", "self", "torch"}


def _closure(names: set[str], sources: dict[str, set[str]]) -> set[str]:
    todo, done = list(names), set(names)
    while todo and len(done) < 500:
        for name in sources.get(todo.pop(), ()):
            if name not in done:
                done.add(name)
                todo.append(name)
    return done
