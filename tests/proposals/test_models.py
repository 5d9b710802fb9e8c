"""Several models in one run: what each is asked with, and which one is asked."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from kbexp.config import LlmConfig, ModelChoice, ModelConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.events import (
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    StepDone,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.proposals.choice import Chooser
from kbexp.proposals.models import Model, models_of
from kbexp.proposals.proposer import LlmProposer
from kbexp.score import score_for
from kbexp.verdict import Interval, Status

Make = Callable[..., LlmConfig]
ANSWER = "```python\nclass ModelNew: pass\n```\n"


def two(settings: Make, first: dict[str, Any], second: dict[str, Any], **more: Any) -> LlmConfig:
    given = [ModelConfig(**{"model": "openai/a", **first})]
    return settings(models=[*given, ModelConfig(**{"model": "openai/b", **second})], **more)


# What each model is asked with


def test_one_model_is_the_settings_as_they_are(settings: Make) -> None:
    config = settings()
    assert models_of(config) == (Model("openai/served", 1.0, config),)


def test_every_model_has_settings_of_its_own_and_shares_the_rest(
    model_server: Any, settings: Make, kit: Any
) -> None:
    model_server.script = [kit.completion(ANSWER)]
    config = two(
        settings,
        {"temperature": 0.1, "max_tokens": 11, "input_usd_per_mtok": 1, "output_usd_per_mtok": 2},
        {"extra": {"top_p": 0.5}, "input_usd_per_mtok": 10, "output_usd_per_mtok": 20},
        temperature=0.9,
        extra={"top_k": 3},
    )
    proposer = LlmProposer(kit.TASK, kit.CPU, config)
    made = [proposer.propose(kit.request(n, seed=n)) for n in range(12)]
    by_model = dict(zip([p.model for p in made], model_server.requests, strict=True))
    assert set(by_model) == {"openai/a", "openai/b"}
    a, b = by_model["openai/a"], by_model["openai/b"]
    assert (a["model"], a["temperature"], a["max_tokens"]) == ("a", 0.1, 11)
    assert (b["model"], b["temperature"], b["max_tokens"], b["top_p"]) == ("b", 0.9, 8192, 0.5)
    assert "top_p" not in a
    assert "top_k" not in a
    prices = {p.model: p.usage.cost_usd for p in made}
    assert prices["openai/a"] == pytest.approx(1400e-6)
    assert prices["openai/b"] == pytest.approx(14000e-6)


def test_a_key_goes_to_the_provider_it_was_meant_for_and_to_no_other(settings: Make) -> None:
    config = two(settings, {}, {"model": "gemini/b"})
    a, b = (model.config for model in models_of(config))
    assert (a.api_base, a.api_key_env) == (config.api_base, "KBEXP_TEST_API_KEY")
    assert (b.api_base, b.api_key_env) == (None, None)
    (moved, _) = models_of(two(settings, {"api_base": "http://elsewhere/v1"}, {}))
    assert (moved.config.api_base, moved.config.api_key_env) == ("http://elsewhere/v1", None)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"weight": -1.0}, {}, "the weight -1"),
        ({"weight": float("nan")}, {}, "the weight nan"),
        ({"weight": 0.0}, {"weight": 0.0}, "no weight above 0"),
        ({}, {"model": "openai/a"}, "openai/a twice"),
    ],
)
def test_models_that_cannot_be_told_apart_or_weighed_are_refused(
    settings: Make, first: dict[str, Any], second: dict[str, Any], words: str
) -> None:
    with pytest.raises(KbexpError, match=words):
        models_of(two(settings, first, second))


def test_one_model_twice_needs_two_names(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.completion(ANSWER)]
    config = two(
        settings, {"name": "cold", "temperature": 0.0}, {"model": "openai/a", "temperature": 1.0}
    )
    proposer = LlmProposer(kit.TASK, kit.CPU, config)
    made = [proposer.propose(kit.request(n, seed=n)).model for n in range(10)]
    warmth = {"cold": 0.0, "openai/a": 1.0}
    assert [r["temperature"] for r in model_server.requests] == [warmth[name] for name in made]
    assert set(made) == set(warmth)


# Which model is asked


def models(settings: Make, *weights: float) -> tuple[Model, ...]:
    config = settings()
    return tuple(Model(f"m{i}", weight, config) for i, weight in enumerate(weights))


def test_weights_are_kept_to_and_the_seed_decides(settings: Make) -> None:
    chooser = Chooser(models(settings, 3.0, 1.0, 0.0), score_for("speedup"))
    chosen = [chooser.choose(n, seed=n) for n in range(2000)]
    counts = Counter(chosen)
    assert counts["m2"] == 0
    assert 1400 < counts["m0"] < 1600  # 1500 expected, standard deviation 19
    assert chosen == [chooser.choose(n, seed=n) for n in range(2000)]


def speed(kit: Any, kernel: Kernel, value: float) -> Event:
    if not value:
        return VerdictReached(verdict=kit.verdict(Status.INCORRECT, kernel_id=kernel.id))
    found = Interval(value, value, value)
    return VerdictReached(verdict=kit.verdict(kernel_id=kernel.id, speedup=found))


class Search:
    """A search that was: every proposal improves the first kernel, by its model's habit."""

    def __init__(self, kit: Any, gains: dict[str, Sequence[float]]) -> None:
        self.kit = kit
        self.gains = gains
        self.rng = random.Random(1)
        self.first = kit.PARENT
        self.number = 0

    def begin(self) -> list[Event]:
        begun = EvaluationBegun(kernel_id=self.first.id, number=None, source=self.first.source)
        return [begun, speed(self.kit, self.first, 1.0)]

    def asked(self) -> ProposalAsked:
        self.number += 1
        return ProposalAsked(number=self.number, parents=(self.first.id,), seed=self.number * 7919)

    def answered(self, number: int, model: str) -> list[Event]:
        value = self.rng.choice(self.gains[model])
        kernel = Kernel(f"class ModelNew: n = {number}\n")
        proposal = self.kit.proposal(number, kernel, model)
        begun = EvaluationBegun(kernel_id=kernel.id, number=number, source=kernel.source)
        return [ProposalReceived(proposal=proposal), begun, speed(self.kit, kernel, value)]


