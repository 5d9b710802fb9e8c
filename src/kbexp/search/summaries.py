"""What a summary is written from: a few judged candidates that no summary covers yet."""

from __future__ import annotations

from itertools import islice

from kbexp.candidate import Candidate
from kbexp.search.algorithm import copied
from kbexp.search.archive import Archive
from kbexp.search.board import mean_score
from kbexp.search.score import Score

SUCCESSES = 3
"""How many correct candidates a summary is written from, the best of those that are new."""

FAILURES = 3
"""How many failures beside them, the newest."""

RECENT = 200
"""How far back candidates are looked for that no summary covers."""


def fresh(archive: Archive, score: Score) -> list[Candidate]:
    """Return copies of the candidates to show, oldest first; empty where nothing is new."""
    recent = islice(reversed(archive.unseen), RECENT)
    new = [archive.candidates[k] for k in recent if k in archive.candidates]
    known = [(c, value) for c in new if (value := mean_score(c, score)) is not None]
    good = [(c, value) for c, value in known if any(v.correct for v in c.verdicts)]
    bad = [c for c, _ in known if not any(v.correct for v in c.verdicts)]
    good.sort(key=lambda item: (-item[1], item[0].order))
    bad.sort(key=lambda c: -c.order)
    shown = [c for c, _ in good[:SUCCESSES]] + bad[:FAILURES]
    return [copied(c) for c in sorted(shown, key=lambda c: c.order)]
