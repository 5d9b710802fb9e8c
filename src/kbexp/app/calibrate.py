"""How far apart kernels lie by a way of comparing them, so that ε can be chosen for it.

The kernels are the playbook's, in C, C++, CUDA, Triton and torch. Pairs of them differ by something
that is known: a comment, a constant, a name, the way of doing it, the task.
"""

from __future__ import annotations

import itertools
import keyword
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kbexp.candidate import Embedder
from kbexp.proposals.offline.playbook import ENTRIES
from kbexp.proposals.offline.playbook.entry import Entry, Values, Variant
from kbexp.proposals.offline.playbook.render import render

KINDS = ("a comment", "a constant", "a name", "another way", "another task")
"""What the kernels of a pair differ by, the smallest difference first."""

QUANTILES = (0.1, 0.5, 0.9)

_WORD = re.compile(r"[A-Za-z_]\w{2,}")
_MARK = re.compile(r"^# playbook:.*\n", re.MULTILINE)
_TAKEN = frozenset({*keyword.kwlist, "torch", "self", "float", "int64_t", "forward", "ModelNew"})


@dataclass(frozen=True, slots=True)
class Pair:
    """Two kernels' texts and what they differ by."""

    kind: str
    one: str
    other: str


@dataclass(frozen=True, slots=True)
class Spread:
    """The distances of the pairs of one kind: how many there are, and their quantiles."""

    kind: str
    pairs: int
    quantiles: tuple[float, ...]


def pairs() -> list[Pair]:
    """Return pairs of every kind, the same ones each time."""
    found = []
    firsts = []
    for entry in ENTRIES.values():
        texts = [_text(entry, variant, _middle(variant)) for variant in entry.variants]
        firsts.append(texts[0])
        for variant, text in zip(entry.variants, texts, strict=True):
            found.append(Pair("a comment", text, f"# As fast as it gets.\n\n{text}"))
            if (moved := _moved(variant)) is not None:
                found.append(Pair("a constant", text, _text(entry, variant, moved)))
            if (name := _name(text)) is not None:
                renamed = re.sub(rf"\b{name}\b", f"{name}_of_it", text)
                found.append(Pair("a name", text, renamed))
        found += [Pair("another way", a, b) for a, b in itertools.pairwise(texts) if a != b]
    found += [Pair("another task", a, b) for a, b in itertools.pairwise(firsts)]
    return found


def texts_by_task() -> dict[str, list[str]]:
    """Return the playbook's kernels, one for each of its ways, by the name of their task."""
    found: dict[str, list[str]] = {}
    for entry in ENTRIES.values():
        texts = found.setdefault(entry.task, [])
        texts += [_text(entry, variant, _middle(variant)) for variant in entry.variants]
    return found


def spreads(embedder: Embedder, found: Sequence[Pair]) -> list[Spread]:
    """Return how far apart the pairs of each kind lie; raises what the embedder raises."""
    texts = list(dict.fromkeys(text for pair in found for text in (pair.one, pair.other)))
    vectors = dict(zip(texts, embedder.embed(texts), strict=True))
    made = []
    for kind in KINDS:
        distances = sorted(
            math.dist(vectors[pair.one], vectors[pair.other]) for pair in found if pair.kind == kind
        )
        made.append(Spread(kind, len(distances), tuple(_quantile(distances, q) for q in QUANTILES)))
    return made


def between(found: Sequence[Spread], kind: str, larger: str) -> float | None:
    """Return the ε that holds back nine tenths of one kind and lets nine tenths of another pass.

    None where there is none: by this way of comparing them, the two cannot be told apart.
    """
    of = {spread.kind: spread.quantiles for spread in found}
    low, high = of[kind][QUANTILES.index(0.9)], of[larger][QUANTILES.index(0.1)]
    return (low + high) / 2 if low < high else None


def _text(entry: Entry, variant: Variant, values: Values) -> str:
    """Return a kernel without the line by which the playbook knows it."""
    return _MARK.sub("", render(entry.task, variant, values, None, "cuda_inline"))


def _middle(variant: Variant) -> Values:
    return {t.name: t.values[len(t.values) // 2] for t in variant.tunables}


def _moved(variant: Variant) -> Values | None:
    """Return values of which one is a neighbour of the middle one; None where all are fixed."""
    for tunable in variant.tunables:
        if len(tunable.values) > 1:
            at = len(tunable.values) // 2
            return {**_middle(variant), tunable.name: tunable.values[at - 1]}
    return None


def _name(text: str) -> str | None:
    """Return the name that a text uses most often, of those that it may choose."""
    counts = Counter(word for word in _WORD.findall(text) if word not in _TAKEN)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return ranked[0] if ranked else None


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))] if ordered else math.nan
