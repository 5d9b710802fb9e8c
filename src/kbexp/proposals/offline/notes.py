"""The playbook's summary of a search: a list of what was tried and how it fared, nothing more.

Each line holds what the provider read in one kernel's feedback, in a form that it can read back:
what it wrote for one question shifts its odds in the next, as a model's own summary would.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kbexp.proposals.offline.book import Book
from kbexp.proposals.offline.feedback import Outcome, read_feedback
from kbexp.proposals.offline.playbook.mark import read_mark, write_mark
from kbexp.proposals.offline.prompt_reader import Prompt

KEPT = {Outcome.FASTER: 10, Outcome.SLOWER: 6}
KEPT_FAILURES = 6
"""How many lines of each kind a summary keeps: of the fast ones the fastest, else the newest."""

_WHAT = "The list says how each fared by its feedback; why, nobody has thought about."
_OTHER = "a kernel of another hand"
_SLIPPED = ", with a mistake in it"
_LINE = re.compile(
    rf"- ({'|'.join(re.escape(outcome) for outcome in Outcome)})"
    r"(?: \((\d{1,6}(?:\.\d{1,6})?)x\))?: (.{1,400}?)(" + re.escape(_SLIPPED) + r")?"
)


@dataclass(frozen=True, slots=True)
class Note:
    """How a kernel fared: `name` is its mark's text, `clean` false where a mistake was in it."""

    name: str
    outcome: Outcome
    speedup: float | None = None
    clean: bool = True

    @property
    def line(self) -> str:
        """Return the note as a line of a summary."""
        speed = f" ({self.speedup:.4g}x)" if self.speedup is not None else ""
        return f"- {self.outcome}{speed}: {self.name}{'' if self.clean else _SLIPPED}"


def read_notes(summary: str) -> list[Note]:
    """Return the notes in a summary, in order; lines that are none are passed over."""
    notes = []
    for line in summary.splitlines():
        found = _LINE.fullmatch(line.strip())
        if found:
            speedup = None if found[2] is None else float(found[2])
            notes.append(Note(found[3], Outcome(found[1]), speedup, found[4] is None))
    return notes


def write_notes(prompt: Prompt, book: Book | None, who: str) -> str:
    """Return the summary that a prompt holds, with the kernels that it shows taken in."""
    fresh = [_note(kernel.source, kernel.feedback, book) for kernel in prompt.shown]
    known = {note.name: note for note in [*read_notes(prompt.summary), *fresh]}
    lines = [who, _WHAT, *(note.line for note in _kept(list(known.values())))]
    return "\n".join(lines)


def _note(source: str, told: str, book: Book | None) -> Note:
    fared, mark = read_feedback(told), read_mark(source)
    page = book.read(source) if book else None
    clean = page is None or book is None or book.write(*page, None).strip() == source.strip()
    name = write_mark(mark).removeprefix("# playbook: ") if mark else _OTHER
    return Note(name, fared.outcome, fared.speedup, clean)


def _kept(notes: Sequence[Note]) -> list[Note]:
    """Return the fastest first, then slow ones, then failures, of each kind as many as are kept."""
    kept: list[Note] = []
    for outcome, count in KEPT.items():
        own = [note for note in notes if note.outcome is outcome]
        if outcome is Outcome.FASTER:
            kept += sorted(own, key=lambda note: -(note.speedup or 0.0))[:count]
        else:
            kept += own[-count:]
    return kept + [note for note in notes if note.outcome.failed][-KEPT_FAILURES:]
