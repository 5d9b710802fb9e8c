"""What counts as a kernel of one's own: `evaluator.policy`, over what the tripwire found.

`any` rejects nothing. `no_library` rejects a kernel whose work the library does. `strict` also
rejects fallbacks, narrower types and everything suspicious.
"""

from __future__ import annotations

import re
from typing import Any

from kbexp.config import Policy
from kbexp.worker.tripwire import Findings

MAX_NAMED = 6
"""So many findings are named in a reason; the verdict's facts have the others."""

_NARROW = re.compile(r"\btorch\.(?:float16|half|bfloat16|float8\w*)\b|\.(?:half|bfloat16)\(")


def breaches(
    findings: Findings, policy: Policy, device: str = "cuda", task_source: str = ""
) -> tuple[str, ...]:
    """Return why a policy rejects a kernel, the weightiest reason first; () where it does not.

    On a CPU what is done "where there is no GPU" is the kernel's own way. Narrower types are no
    downgrade where the task itself uses them.
    """
    if policy is Policy.any:
        return ()
    reasons = list(_library(findings, device))
    if policy is Policy.strict:
        reasons += _strict(findings, task_source)
    return tuple(f"Policy {policy}: {reason}." for reason in reasons)


def _library(findings: Findings, device: str) -> list[str]:
    """Return how the library does the kernel's work."""
    reasons = []
    calls = [c for c in findings.calls if c.guard in ("", "except")]
    if device == "cpu":
        calls += [c for c in findings.calls if c.guard == "place"]
    if calls:
        named = dict.fromkeys(f"{c.operator} (line {c.line})" for c in calls)
        reasons.append(f"forward computes with operators of the library: {_some(list(named))}")
    if findings.stand_ins:
        named_ = [f"{f.text} (line {f.line})" for f in findings.stand_ins]
        reasons.append(f"something stands in for a kernel: {_some(named_)}")
    if not findings.own_kernels:
        reasons.append("there is no kernel of its own")
    elif not findings.own_kernel_used:
        reasons.append("forward does not reach the kernel of its own")
    if not findings.complete:
        reasons.append("the text is too long or too tangled to be read to its end")
    return reasons


def _strict(findings: Findings, task_source: str) -> list[str]:
    reasons = []
    if findings.fallbacks:
        named = dict.fromkeys(f"{c.operator} (line {c.line})" for c in findings.fallbacks)
        reasons.append(f"it falls back to the library: {_some(list(named))}")
    if findings.downgrades and not _NARROW.search(task_source):
        narrow = [f"{f.text} (line {f.line})" for f in findings.downgrades]
        reasons.append(f"it uses types with fewer bits: {_some(narrow)}")
    if findings.suspicions:
        reasons.append(f"it is suspicious: {_some([str(f) for f in findings.suspicions])}")
    return reasons


def _some(named: list[str]) -> str:
    more = len(named) - MAX_NAMED
    return ", ".join(named[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def facts(findings: Findings) -> dict[str, Any]:
    """Return the findings as a verdict carries them: a bounded JSON object."""
    return {
        "operators": list(findings.operators),
        "fallbacks": [f"line {c.line}: {c.operator} ({c.guard})" for c in findings.fallbacks],
        "own_kernel": " ".join(findings.own_kernels),
        "own_kernel_used": findings.own_kernel_used,
        "stand_ins": [str(found) for found in findings.stand_ins],
        "downgrades": [str(found) for found in findings.downgrades],
        "suspicions": [str(found) for found in findings.suspicions],
        "complete": findings.complete,
    }
