"""What in a kernel's Python is suspicious: honest kernels seldom need it, cheats do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from kbexp.worker.tripwire import risks, words
from kbexp.worker.tripwire.index import Scope
from kbexp.worker.tripwire.reach import Reached
from kbexp.worker.tripwire.resolver import Resolver
from kbexp.worker.tripwire.state import states
from kbexp.worker.tripwire.values import canonical

Suspicion = tuple[int, str]
"""A line and what is suspicious there."""

_PLACES = re.compile(r"/proc(?:/|\b)|/dev/(?!null)|/sys/|LD_PRELOAD|\bptrace\b")
_WINDOW = re.compile(r"access_?policy_?window|persisting_?l2", re.I)
_LAST = frozenset(
    name.rpartition(".")[2]
    for name in (*risks.RISKY_PATHS, *risks.CLOCKS, *risks.FILE_WRITERS, *words.COMPILERS)
)
_REGISTERING = ("torch.library.Library", "torch.library.impl", "torch.library.register_kernel")
_STREAMS = ("torch.cuda.Stream", "torch.cuda.ExternalStream", "torch.Stream")
_WAITED_FOR = ("current_stream", "default_stream")


def suspicions(resolver: Resolver, reached: Reached) -> Iterator[Suspicion]:
    """Yield everything suspicious, in no order."""
    found = resolver.found
    for node, _ in found.all(ast.Import):
        for alias in node.names:
            yield from _module(alias.name, node.lineno)
    for given, _ in found.all(ast.ImportFrom):
        yield from _imports(given)
    forward = {id(scope) for scope in reached.functions.values()}
    builds = _builds(resolver)
    for attribute, scope in found.all(ast.Attribute):
        yield from _attribute(resolver, attribute, scope, forward, builds)
    for call, scope in found.all(ast.Call):
        yield from _call(resolver, call, scope, forward, builds)
    for changed, scope in found.all(ast.AugAssign):
        yield from _assigned(resolver, [changed.target], scope)
    for assigned, scope in found.all(ast.Assign):
        yield from _assigned(resolver, assigned.targets, scope)
    for deleted, scope in found.all(ast.Delete):
        yield from _assigned(resolver, deleted.targets, scope)
    for constant, _ in found.all(ast.Constant):
        if isinstance(constant.value, str) and len(constant.value) < 40_000:
            yield from _text(constant.value, constant.lineno)
    yield from _definitions(resolver)
    yield from _streams(resolver)
    yield from states(resolver, reached)


def _imports(node: ast.ImportFrom) -> Iterator[Suspicion]:
    known = list(_module(node.module or "", node.lineno))
    yield from known
    for alias in node.names if not known else ():
        path = f"{node.module}.{alias.name}"
        yield from _module(path, node.lineno)
        yield from _path(path, node.lineno)


def _module(name: str, line: int) -> Iterator[Suspicion]:
    root = name.partition(".")[0]
    for known in dict.fromkeys((root, name)):
        if known in risks.RISKY_MODULES:
            yield line, f"import of {name}: {risks.RISKY_MODULES[known]}"
            return


def _path(path: str, line: int) -> Iterator[Suspicion]:
    if path in risks.RISKY_PATHS:
        yield line, f"{path} {risks.RISKY_PATHS[path]}"
    elif path.startswith(risks.RISKY_PREFIXES):
        yield line, f"{path} starts processes"


def _attribute(
    resolver: Resolver, node: ast.Attribute, scope: Scope, forward: set[int], builds: bool
) -> Iterator[Suspicion]:
    if node.attr in risks.RISKY_ATTRIBUTES and isinstance(node.ctx, ast.Load):
        yield node.lineno, f".{node.attr} {risks.RISKY_ATTRIBUTES[node.attr]}"
    if node.attr in risks.FILE_METHODS and not builds:
        yield node.lineno, f".{node.attr} works on files"
    if node.attr in _LAST or node.attr.startswith(("exec", "spawn")):
        for path in resolver.paths(node, scope):
            yield from _path(path, node.lineno)
            yield from _clock(path, node.lineno, scope, forward)


def _clock(path: str, line: int, scope: Scope, forward: set[int]) -> Iterator[Suspicion]:
    if path in risks.CLOCKS and id(scope) in forward:
        yield line, f"{path} in forward: a kernel has no use for the time"


def _call(
    resolver: Resolver, node: ast.Call, scope: Scope, forward: set[int], builds: bool
) -> Iterator[Suspicion]:
    if isinstance(node.func, ast.Attribute) and node.func.attr not in _CALLED:
        return
    line, first = node.lineno, node.args[0] if node.args else None
    for path in map(canonical, resolver.paths(node.func, scope)):
        if path in ("builtins.exec", "builtins.eval", "builtins.compile", "builtins.execfile"):
            yield line, f"{path.removeprefix('builtins.')} runs text as code"
        elif path in ("builtins.__import__", "importlib.import_module"):
            name = resolver.text(first, scope)
            if name is None:
                yield line, "imports a module whose name is computed"
            else:
                yield from _module(name, line)
                if not isinstance(first, ast.Constant):
                    yield line, f"pieces the name of a module together: {name[:40]}"
        elif path.startswith("importlib.") and path != "importlib.util.find_spec":
            yield line, f"{path} works on the import system"
        elif path in ("builtins.getattr", "operator.attrgetter", "operator.methodcaller"):
            yield from _looked_up(resolver, node, scope, path)
        elif path in ("builtins.setattr", "builtins.delattr"):
            for target in resolver.paths(first, scope):
                yield line, f"{path.removeprefix('builtins.')} changes {target[:60]}"
        elif path in risks.FILE_WRITERS and not (builds and id(scope) not in forward):
            yield line, f"{path.removeprefix('builtins.')} works on files"
        elif path in ("ctypes.CDLL", "ctypes.PyDLL", "ctypes.cdll.LoadLibrary"):
            yield from _opened(resolver, first, scope, line)
        elif path in _REGISTERING:
            if (resolver.text(first, scope) or "").partition("::")[0] == "aten":
                yield line, "replaces an operator of PyTorch"
        else:
            yield from _clock(path, line, scope, forward)
            if isinstance(node.func, ast.Name):
                yield from _path(path, line)


_CALLED = words.names(
    """
    exec eval compile __import__ import_module getattr setattr delattr attrgetter methodcaller CDLL
    PyDLL LoadLibrary Library impl register_kernel reload spec_from_file_location module_from_spec
    exec_module SourceFileLoader __setattr__ open
    """
) | {name.rpartition(".")[2] for name in risks.FILE_WRITERS}


def _looked_up(resolver: Resolver, node: ast.Call, scope: Scope, path: str) -> Iterator[Suspicion]:
    """A name that is looked up by text: suspicious where the text is pieced together or unknown."""
    of = path == "builtins.getattr"
    key = node.args[1 if of else 0] if len(node.args) > of else None
    if key is None or (isinstance(key, ast.Constant) and not of):
        return
    name = resolver.text(key, scope)
    owners = resolver.paths(node.args[0], scope) if of else [path]
    constant = isinstance(key, ast.Constant)
    for owner in owners:
        if name is None:
            yield node.lineno, f"looks up a computed name of {owner[:60]}"
            continue
        if not constant and not isinstance(key, ast.Name):
            yield node.lineno, f"pieces a name together: {owner[:60]}.{name[:40]}"
        yield from _path(f"{owner}.{name}", node.lineno)
    if name in risks.RISKY_ATTRIBUTES:
        yield node.lineno, f".{name} {risks.RISKY_ATTRIBUTES[name]}"


def _opened(
    resolver: Resolver, name: ast.expr | None, scope: Scope, line: int
) -> Iterator[Suspicion]:
    text = resolver.text(name, scope)
    if name is None or (isinstance(name, ast.Constant) and name.value is None):
        yield line, "opens the process itself as a library"
    elif text is not None and words.SYSTEM_LIBRARY.match(text) and "libm." not in text:
        yield line, f"opens {text[:60]}, a library of the system"


def _assigned(resolver: Resolver, places: list[ast.expr], scope: Scope) -> Iterator[Suspicion]:
    """Attributes of what was imported are not the kernel's to set; flags of backends are."""
    targets = [*places]
    for target in targets:
        match target:
            case ast.Tuple(elts=several) | ast.List(elts=several):
                targets += several
            case ast.Attribute(value=value, attr=attr):
                for path in resolver.paths(value, scope):
                    if not path.startswith(("torch.backends", "builtins.self")):
                        yield target.lineno, f"assigns to {path[:60]}.{attr[:40]}"
            case ast.Subscript(value=value):
                for path in resolver.paths(value, scope):
                    if path.endswith((".__dict__", ".modules")) or path == "builtins.globals()":
                        yield target.lineno, f"assigns into {path[:60]}"


