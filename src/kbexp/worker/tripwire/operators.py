"""Which dotted names are operators that compute."""

from __future__ import annotations

from kbexp.worker.tripwire import words

_NO_OPERATORS = frozenset(["pad", "one_hot"])


def is_operator(path: str) -> bool:
    """True where a dotted name is an operator of a library that computes."""
    parts = path.split(".")
    root, last = parts[0], parts[-1]
    name = last.strip("_")
    if root in words.LIBRARIES:
        return len(parts) > 1
    if root != "torch":
        return bool(words.SYSTEM_BLAS.search(root)) and root.startswith("lib")
    if path.startswith("torch.ops."):
        if len(parts) < 4:
            return False
        return parts[2] != "aten" or parts[3].strip("_") in words.COMPUTE or parts[3][0] == "_"
    if path.startswith("torch.nn.functional."):
        return last.islower() and last not in _NO_OPERATORS
    if path.startswith(("torch.linalg.", "torch.fft.", "torch.special.")):
        return last.islower()
    if path.startswith(("torch.nn.", "torch.cuda.", "torch.backends.", "torch.utils.")):
        return False
    if last in words.DUNDERS:
        return True
    return name in words.COMPUTE
