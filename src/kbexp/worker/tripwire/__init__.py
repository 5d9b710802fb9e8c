"""A tripwire: what a kernel's text says about itself before it runs.

`look` reads the syntax tree and reports *facts* (which operators of the library are called on the
way to the output, what kernels of its own there are and whether forward reaches them, types with
fewer bits) and *suspicions* (what cheats need and honest kernels seldom do). It judges nobody: the
walls, the answers and the clocks do, and a text can always be written so that nothing is seen.
What a policy makes of the findings is in `kbexp.worker.policy`.

Why rules of our own: `worker` runs beside a device with nothing but torch and numpy, and the rule
sets that exist ask other questions. KernelBench's checker searches text by regular expressions: it
takes any `try` and any `pass` for a trick and misses `from torch import mm as f`. kernelguard 0.3
(about 55 rules, made for a contest's entry points) follows aliases and pieced texts where timers
and stack frames are concerned; it does not ask which operators a kernel calls or whether its own
kernel is reached, and called kernels valid that fork, walk the heap or paste tokens together in
native text. Here names are resolved first, through aliases, attributes, containers and texts that
are pieced together, and pasted tokens are joined; every rule then asks what a name stands for.

Bounded on hostile text: nodes, steps, depth, findings and their length are limited, nothing is run,
and where a limit is reached `complete` is False.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

from kbexp.worker.tripwire import words
from kbexp.worker.tripwire.downgrades import narrower_types
from kbexp.worker.tripwire.index import Index, index
from kbexp.worker.tripwire.native import Native, look_native, looks_native
from kbexp.worker.tripwire.reach import EXECUTED, Reached, reach
from kbexp.worker.tripwire.resolver import Resolver
from kbexp.worker.tripwire.suspicions import suspicions
from kbexp.worker.tripwire.values import Value, canonical

MAX_FINDINGS = 24
MAX_LENGTH = 160
MAX_NATIVE_TEXTS = 40
MAX_EXECUTED = 8
REFERENCE = "the reference Model"

__all__ = ["Call", "Finding", "Findings", "look", "look_at"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something at a line of a kernel."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Call:
    """An operator of a library that forward may come to call, and the line of the first call.

    `guard` is "" on the way to the output, "except" in a handler of exceptions; "form", "place" and
    "status" are fallbacks: behind a test of the input's form, of the device, of what a kernel of
    its own returned.
    """

    operator: str
    line: int
    guard: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look at a kernel found; everything in the order of its lines.

    `own_kernels` are the kinds of kernels that are made (triton, cuda, c++, nvrtc, …), and
    `own_kernel_used` says whether forward reaches one. `stand_ins` are what does the work in a
    kernel's place: `torch.compile`, the reference itself. `complete` is False where the text was
    too long or too tangled to be read to its end.
    """

    calls: tuple[Call, ...] = ()
    own_kernels: tuple[str, ...] = ()
    own_kernel_used: bool = False
    stand_ins: tuple[Finding, ...] = ()
    downgrades: tuple[Finding, ...] = ()
    suspicions: tuple[Finding, ...] = ()
    complete: bool = True

    @property
    def operators(self) -> tuple[str, ...]:
        """The library's operators on the way to the output."""
        return tuple(dict.fromkeys(c.operator for c in self.calls if c.guard in ("", "except")))

    @property
    def fallbacks(self) -> tuple[Call, ...]:
        """The calls behind a guard."""
        return tuple(call for call in self.calls if call.guard not in ("", "except"))


