"""Plans: what a step asks for, and which settings are refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from kbexp.candidate import Candidate, Proposal
from kbexp.errors import KbexpError
from kbexp.search import Archive, score_named, validate
from kbexp.search.algorithm import request_of, request_seed
from kbexp.search.board import Board
from kbexp.search.choice import Choice, Priority
from kbexp.search_config import AlgorithmConfig, ScoreFunction, SearchConfig
from kbexp.verdict import Status

CONF = Path(__file__).parents[2] / "conf" / "algorithm"


def settings(**more: object) -> AlgorithmConfig:
    return AlgorithmConfig(name="ps", **more)  # type: ignore[arg-type]


def board_of(land: SimpleNamespace, *candidates: tuple[int, Status, int]) -> Board:
    """A board at a step's start: (value, status, order of the parent) of each candidate."""
    archive = Archive()
    for order, (value, status, parent) in enumerate(candidates):
        kernel = land.kernel_of(value, 0, 0, 0)
        ids = list(archive.candidates)
        proposal = Proposal(order, (ids[parent],), kernel) if order else None
        verdicts = [land.verdict_of(kernel, status)]
        candidate = Candidate(kernel, order, proposal, verdicts)
        archive.candidates[kernel.id] = candidate
        archive.in_order.append(candidate)
    board = Board(archive, score_named("speedup"))
    board.refresh()
    return board


def orders(plan: list[Choice]) -> list[list[int]]:
    return [[candidate.order for candidate in choice.parents] for choice in plan]


GOOD, BAD, LOST = Status.CORRECT, Status.INCORRECT, Status.INFRASTRUCTURE_ERROR


def test_the_best_come_first_with_the_best_others_and_a_failure(land: SimpleNamespace) -> None:
    board = board_of(
        land, (0, GOOD, 0), (5, GOOD, 0), (3, GOOD, 0), (1, BAD, 1), (2, BAD, 0), (4, LOST, 0)
    )
    plan = Priority(settings(num_candidates=4)).step(board)
    assert orders(plan) == [
        [1, 2, 0, 3],  # the failure that came of improving it
        [2, 1, 0, 4],  # or else the newest
        [0, 1, 2, 4],
        [4, 1, 2, 3],  # a failure to repair; what has no score is left out
    ]


def test_too_few_take_turns_and_the_best_has_one_turn_more(land: SimpleNamespace) -> None:
    board = board_of(land, (0, GOOD, 0), (5, GOOD, 0))
    plan = Priority(settings(num_candidates=5, num_proposals=1)).step(board)
    assert [parents[0] for parents in orders(plan)] == [1, 0, 1, 0, 1]


def test_each_has_its_proposals(land: SimpleNamespace) -> None:
    board = board_of(land, (0, GOOD, 0), (5, GOOD, 0), (3, GOOD, 0))
    plan = Priority(settings(num_candidates=2, num_proposals=3)).step(board)
    assert sorted(parents[0] for parents in orders(plan)) == [1, 1, 1, 2, 2, 2]


def test_where_nothing_has_a_score_the_first_kernel_is_improved(land: SimpleNamespace) -> None:
    board = board_of(land, (0, LOST, 0), (5, LOST, 0))
    assert orders(Priority(settings(num_candidates=2)).step(board)) == [[0], [0]]
    assert orders([Priority(settings()).next(board)]) == [[0]]


def test_requests_are_copies_with_seeds_of_their_own(land: SimpleNamespace) -> None:
    board = board_of(land, (0, GOOD, 0), (5, GOOD, 0))
    choices = validate(settings()).step(board)
    requests = [request_of(board.archive, c, n, 7) for n, c in enumerate(choices, 2)]
    assert [request.number for request in requests] == [2, 3, 4, 5, 6]
    assert [request.seed for request in requests] == [request_seed(7, n) for n in range(2, 7)]
    first = board.candidate(0)
    seen = next(parent for parent in requests[0].parents if parent.order == 0)
    first.verdicts.append(first.verdicts[0])
    assert len(seen.verdicts) == 1  # another thread reads it while the archive goes on


def test_seeds_differ_and_fit_31_bits() -> None:
    seeds = {request_seed(seed, number) for seed in range(40) for number in range(40)}
    assert len(seeds) == 1600
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert request_seed(0, 0) == request_seed(0, 0)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"kind": "prioritty"}, "no algorithm of kind 'prioritty': set algorithm.kind to one of"),
        ({"num_eval_samples": 0}, "algorithm.num_eval_samples is 0"),
        ({"restart_after": 0}, "algorithm.restart_after is 0"),
        ({"epsilon": float("inf")}, "algorithm.epsilon is inf"),
        ({"num_steps": -1}, "algorithm.num_steps is -1"),
        ({"num_candidates": 0}, "algorithm.num_candidates is 0"),
        ({"num_proposals": 0}, "algorithm.num_proposals is 0"),
        ({"num_threads": 0}, "algorithm.num_threads is 0"),
        ({"epsilon": -0.1}, "algorithm.epsilon is -0.1"),
        ({"epsilon": float("nan")}, "algorithm.epsilon is nan"),
        ({"ucb_c": -1.0}, "algorithm.ucb_c is -1"),
        ({"test_frequency": -1}, "algorithm.test_frequency is -1"),
    ],
)
def test_settings_that_cannot_be_are_one_sentence(
    land: SimpleNamespace, more: dict[str, object], sentence: str
) -> None:
    with pytest.raises(KbexpError, match=sentence):
        validate(settings(**more))
    run = land.Run(settings(**more))
    with pytest.raises(KbexpError, match=sentence):
        run.go()
    assert run.journal == []


def test_the_presets_hold_settings_that_exist() -> None:
    known = {field.name for field in fields(AlgorithmConfig)}
    presets = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in CONF.glob("*.yaml")}
    assert set(presets) == {
        *("ps", "ps_summarizer", "ps_epsnet", "ps_epsnet_summarizer"),
        *("best_of_n", "sequential", "beam", "random_restart", "gepa", "openevolve"),
    }
    for name, preset in presets.items():
        assert preset.pop("defaults") == ["_algorithm", "_self_"]
        assert preset["name"] == name
        assert set(preset) <= known
        config = AlgorithmConfig(**preset)
        validate(config)
        assert config.num_steps * config.num_candidates * config.num_proposals == 55
    assert AlgorithmConfig(**presets["ps"]).score_function is ScoreFunction.mean


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"max_staleness": -1}, "search.max_staleness is -1"),
        ({"num_evaluations": 0}, "search.num_evaluations is 0"),
        ({"plateau": 0}, "search.plateau is 0"),
        ({"plateau_gain": -0.1}, "search.plateau_gain is -0.1"),
        ({"max_failures": 0}, "search.max_failures is 0"),
    ],
)
def test_settings_of_the_search_too(more: dict[str, object], sentence: str) -> None:
    with pytest.raises(KbexpError, match=sentence):
        validate(settings(), SearchConfig(**more))  # type: ignore[arg-type]


def test_a_summary_needs_somebody_who_writes_it(land: SimpleNamespace) -> None:
    run = land.Run(settings(summarizer=True))
    with pytest.raises(KbexpError, match=r"algorithm\.summarizer=true needs a model"):
        run.go()
    assert run.journal == []
