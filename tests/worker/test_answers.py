"""Which wrong answers come of inputs that the judge changed after the call."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import torch

from kbexp.worker.answers import Answers
from kbexp.worker.arena import Layout, create_host, leaf_of
from kbexp.worker.feed import Content, Feed
from kbexp.worker.reference import Problem, Trial
from kbexp.worker.tolerance import Tolerance

Model = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


def forgiven(model: Model, hands_over: Callable[[torch.Tensor], Model]) -> bool:
    """Judge what a kernel hands over of an input that is changed before.

    `hands_over` is called on the input as it is before that, and what it returns on it as it is
    afterwards.
    """
    generator = torch.Generator().manual_seed(3)
    inputs = [[torch.randn(64, 64, generator=generator)] for _ in range(2)]
    trials = [Trial(tensors, list(model(*tensors))) for tensors in inputs]
    problem = Problem({}, 0, {"tuple": [{"tensor": 0}]}, trials, model)
    layout = Layout(
        tuple(leaf_of(tensor) for tensor in trials[0].inputs),
        tuple(leaf_of(tensor) for tensor in trials[0].expected),
    )
    arena, _ = create_host(layout, 2)
    feed = Feed(arena, trials, random.Random(1))
    answers = Answers(problem, (Tolerance(1e-4),) * len(trials[0].expected))
    feed.freshen(0)
    feed.prepared()()
    expected = [answer.clone() for answer in answers.expected(feed.content(0))]
    later = hands_over(arena.inputs(0)[0])
    feed.spoil(0)
    given = [output.clone() for output in later(arena.inputs(0)[0])]
    assert answers.differences(given, expected)
    change = feed.settle(0)
    assert change is not None
    return answers.only_spoilt(given, expected, change, feed.content(0))


def plus_one(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (x + 1,)


def test_a_part_of_the_inputs_is_handed_over_as_it_stands() -> None:
    assert forgiven(lambda x: (x.clamp(min=-100),), lambda x: lambda x: (x,))
    assert forgiven(lambda x: (x.T.contiguous(),), lambda x: lambda x: (x.T,))
    both = forgiven(lambda x: (x[3:], x.sum(0)), lambda x: kept(x[3:], x.sum(0)))
    assert both

    def in_place(x: torch.Tensor) -> Model:
        x.add_(1)
        return lambda x: (x,)

    assert forgiven(plus_one, in_place)


def kept(part: torch.Tensor, total: torch.Tensor) -> Model:
    """Hand over a part of the input, which changes with it, and what does not."""
    return lambda x: (part, total)


def test_work_that_is_done_only_then_is_told_by_its_answers() -> None:
    assert forgiven(plus_one, lambda x: plus_one)


def test_what_is_wrong_for_another_reason_is_not_forgiven() -> None:
    assert not forgiven(plus_one, lambda x: lambda x: (torch.zeros_like(x),))
    assert not forgiven(plus_one, lambda x: lambda x: (x,))
    assert not forgiven(lambda x: (x[3:], x.sum(0)), lambda x: kept(x[3:], torch.zeros(64)))

    def half(x: torch.Tensor) -> Model:
        answer = x + 1
        answer[:32] = torch.nan
        return lambda x: (answer,)

    assert not forgiven(plus_one, half)


def test_what_may_help_is_said_of_weights_and_of_inputs_that_were_varied() -> None:
    model = torch.nn.Linear(64, 64)
    inputs = [torch.randn(64, 64)]
    with torch.no_grad():
        trial = Trial(inputs, [model(inputs[0])])
        problem = Problem({}, 0, {"tuple": [{"tensor": 0}]}, [trial], model)
        other = [torch.nn.Linear(64, 64)(inputs[0])]
    answers = Answers(problem, (Tolerance(1e-4),))
    one_wrong = [trial.expected[0].clone()]
    one_wrong[0][0, 0] += 1
    content = Content(trial)
    said = answers.reasons(answers.differences(other, trial.expected), content)
    assert len(said) == 2
    assert "parameters may be other ones" in said[1]
    found = answers.differences(one_wrong, trial.expected)
    assert len(answers.reasons(found, content)) == 1
    large = answers.reasons(found, Content(replace(trial, kind="heavy")))
    assert large[1].endswith(
        "their values were squared with their sign, which makes some of them large"
    )
    stateless = Answers(replace(problem, model=torch.nn.Linear(64, 64).forward), (Tolerance(1e-4),))
    assert len(stateless.reasons(stateless.differences(other, trial.expected), content)) == 1
