"""Ranking holds what it promises, for any candidates."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.candidate import Candidate
from kbexp.config import AlgorithmConfig, ScoreFunction
from kbexp.events import StepDone
from kbexp.kernel import Kernel
from kbexp.search.archive import Archive
from kbexp.search.priority import Standing, best_candidate, mean_score, rank, standings
from kbexp.search.score import score_named
from kbexp.verdict import Status

speedup = score_named("speedup")

SCORES = st.floats(0.0, 100.0) | st.sampled_from([0.0, 1.0, 2.0])


@st.composite
def some_standings(draw: st.DrawFn) -> list[Standing]:
    made = []
    for order in range(draw(st.integers(0, 12))):
        correct = draw(st.booleans())
        known = correct or draw(st.booleans())
        score = draw(SCORES) if correct else 0.0 if known else None
        made.append(
            Standing(
                Candidate(Kernel(str(order)), order),
                score,
                draw(st.integers(1, 5)) if known else 0,
                correct,
                draw(st.integers(0, 9)),
            )
        )
    return made


@given(some_standings(), st.sampled_from(ScoreFunction), st.floats(0, 10), st.randoms())
def test_ranking_is_total(
    made: list[Standing], function: ScoreFunction, c: float, rng: random.Random
) -> None:
    ranked = rank(made, function, c)
    orders = [s.candidate.order for s in ranked]
    assert sorted(orders) == [s.candidate.order for s in made if s.score is not None]
    shuffled = list(made)
    rng.shuffle(shuffled)
    assert rank(shuffled, function, c) == ranked
    correct = [s.correct for s in ranked]
    assert correct == sorted(correct, reverse=True)  # repair comes last


@given(some_standings())
def test_mean_puts_the_highest_score_first_and_equals_take_turns(made: list[Standing]) -> None:
    ranked = rank(made)
    for before, after in pairwise(ranked):
        if before.correct == after.correct:
            assert before.score is not None
            assert after.score is not None
            assert before.score >= after.score
            if before.score == after.score:
                assert before.expansions <= after.expansions
                if before.expansions == after.expansions:
                    assert before.candidate.order > after.candidate.order


@given(some_standings())
def test_without_exploration_ucb_is_the_mean(made: list[Standing]) -> None:
    assert rank(made, ScoreFunction.ucb, 0.0) == rank(made)


@given(some_standings())
def test_newest_first(made: list[Standing]) -> None:
    ranked = rank(made, ScoreFunction.newest)
    orders = [s.candidate.order for s in ranked if s.correct]
    assert orders == sorted(orders, reverse=True)


def test_ucb_prefers_what_is_little_known() -> None:
    """Worked by hand: n = 10, 1 and 1, total 12, ln 13 = 2.565, range 1; c = 0.2."""
    well_known = Standing(Candidate(Kernel("a"), 0), 2.0, 1, True, 9)  # 2.0 + 0.2·0.506 → 2.0
    unknown = Standing(Candidate(Kernel("b"), 1), 1.8, 1, True, 0)  # 1.8 + 0.2·1.602 → 2.0
    low = Standing(Candidate(Kernel("c"), 2), 1.0, 1, True, 0)  # 1.0 + 0.32 = 1.32
    assert math.isclose(math.sqrt(math.log(13)), 1.602, abs_tol=1e-3)
    assert rank([well_known, unknown, low]) == [well_known, unknown, low]
    # Both first two are clipped to the highest score seen, and then fewer expansions count.
    assert rank([well_known, unknown, low], ScoreFunction.ucb, 0.2) == [unknown, well_known, low]
    assert rank([well_known, unknown, low], ScoreFunction.ucb, 0.1) == [well_known, unknown, low]


def test_infrastructure_errors_do_not_count(land: SimpleNamespace) -> None:
    kernel = land.kernel_of(1, 1, 1, 1)
    good, broken = land.verdict_of(kernel), land.verdict_of(kernel, Status.INFRASTRUCTURE_ERROR)
    wrong = land.verdict_of(kernel, Status.INCORRECT)
    assert mean_score(Candidate(kernel, 0, None, [broken, good]), speedup) == speedup(good)
    assert mean_score(Candidate(kernel, 0, None, [good, wrong]), speedup) == speedup(good) / 2
    assert mean_score(Candidate(kernel, 0, None, [broken]), speedup) is None
    assert mean_score(Candidate(kernel, 0), speedup) is None


def test_the_best_is_correct_and_the_oldest_of_equals(land: SimpleNamespace) -> None:
    archive = Archive()
    assert best_candidate(archive, speedup) is None
    kernels = [land.kernel_of(1, 0, 0, n) for n in (0, 2)] + [land.kernel_of(0, 1, 0, 2)]
    for order, kernel in enumerate([*kernels, land.kernel_of(*land.TARGET)]):
        status = Status.INCORRECT if order == 3 else Status.CORRECT
        verdicts = [land.verdict_of(kernel, status)]
        archive.candidates[kernel.id] = Candidate(kernel, order, None, verdicts)
    assert land.speedup_of(kernels[1]) == land.speedup_of(kernels[2])
    best = best_candidate(archive, speedup)
    assert best is not None
    assert (best[0].order, best[1]) == (1, land.speedup_of(kernels[1]))


@pytest.mark.parametrize("function", list(ScoreFunction))
def test_standings_leave_out_what_came_since_the_step_began(
    land: SimpleNamespace, function: ScoreFunction
) -> None:
    run = land.Run(AlgorithmConfig(name="ps", num_steps=3, score_function=function))
    run.go()
    steps = [i for i, event in enumerate(run.journal) if isinstance(event, StepDone)]
    for begin, end in pairwise(steps):
        at_start = standings(Archive(run.journal[: begin + 1]), speedup)
        for cut in range(begin + 1, end):
            assert standings(Archive(run.journal[:cut]), speedup) == at_start
