"""What a search maximises: functions from a verdict to a number, 0 for anything not correct.

They stand in `kbexp.score`, where trackers find them too.
"""

from __future__ import annotations

from kbexp.score import SCORES, Score, score_for

__all__ = ["SCORES", "Score", "score_named"]


def score_named(metric: object) -> Score:
    """Return the score of a metric, as `score_for` does."""
    return score_for(metric)