def run(chooser: Chooser, search: Search, proposals: int) -> tuple[list[Event], list[str]]:
    """Drive a chooser through a search, a step a proposal; return its events and the choices."""
    events, chosen = search.begin(), []
    for event in events:
        chooser.apply(event)
    for _ in range(proposals):
        asked = search.asked()
        chooser.apply(asked)
        chosen.append(chooser.choose(asked.number, asked.seed))
        came = [*search.answered(asked.number, chosen[-1])]
        came.append(StepDone(step=asked.number, best_kernel_id=None, best_score=None))
        for event in came:
            chooser.apply(event)
        events += [asked, *came]
    return events, chosen


GAINS = {"m0": [0.0, 0.9, 1.0], "m1": [1.0, 1.5, 2.5], "m2": [0.0]}


def test_the_bandit_finds_the_model_that_helps(settings: Make, kit: Any) -> None:
    chooser = Chooser(models(settings, 1, 1, 1), score_for("speedup"), bandit=True)
    _, chosen = run(chooser, Search(kit, GAINS), 120)
    counts = Counter(chosen[60:])
    assert counts["m1"] > 40
    assert set(chosen) == set(GAINS), "every model had its chance"
    assert chooser.records["m1"].gained > 0
    assert chooser.records["m0"].gained == chooser.records["m2"].gained == 0


def test_a_bandit_that_reads_its_journal_goes_on_as_it_would_have(settings: Make, kit: Any) -> None:
    def fresh() -> Chooser:
        return Chooser(models(settings, 1, 1, 1), score_for("speedup"), bandit=True)

    events, chosen = run(fresh(), Search(kit, GAINS), 40)
    for cut in range(0, len(events), 7):
        again = fresh()
        for event in events[:cut]:
            again.apply(event)
        later = []
        for event in events[cut:]:
            again.apply(event)
            if isinstance(event, ProposalAsked):
                later.append(again.choose(event.number, event.seed))
        assert later == chosen[len(chosen) - len(later) :]


