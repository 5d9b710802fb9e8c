"""Reads from a feedback text how a kernel fared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a kernel fared, as far as its feedback says."""

    FASTER = "faster"
    SLOWER = "slower"
    COMPILE_ERROR = "compile error"
    WRONG = "wrong"
    BROKEN = "broken"
    UNKNOWN = "unknown"

    @property
    def failed(self) -> bool:
        """True where the kernel gave no right answer."""
        return self in (Outcome.COMPILE_ERROR, Outcome.WRONG, Outcome.BROKEN)


@dataclass(frozen=True, slots=True)
class Fared:
    """An outcome and the speedup read with it, None where the text names none."""

    outcome: Outcome
    speedup: float | None = None


_FAILURES = (
    (
        Outcome.COMPILE_ERROR,
        r"compil\w{0,8}[ _-]+(?:error|failure|failed)|(?:not|n't|to) compile\b",
    ),
    (Outcome.WRONG, r"\bincorrect|\bwrong\b|mismatch|not correct|correctness[ _-]+failure"),
    (
        Outcome.BROKEN,
        r"runtime[ _-]+(?:error|failure)|time[ds]?[ _-]?out|\breject|\bcrash|traceback",
    ),
)
_SPEEDUP = (
    re.compile(r"speed-?up\b[^\d\n]{0,40}(\d{1,9}(?:\.\d{1,9})?)", re.IGNORECASE),
    re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*[x\u00d7](?![\w])"),
    re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*times (?:as fast|faster)", re.IGNORECASE),
)
FASTER_FROM = 1.02
"""A speedup below this is taken as none: it is within the noise of a machine in use."""


def read_feedback(text: str) -> Fared:
    """Return how the kernel fared; what the text names first decides."""
    text = text[:20_000]
    failures = [
        (match.start(), outcome)
        for outcome, pattern in _FAILURES
        if (match := re.search(pattern, text, re.IGNORECASE))
    ]
    speedup = next((match for pattern in _SPEEDUP if (match := pattern.search(text))), None)
    if failures and (speedup is None or min(failures)[0] < speedup.start()):
        return Fared(min(failures)[1])
    if speedup is None:
        return Fared(Outcome.UNKNOWN)
    value = float(speedup[1])
    return Fared(Outcome.FASTER if value >= FASTER_FROM else Outcome.SLOWER, value)
