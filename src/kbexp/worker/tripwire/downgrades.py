"""Types with fewer bits than float32, and settings that let the library use them."""

from __future__ import annotations

import ast

from kbexp.worker.tripwire import words
from kbexp.worker.tripwire.resolver import Resolver

_SETTINGS = words.names(
    """
    allow_tf32 fp32_precision set_float32_matmul_precision autocast
    allow_fp16_reduced_precision_reduction allow_bf16_reduced_precision_reduction
    """
)
_TORCH = ("torch.", "triton.", "builtins.", "numpy.")


def narrower_types(resolver: Resolver) -> list[tuple[int, str]]:
    """Return the lines of a kernel's Python that use them."""
    results: list[tuple[int, str]] = []
    for node, scope in resolver.found.all(ast.Attribute):
        if node.attr in _SETTINGS:
            results.append((node.lineno, node.attr))
        elif node.attr in words.REDUCED:
            paths = resolver.paths(node, scope)
            known = [path for path in paths if path.startswith(_TORCH)]
            results += [(node.lineno, path) for path in known]
            if not paths and node.attr in ("half", "bfloat16"):
                results.append((node.lineno, f"Tensor.{node.attr}"))
    for call, scope in resolver.found.all(ast.Call):
        for keyword in call.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg == "input_precision" and value == "tf32":
                results.append((call.lineno, "input_precision=tf32"))
            elif keyword.arg == "allow_tf32" and value is True:
                results.append((call.lineno, "allow_tf32"))
        if isinstance(call.func, ast.Name) and "torch.autocast" in resolver.paths(call.func, scope):
            results.append((call.lineno, "autocast"))
    for given, _ in resolver.found.all(ast.ImportFrom):
        if given.module in ("torch", "triton.language"):
            reduced = [alias.name for alias in given.names if alias.name in words.REDUCED]
            results += [(given.lineno, f"{given.module}.{name}") for name in reduced]
    return results