def _text(text: str, line: int) -> Iterator[Suspicion]:
    place = _PLACES.search(text)
    if place is not None and "#include" not in text:
        yield line + text.count("\n", 0, place.start()), f"a text names {place[0]}"
    if len(text) < 200 and _WINDOW.search(text):
        yield line, "keeps data in the L2 cache"


def _definitions(resolver: Resolver) -> Iterator[Suspicion]:
    found = resolver.found
    for node, scope in found.all(ast.FunctionDef):
        if node.name in ("get_inputs", "get_init_inputs") and scope.kind == "module":
            yield node.lineno, f"defines {node.name}, which is the task's"
        if node.name == "__class__":
            yield node.lineno, "defines __class__: claims to be of another type"
        if node.name in ("__torch_function__", "__torch_dispatch__", "__array_function__"):
            yield node.lineno, f"defines {node.name}: steps between a tensor and its operators"
    for made, scope in found.all(ast.ClassDef):
        for base in made.bases[:8]:
            for path in resolver.paths(base, scope):
                if path in ("torch.Tensor", "torch.nn.Parameter", "torch._C.TensorBase"):
                    yield made.lineno, f"{made.name[:40]} is a tensor of its own kind"
                yield from _path(path, made.lineno)


def _streams(resolver: Resolver) -> Iterator[Suspicion]:
    """A stream is joined where the current one, or the host, waits for it."""
    made, joined = 0, False
    for node, scope in resolver.found.all(ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in ("Stream", "ExternalStream") or isinstance(node.func, ast.Name):
            if set(resolver.paths(node.func, scope)) & set(_STREAMS):
                made = made or node.lineno
        elif name == "synchronize":
            joined = True
        elif name in ("wait_stream", "wait_event") and isinstance(node.func, ast.Attribute):
            receivers = resolver.values(node.func.value, scope)
            joined |= any(value.text.endswith(_WAITED_FOR) for value in receivers)
    if made and not joined:
        yield made, "makes a CUDA stream that nothing waits for"


def _builds(resolver: Resolver) -> bool:
    """True where a kernel compiles files, which it then has to write."""
    return any(
        getattr(node.func, "attr", getattr(node.func, "id", "")) == "load"
        and "torch.utils.cpp_extension.load" in resolver.paths(node.func, scope)
        for node, scope in resolver.found.all(ast.Call)
    )
