"""Chooses what to try next: a variant, its values, and whether a mistake slips in.

Nothing here knows which values are good. They are drawn from wide ranges, or are near those of
the parent; what the prompt says of other kernels shifts the odds between variants.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from kbexp.proposals.offline.book import Book
from kbexp.proposals.offline.feedback import Fared, Outcome, read_feedback
from kbexp.proposals.offline.notes import Note, read_notes
from kbexp.proposals.offline.playbook.entry import Fault, Slip, Tunable, Values, Variant
from kbexp.proposals.offline.prompt_reader import Prompt
from kbexp.proposals.offline.shown import ShownKernel
from kbexp.proposals.offline.slips import slip_in

FAULT_RATE = 0.14
"""The chance of each kind of mistake in a kernel that is new."""

CAREFUL = 0.6
"""By this much smaller is the chance where a kernel that works is only changed a little."""

_ATTEMPTS = 12


@dataclass(frozen=True, slots=True)
class Trial:
    """A kernel of the book, shown or noted. `clean` is false where a mistake had slipped in."""

    variant: Variant
    values: Values
    fared: Fared
    clean: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """A kernel to propose, and why. `fault` is None where no mistake was put in."""

    variant: Variant
    values: Values
    source: str
    why: str
    fault: Fault | None = None


def explore(book: Book, prompt: Prompt, rng: random.Random) -> Choice:
    """Return the next kernel to try; `rng` is the only source of chance."""
    trials = [trial for kernel in prompt.shown if (trial := _trial(book, kernel))]
    noted = [trial for note in read_notes(prompt.summary) if (trial := _noted(book, note))]
    trials += noted
    parent = _trial(book, prompt.parent) if prompt.parent else None
    shown = {kernel.source.strip() for kernel in prompt.shown}
    shown |= {book.write(t.variant, t.values, None).strip() for t in noted if t.clean}
    for _ in range(_ATTEMPTS):
        variant, values, why, risk = _next(book, parent, trials, rng)
        source = book.write(variant, values, None)
        if source.strip() not in shown:
            break
    fault = _drawn_fault(risk, rng)
    if fault is not None:
        flawed = _with_fault(book, variant, values, source, fault, rng)
        if flawed != source:
            return Choice(variant, values, flawed, why, fault)
    return Choice(variant, values, source, why)


def _trial(book: Book, kernel: ShownKernel) -> Trial | None:
    page = book.read(kernel.source)
    if page is None:
        return None
    clean = book.write(*page, None).strip() == kernel.source.strip()
    return Trial(*page, read_feedback(kernel.feedback), clean)


def _noted(book: Book, note: Note) -> Trial | None:
    """Return what the summary says of a kernel of this book."""
    page = book.read(f"# playbook: {note.name}")
    return page and Trial(*page, Fared(note.outcome, note.speedup), note.clean)


def _next(
    book: Book, parent: Trial | None, trials: Sequence[Trial], rng: random.Random
) -> tuple[Variant, Values, str, float]:
    """Return variant, values, the reason in a sentence, and the risk of a mistake."""
    if parent is None:
        return *_new(book, trials, rng), "A first attempt with it.", 1.0
    outcome, speedup = parent.fared.outcome, parent.fared.speedup
    if outcome.failed and not parent.clean and rng.random() < 0.8:
        why = f"The parent's feedback says {outcome}: this repairs the mistake in it."
        return parent.variant, parent.values, why, 0.5
    if outcome.failed:
        why = f"The parent's feedback says {outcome}: another way is tried."
        return *_new(book, trials, rng, avoid=parent.variant), why, 1.0
    stay = 0.75 if outcome is Outcome.FASTER else 0.35
    if rng.random() < stay:
        if not parent.clean:
            why = "The parent's text departs from the template for no gain: that is taken back."
            return parent.variant, parent.values, why, CAREFUL
        at = f" at {speedup:g} times the reference's speed" if speedup is not None else ""
        why = f"The parent works{at}: its numbers are changed a little."
        return parent.variant, _mutated(parent, trials, rng), why, CAREFUL
    why = "The parent works: another way is tried beside it."
    return *_new(book, trials, rng, avoid=parent.variant), why, 1.0


def _new(
    book: Book, trials: Sequence[Trial], rng: random.Random, avoid: Variant | None = None
) -> tuple[Variant, Values]:
    """Return a variant by the odds, with new values or some near its best that was shown."""
    variants = [v for v in book.variants if v is not avoid] or list(book.variants)
    weights = [_odds(variant, trials) for variant in variants]
    variant = rng.choices(variants, weights)[0]
    best = _best([trial for trial in trials if trial.variant is variant])
    if best is not None and rng.random() < 0.5:
        return variant, _mutated(best, trials, rng)
    return variant, {tunable.name: rng.choice(tunable.values) for tunable in variant.tunables}


def _odds(variant: Variant, trials: Sequence[Trial]) -> float:
    """Untried counts 1; a failure that was the variant's own, 0.3; a speedup, by its size."""
    odds = 1.0
    own = [trial for trial in trials if trial.variant is variant]
    for trial in own:
        if trial.fared.outcome.failed and trial.clean:
            odds *= 0.3
    speedups = [trial.fared.speedup for trial in own if trial.fared.speedup is not None]
    return odds * min(3.0, max(0.3, *speedups, 0.3)) if speedups else odds


def _best(trials: Sequence[Trial]) -> Trial | None:
    timed = [trial for trial in trials if trial.fared.speedup is not None]
    return max(timed, key=lambda trial: trial.fared.speedup or 0.0) if timed else None


def _mutated(trial: Trial, trials: Sequence[Trial], rng: random.Random) -> Values:
    """Return the values with one or two of them changed, now and then to the best one's."""
    values, tunables = dict(trial.values), trial.variant.tunables
    best = _best([other for other in trials if other.variant is trial.variant])
    if best is not None and rng.random() < 0.25:
        values = {
            name: best.values[name] if rng.random() < 0.5 else old for name, old in values.items()
        }
    free = [tunable for tunable in tunables if len(tunable.values) > 1]
    for tunable in rng.sample(free, min(len(free), rng.choice((1, 1, 2)))):
        values[tunable.name] = _moved(tunable, values[tunable.name], rng)
    return values


def _moved(tunable: Tunable, value: int, rng: random.Random) -> int:
    """Return a neighbour of the value in the tunable's range, or any other one of it."""
    at = tunable.values.index(value)
    neighbours = [tunable.values[i] for i in (at - 1, at + 1) if 0 <= i < len(tunable.values)]
    others = [other for other in tunable.values if other != value]
    return rng.choice(neighbours if rng.random() < 0.7 else others)


def _drawn_fault(risk: float, rng: random.Random) -> Fault | None:
    chance = rng.random() / (FAULT_RATE * risk)
    return (*Fault,)[int(chance)] if chance < len(Fault) else None


def _with_fault(
    book: Book, variant: Variant, values: Values, source: str, fault: Fault, rng: random.Random
) -> str:
    """Return the text with a mistake of that kind, the variant's own or one that fits any."""
    own: list[Slip | None] = [slip for slip in variant.slips if slip.fault is fault]
    if own:
        return book.write(variant, values, rng.choice(own))
    return slip_in(fault, source, rng)
