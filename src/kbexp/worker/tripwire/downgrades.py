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
    for seen in resolver.found.all(ast.Attribute):
        node = seen.node
        assert isinstance(node, ast.Attribute)
        if node.attr in _SETTINGS:
            results.append((node.lineno, node.attr))
        elif node.attr in words.REDUCED:
            paths = resolver.paths(node, seen.scope)
            known = [path for path in paths if path.startswith(_TORCH)]
            results += [(node.lineno, path) for path in known]
            if not paths and node.attr in ("half", "bfloat16"):
                results.append((node.lineno, f"Tensor.{node.attr}"))
    for seen in resolver.found.all(ast.Call):
        node_ = seen.node
        assert isinstance(node_, ast.Call)
        for keyword in node_.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            if keyword.arg == "input_precision" and value == "tf32":
                results.append((node_.lineno, "input_precision=tf32"))
            elif keyword.arg == "allow_tf32" and value is True:
                results.append((node_.lineno, "allow_tf32"))
        name = getattr(node_.func, "id", "")
        if name and "torch.autocast" in resolver.paths(node_.func, seen.scope):
            results.append((node_.lineno, "autocast"))
    for seen in resolver.found.all(ast.ImportFrom):
        node__ = seen.node
        assert isinstance(node__, ast.ImportFrom)
        for alias in node__.names:
            if node__.module in ("torch", "triton.language") and alias.name in words.REDUCED:
                results.append((node__.lineno, f"{node__.module}.{alias.name}"))
    return results
