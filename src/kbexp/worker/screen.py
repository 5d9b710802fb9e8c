"""A look at a kernel's text before any process is spent on it."""

from __future__ import annotations

import ast
import warnings
from dataclasses import replace

from kbexp.config import Policy
from kbexp.verdict import Phase, Status, Verdict
from kbexp.worker.outcome import Outcome
from kbexp.worker.policy import MAX_NAMED, breaches, facts
from kbexp.worker.tripwire import Findings, look_at

MAX_SOURCE_BYTES = 2**20


def screen(source: str) -> Outcome | None:
    """Return the outcome where the text cannot be a kernel; None where it may be one."""
    return _read(source)[0]


def examine(
    source: str, policy: Policy, device: str, task_source: str
) -> tuple[Outcome | None, Findings | None]:
    """Screen a text, look at it and hold it against a policy.

    Returns the outcome where the evaluation ends here, and what was found in a text that is Python.
    """
    outcome, tree = _read(source)
    if tree is None:
        return outcome, None
    findings = look_at(tree, source)
    reasons = breaches(findings, policy, device, task_source)
    if outcome is None and reasons:
        outcome = Outcome(Status.REJECTED, Phase.SCREEN, reasons)
    return outcome, findings


def with_facts(verdict: Verdict, findings: Findings) -> Verdict:
    """Return a verdict that says what was found in the kernel's text.

    What is suspicious becomes a reason only where the kernel is rejected: alone it proves nothing.
    """
    reasons = verdict.reasons
    if verdict.status is Status.REJECTED:
        said = "\n".join(reasons)
        odd = [str(found) for found in findings.suspicions if str(found) not in said]
        reasons += tuple(odd[:MAX_NAMED])
    return replace(verdict, facts=facts(findings), reasons=reasons)


def _read(source: str) -> tuple[Outcome | None, ast.Module | None]:
    """Return the outcome where a text cannot be a kernel, and its tree where it is Python."""
    size = len(source.encode("utf-8", "replace"))
    if not source.strip():
        return _ends("The kernel is empty."), None
    if size > MAX_SOURCE_BYTES:
        return _ends(f"The kernel has {size} bytes; at most {MAX_SOURCE_BYTES} are read."), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except SyntaxError as error:
        line = (error.text or "").rstrip()
        ended = _ends(
            f"The kernel is not Python: line {error.lineno}: {error.msg}.",
            f"line {error.lineno}: {line}\n{error.msg}",
        )
        return ended, None
    except (ValueError, RecursionError, MemoryError) as error:
        return _ends(f"The kernel is not Python: {error or type(error).__name__}."), None
    if "ModelNew" not in source:
        return _ends("The kernel defines no ModelNew."), tree
    return None, tree


def _ends(reason: str, log: str = "") -> Outcome:
    return Outcome(Status.COMPILE_ERROR, Phase.SCREEN, (reason,), log=log)