def test_a_question_that_was_cut_off_goes_to_the_same_model_again(settings: Make, kit: Any) -> None:
    """Without steps the records move between a question and its answer."""
    chooser = Chooser(models(settings, 1, 1), score_for("speedup"), bandit=True, by_steps=False)
    search = Search(kit, GAINS)
    for event in search.begin():
        chooser.apply(event)
    asked = [search.asked() for _ in range(12)]
    for event in asked:
        chooser.apply(event)
    before = [chooser.choose(event.number, event.seed) for event in asked]
    for event in asked[:6]:
        for came in search.answered(event.number, before[event.number - 1]):
            chooser.apply(came)
    unaware = [chooser.choose(1000 + e.number, e.seed) for e in asked[6:]]
    for event in asked[6:]:
        chooser.apply(event)  # as a run that goes on does
    assert [chooser.choose(e.number, e.seed) for e in asked[6:]] == before[6:] != unaware


def test_with_steps_the_order_within_a_step_does_not_matter(settings: Make, kit: Any) -> None:
    drawn = []
    for order in (1, -1):
        chooser = Chooser(models(settings, 1, 1), score_for("speedup"), bandit=True)
        search = Search(kit, GAINS)
        for event in search.begin():
            chooser.apply(event)
        step = [search.asked() for _ in range(6)]
        for event in step:
            chooser.apply(event)
        came = {}
        for event in step:
            came[event.number] = search.answered(
                event.number, chooser.choose(event.number, event.seed)
            )
        for number in sorted(came, key=lambda n: order * n):
            for event in came[number]:
                chooser.apply(event)
        assert all(record.proposals == 0 for record in chooser.records.values())
        chooser.apply(StepDone(step=1, best_kernel_id=None, best_score=None))
        drawn.append([chooser.choose(n, n) for n in range(100, 150)])
        assert sum(record.proposals for record in chooser.records.values()) == 6
    assert drawn[0] == drawn[1]


def test_failures_duplicates_and_repairs_count_as_what_they_are(settings: Make, kit: Any) -> None:
    chooser = Chooser(models(settings, 1, 1), score_for("speedup"), bandit=True, by_steps=False)
    search = Search(kit, GAINS)
    broken, mended = Kernel("class ModelNew: 'broken'\n"), Kernel("class ModelNew: 'mended'\n")
    events: list[Event] = [
        *search.begin(),
        ProposalAsked(number=0, parents=(search.first.id,), seed=0),
        ProposalReceived(proposal=kit.proposal(0, None, "m0", error="no kernel")),
        ProposalAsked(number=1, parents=(search.first.id,), seed=1),
        ProposalReceived(proposal=kit.proposal(1, search.first, "m0")),
        DuplicateFound(kernel_id=search.first.id, number=1),
        ProposalAsked(number=2, parents=(search.first.id,), seed=2),
        ProposalReceived(proposal=kit.proposal(2, broken, "m0")),
        EvaluationBegun(kernel_id=broken.id, number=2, source=broken.source),
        speed(kit, broken, 0.0),
        ProposalAsked(number=3, parents=(broken.id,), seed=3),
        ProposalReceived(proposal=kit.proposal(3, mended, "m1")),
        EvaluationBegun(kernel_id=mended.id, number=3, source=mended.source),
        speed(kit, mended, 2**0.5),
        speed(kit, mended, 16.0),
    ]
    for event in events:
        chooser.apply(event)
    assert (chooser.records["m0"].proposals, chooser.records["m0"].gained) == (3, 0)
    assert (chooser.records["m1"].proposals, chooser.records["m1"].gained) == (1, 500)


def test_a_model_that_is_gone_leaves_the_run_to_the_others(
    model_server: Any, settings: Make, kit: Any
) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return kit.failure(401, "wrong key") if body["model"] == "a" else kit.completion(ANSWER)

    model_server.script = [answer]
    proposer = LlmProposer(kit.TASK, kit.CPU, two(settings, {"weight": 1000.0}, {"weight": 0.001}))
    first = proposer.propose(kit.request(0))
    assert first.model == "openai/a"
    assert first.kernel is None
    assert "KBEXP_TEST_API_KEY" in first.error
    assert first.error.endswith("The run goes on with its other models.")
    second = proposer.propose(kit.request(1))
    assert (second.model, second.error) == ("openai/b", "")
    model_server.script = [kit.failure(401, "wrong key")]
    with pytest.raises(ModelUnavailable):
        proposer.propose(kit.request(2))
    with pytest.raises(ModelUnavailable):
        proposer.propose(kit.request(3))
    assert ModelChoice.weights is LlmConfig().choice
