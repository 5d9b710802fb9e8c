"""How far apart kernels lie by their token trigrams, which the ε-net compares without a service.

    python benchmarks/distances.py > distances.md

The kernels are all of the offline playbook's. One number is doubled, one name changed, each in
turn; kernels of one task and of different tasks are compared each with each. Prints quantiles as
markdown, and the share that the ε of the presets would drop. Nothing is timed.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict

import numpy as np
import numpy.typing as npt

from kbexp.app.calibrate import texts_by_task
from kbexp.search.trigrams import Trigrams, tokens

EPSILON = 0.1
"""What conf/algorithm/ps_epsnet.yaml has."""

LENGTHS = ((1, 40), (41, 80), (81, 10_000))
"""Kernels by their lines, from and to."""

NUMBER = re.compile(r"(?<![\w.])[1-9]\d*(?![\w.])")
NAME = re.compile(r"[A-Za-z_]\w{2,}")
MOST = 25
"""Numbers and names that are changed in a kernel, spread over all that it has."""

Vectors = npt.NDArray[np.float64]


def vectors(texts: list[str]) -> Vectors:
    """Return the vectors of texts, a row each."""
    return np.array(Trigrams().embed(texts), np.float64)


def spread_out(found: list[str] | list[tuple[int, int]]) -> list[int]:
    """Return the places of at most `MOST` of what was found."""
    return sorted({round(i) for i in np.linspace(0, len(found) - 1, MOST)}) if found else []


def renumbered(text: str) -> list[str]:
    """Return copies of a text in which one number is doubled."""
    places = [match.span() for match in NUMBER.finditer(text)]
    changed = []
    for index in spread_out(places):
        start, end = places[index]
        changed.append(f"{text[:start]}{2 * int(text[start:end])}{text[end:]}")
    return changed


def renamed(text: str, taken: frozenset[str]) -> list[str]:
    """Return copies of a text in which one name of its own, not of its comments, is another."""
    names = sorted({word for word in tokens(text) if NAME.fullmatch(word)} - taken)
    return [re.sub(rf"\b{names[i]}\b", f"{names[i]}_of_it", text) for i in spread_out(names)]


def row(what: str, distances: list[float]) -> str:
    """Return a row of the table."""
    low, middle, high = np.quantile(distances, (0.1, 0.5, 0.9))
    dropped = float(np.mean(np.array(distances) <= EPSILON))
    return (
        f"| {what} | {len(distances):,} | {low:.3f} | {middle:.3f} | {high:.3f} | {dropped:.0%} |"
    )


def main() -> None:
    """Measure all and print markdown."""
    by_task = {task: list(dict.fromkeys(texts)) for task, texts in texts_by_task().items()}
    every = [text for texts in by_task.values() for text in texts]
    seen = [set(NAME.findall(text)) for text in every]
    # A name that a third of all kernels have is the library's or the language's.
    counted: dict[str, int] = defaultdict(int)
    for name in itertools.chain.from_iterable(seen):
        counted[name] += 1
    taken = frozenset(name for name, times in counted.items() if times > len(every) / 3)
    found: dict[str, list[float]] = defaultdict(list)
    for text in every:
        lines = len(text.splitlines())
        length = next(f"{a} to {b} lines" for a, b in LENGTHS if a <= lines <= b)
        length = length.replace(f"to {LENGTHS[-1][1]}", "and more")
        for what, others in (("number", renumbered(text)), ("name", renamed(text, taken))):
            if others:
                away = vectors([text, *others])
                found[f"one {what}, {length}"] += np.linalg.norm(
                    away[1:] - away[0], axis=1
                ).tolist()
    placed = {task: vectors(texts) for task, texts in by_task.items()}
    for rows in placed.values():
        for a, b in itertools.combinations(rows, 2):
            found["another kernel of the task"].append(float(np.linalg.norm(a - b)))
    for one, other in itertools.combinations(placed.values(), 2):
        away = np.linalg.norm(one[:, None] - other[None], axis=2)
        found["kernels of two tasks"] += away.ravel().tolist()
    print(f"`python benchmarks/distances.py`: {len(every)} kernels of {len(by_task)} tasks.\n")
    print(f"| what differs | pairs | 10 % | median | 90 % | within {EPSILON} |")
    print("|---|---|---|---|---|---|")
    for what in sorted(found, key=lambda what: (what.partition(",")[0] != "one number", what)):
        print(row(what, found[what]))


if __name__ == "__main__":
    main()