def look(source: str) -> Findings:
    """Look at a kernel's text; never raises, whatever the text is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Findings(complete=False)
    return look_at(tree, source)


def look_at(tree: ast.Module, source: str) -> Findings:
    """Look at a kernel whose tree is at hand already; never raises."""
    try:
        return find(tree, source)
    except Exception:
        # A text that is written against this module costs its own evaluation nothing but the facts.
        return Findings(complete=False)


def find(tree: ast.Module, source: str) -> Findings:
    """Do what `look_at` does, and raise what goes wrong on the way."""
    found = index(tree)
    resolver = Resolver(found)
    executed = _executed(found, resolver) if "exec" in source else []
    if executed:
        found = index(ast.Module([*tree.body, *executed], []))
        resolver = Resolver(found)
    reached = reach(resolver, source)
    native = _native(found)
    own = _own_kernels(resolver)
    if not reached.own_way:
        # Where there is no way of its own, nothing is a fallback from it.
        calls = [Call(name, line) for (name, _), line in reached.operators.items()]
    else:
        calls = [Call(name, line, guard) for (name, guard), line in reached.operators.items()]
        calls += [Call(name, line) for text in native for name, line in text.operators.items()]
    narrow = narrower_types(resolver)
    narrow += [(line, name) for text in native for name, line in text.narrow.items()]
    odd = list(suspicions(resolver, reached))
    odd += [pair for text in native for pair in text.suspicions]
    return Findings(
        calls=tuple(sorted(set(calls), key=lambda c: (c.line, c.operator, c.guard))[:MAX_FINDINGS]),
        own_kernels=own,
        own_kernel_used=bool(reached.own),
        stand_ins=_findings(_stand_ins(resolver, reached)),
        downgrades=_findings(narrow),
        suspicions=_findings(odd),
        complete=found.complete and not resolver.exhausted and not reached.exhausted,
    )


def _findings(pairs: list[tuple[int, str]]) -> tuple[Finding, ...]:
    """Sort, say everything once, and keep within bounds; a surrogate is nothing to show."""
    first: dict[str, int] = {}
    for line, text in sorted(pairs):
        clean = "".join(c if c.isprintable() else "?" for c in text[:MAX_LENGTH])
        first.setdefault(clean, line)
    return tuple(Finding(line, text) for text, line in list(first.items())[:MAX_FINDINGS])


def _native(found: Index) -> list[Native]:
    """Look at the native texts among a kernel's constants."""
    results: list[Native] = []
    for node, _ in found.all(ast.Constant):
        text = node.value
        if isinstance(text, str) and len(results) < MAX_NATIVE_TEXTS and looks_native(text):
            results.append(look_native(text, node.lineno))
    return results


def _own_kernels(resolver: Resolver) -> tuple[str, ...]:
    """Return the kinds of kernels that are made anywhere, whether they are used or not."""
    makers = {path.rpartition(".")[2] for path in words.MAKERS}
    values: list[Value] = []
    for call, scope in resolver.found.all(ast.Call):
        name = getattr(call.func, "attr", None)
        if name is None or name in makers:
            values += resolver.values(call, scope)
    for function, scope in resolver.found.all(ast.FunctionDef):
        if function.decorator_list:
            values += resolver.named(function.name, scope)
    return tuple(dict.fromkeys(value.text for value in values if value.kind == "own"))[:8]


def _stand_ins(resolver: Resolver, reached: Reached) -> list[tuple[int, str]]:
    """Find what does the work in a kernel's place, and where."""
    results: list[tuple[int, str]] = []
    if reached.reference:
        results.append((reached.reference, REFERENCE))
    last = {path.rpartition(".")[2] for path in words.COMPILERS}
    for node, scope in resolver.found.all(ast.Attribute):
        if node.attr in last:
            results += [(node.lineno, canonical(path)) for path in resolver.paths(node, scope)]
    for given, _ in resolver.found.all(ast.ImportFrom):
        paths = [f"{given.module}.{alias.name}" for alias in given.names]
        results += [(given.lineno, canonical(path)) for path in paths]
    return [(line, path) for line, path in results if path in (*words.COMPILERS, REFERENCE)]


def _executed(found: Index, resolver: Resolver) -> list[ast.stmt]:
    """Return the statements that a kernel runs through `exec`, where their text can be known.

    What they define is put beside what the module defines; the rest becomes a function that counts
    as reached.
    """
    results: list[ast.stmt] = []
    for node, scope in found.all(ast.Call):
        if not (isinstance(node.func, ast.Name) and node.args) or len(results) > MAX_EXECUTED:
            continue
        if "builtins.exec" not in resolver.paths(node.func, scope):
            continue
        text = resolver.text(node.args[0], scope)
        try:
            body = ast.parse(text or "").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for statement in body:
            ast.increment_lineno(statement, node.lineno - 1)
        defines = (ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
        results += [s for s in body if isinstance(s, defines)]
        rest = [s for s in body if not isinstance(s, defines)]
        if rest and scope.kind == "function":
            results.append(_as_function(rest, node.lineno))
        else:
            results += rest
    return results


def _as_function(body: list[ast.stmt], line: int) -> ast.FunctionDef:
    nothing = ast.arguments([], [], None, [], [], None, [])
    function = ast.FunctionDef(EXECUTED, nothing, body, [], None, None)
    function.lineno = function.end_lineno = line
    function.col_offset = function.end_col_offset = 0
    return function
