"""The board ranks as it promises, for any candidates, and is the same however it was filled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.candidate import Candidate
from kbexp.events import ProposalAsked, StepDone, VerdictReached
from kbexp.kernel import Kernel
from kbexp.search.archive import Archive
from kbexp.search.board import Board, best_candidate, first_of, mean_score
from kbexp.search.score import score_named
from kbexp.search_config import AlgorithmConfig, ScoreFunction
from kbexp.verdict import Interval, Phase, Status, Verdict

speedup = score_named("speedup")

GOOD, BAD, LOST = Status.CORRECT, Status.INCORRECT, Status.INFRASTRUCTURE_ERROR


def judged(kernel: Kernel, status: Status, value: float, width: float = 0.0) -> Verdict:
    measured = Interval(value, value - width, value + width) if status is GOOD else None
    return Verdict(kernel.id, "t", status, Phase.TIMING, "d", "i", speedup=measured)


def board_of(*rows: tuple[Sequence[tuple[Status, float]], int]) -> Board:
    """A board of candidates, each given by its verdicts and how often it was improved."""
    archive, number = Archive(), 0
    for order, (verdicts, _) in enumerate(rows):
        kernel = Kernel(str(order))
        made = [judged(kernel, status, value) for status, value in verdicts]
        archive.candidates[kernel.id] = Candidate(kernel, order, None, made)
        archive.in_order.append(archive.candidates[kernel.id])
    for order, (_, expansions) in enumerate(rows):
        for _ in range(expansions):
            parents = (archive.in_order[order].kernel.id,)
            archive.apply(ProposalAsked(number=number, parents=parents, seed=0))
            number += 1
    board = Board(archive, speedup)
    board.refresh()
    return board


VERDICTS = st.lists(
    st.tuples(st.sampled_from([GOOD, GOOD, BAD, LOST]), st.sampled_from([0.5, 1.0, 2.0, 3.75])),
    max_size=3,
)
ROWS = st.lists(st.tuples(VERDICTS, st.integers(0, 4)), min_size=1, max_size=12)


def sorted_in_full(board: Board, function: ScoreFunction, c: float) -> list[int]:
    """The ranking by its definition, with a sort of all."""
    archive = board.archive
    seen = {candidate.order: mean_score(candidate, speedup) for candidate in archive.in_order}
    known = {order: value for order, value in seen.items() if value is not None}
    expansions = dict.fromkeys(seen, 0)
    for asked in archive.asked.values():
        expansions[archive.candidates[asked.parents[0]].order] += 1
    verdicts = {o: [v for v in archive.in_order[o].verdicts if v.status is not LOST] for o in known}
    n = {order: len(verdicts[order]) + expansions[order] for order in known}
    low, high = min(known.values(), default=0.0), max(known.values(), default=0.0)

    def priority(order: int) -> float:
        match function:
            case ScoreFunction.mean:
                return known[order]
            case ScoreFunction.newest:
                return float(order)
        bonus = c * math.sqrt(math.log(sum(n.values()) + 1) / n[order])
        return min(max(known[order] + bonus * (high - low), low), high)

    def key(order: int) -> tuple[bool, float, int, int]:
        correct = any(verdict.correct for verdict in verdicts[order])
        return (not correct, -priority(order), expansions[order], -order)

    return sorted(known, key=key)


@given(ROWS, st.sampled_from(ScoreFunction), st.sampled_from([0.0, 0.25, 1.0, 8.0]))
def test_the_top_is_the_beginning_of_a_sort_of_all(
    rows: list[tuple[list[tuple[Status, float]], int]], function: ScoreFunction, c: float
) -> None:
    board = board_of(*rows)
    ranked = sorted_in_full(board, function, c)
    for count in (1, 2, 5, 50):
        assert board.top(count, function, c) == ranked[:count]
    correct = [order for order in ranked if any(s is GOOD for s, _ in rows[order][0])]
    correct.sort(key=lambda order: (-board.mean(order), -order))
    assert board.top_correct(3) == correct[:3]
    assert board.top_correct(50) == correct


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=60), st.integers(0, 20))
def test_the_first_by_passes_are_the_first_by_a_sort(
    values: list[tuple[int, int]], count: int
) -> None:
    columns = [np.array([v[i] for v in values], np.float64) for i in range(2)]
    keys = (*columns, np.arange(len(values), dtype=np.float64))
    expected = sorted(range(len(values)), key=lambda i: (*values[i], i), reverse=True)[:count]
    assert first_of(np.arange(len(values)), count, keys) == expected


@pytest.mark.parametrize("distinct", [1, 2, 40, 10**6])
@pytest.mark.parametrize("count", [1, 7, 16, 300])
def test_the_first_of_many_are_the_first_by_a_sort(distinct: int, count: int) -> None:
    rng = np.random.default_rng(distinct + count)
    columns = [rng.integers(0, distinct, 20_000).astype(np.float64) for _ in range(2)]
    keys = (*columns, np.arange(20_000, dtype=np.float64))
    pool = np.flatnonzero(rng.random(20_000) < 0.75)
    order = np.lexsort([-key[pool] for key in reversed(keys)])
    assert first_of(pool, count, keys) == pool[order][:count].tolist()


def test_ucb_prefers_what_is_little_known() -> None:
    """Worked by hand: n = 10, 1 and 1, total 12, ln 13 = 2.565, range 1; c = 0.2."""
    well_known = ([(GOOD, 2.0)], 9)  # 2.0 + 0.2·0.506 → 2.0
    unknown = ([(GOOD, 1.8)], 0)  # 1.8 + 0.2·1.602 → 2.0
    low = ([(GOOD, 1.0)], 0)  # 1.0 + 0.32 = 1.32
    board = board_of(well_known, unknown, low)
    assert math.isclose(math.sqrt(math.log(13)), 1.602, abs_tol=1e-3)
    assert board.top(3) == [0, 1, 2]
    # Both first two are clipped to the highest score seen, and then fewer expansions count.
    assert board.top(3, ScoreFunction.ucb, 0.2) == [1, 0, 2]
    assert board.top(3, ScoreFunction.ucb, 0.1) == [0, 1, 2]


def test_promising_is_what_could_still_be_the_best() -> None:
    board = board_of(*[([], 0)] * 6)
    widths = [(2.0, 0.2), (1.9, 0.2), (1.5, 0.2), (1.2, 0.9), (0.5, 0.1)]
    for candidate, (value, width) in zip(board.archive.in_order, widths, strict=False):
        candidate.verdicts.append(judged(candidate.kernel, GOOD, value, width))
        board.touch(candidate.kernel.id)
    board.archive.in_order[5].verdicts.append(judged(board.archive.in_order[5].kernel, BAD, 0.0))
    board.touch(board.archive.in_order[5].kernel.id)
    board.refresh()
    assert board.promising(1, 9) == []
    assert board.promising(2, 9) == [0, 1, 3]  # 2.0 - 0.2 is reached by 1.9 + 0.2 and 1.2 + 0.9
    assert board.promising(2, 1) == [0]
    first = board.archive.in_order[0]
    first.verdicts.append(judged(first.kernel, GOOD, 1.6, 0.2))  # it was lucky
    board.touch(first.kernel.id)
    board.refresh()
    assert board.mean(0) == 1.8
    # Now 1.9 is the best; 1.8 may be it and has its two verdicts, 1.5 + 0.2 reaches 1.9 - 0.2.
    assert board.promising(2, 9) == [1, 2, 3]
    assert board.promising(3, 9) == [1, 0, 2, 3]


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
        archive.in_order.append(archive.candidates[kernel.id])
    assert land.speedup_of(kernels[1]) == land.speedup_of(kernels[2])
    best = best_candidate(archive, speedup)
    assert best is not None
    assert (best[0].order, best[1]) == (1, land.speedup_of(kernels[1]))


@pytest.mark.parametrize("function", list(ScoreFunction))
def test_a_board_of_a_steps_start_leaves_out_what_came_since(
    land: SimpleNamespace, function: ScoreFunction
) -> None:
    run = land.Run(AlgorithmConfig(name="ps", num_steps=3, score_function=function))
    run.go()
    steps = [i for i, event in enumerate(run.journal) if isinstance(event, StepDone)]
    for begin, end in pairwise(steps):
        at_start = top_at_start(Archive(run.journal[: begin + 1]), function)
        for cut in range(begin + 1, end):
            assert top_at_start(Archive(run.journal[:cut]), function) == at_start


def top_at_start(archive: Archive, function: ScoreFunction) -> list[int]:
    board = Board(archive, speedup)
    board.refresh(archive.step_start.candidates, archive.step_start.number)
    return board.top(50, function)


def test_a_board_that_was_kept_is_the_board_that_is_made_anew(land: SimpleNamespace) -> None:
    run = land.Run(AlgorithmConfig(name="ps", num_steps=8, test_frequency=1), seed=3)
    run.go()
    archive = Archive()
    kept = Board(archive, speedup)
    for count, event in enumerate(run.journal):
        archive.apply(event)
        if isinstance(event, VerdictReached):
            kept.touch(event.verdict.kernel_id)
        if count % 7 == 0:
            kept.refresh()
            anew = Board(archive, speedup)
            anew.refresh()
            for function in ScoreFunction:
                assert kept.top(99, function) == anew.top(99, function)
            assert kept.best() == anew.best()
            assert kept.top_correct(3) == anew.top_correct(3)
            assert kept.promising(3, 99) == anew.promising(3, 99)
            for order in range(kept.rows):
                assert kept.failure_beside(order) == anew.failure_beside(order)
