"""Budgets: limits, reservations, and a clock of our own."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kbexp.budget import Budget, Spending
from kbexp.candidate import Proposal, Usage
from kbexp.config import BudgetConfig
from kbexp.errors import KbexpError
from kbexp.events import EmbeddingsMade, ProposalReceived, RunEnded, RunStarted, VerdictReached
from kbexp.kernel import Kernel
from kbexp.verdict import Phase, Phases, Status, Verdict

CONF = Path(__file__).parents[1] / "conf" / "budget"
LIMITS = ["evaluations", "proposals", "wall_s", "llm_usd", "gpu_usd"]


def limits(**more: object) -> BudgetConfig:
    return BudgetConfig(name="", **more)  # type: ignore[arg-type]


def answer(cost_usd: float | None, *, error: str = "", tokens: int = 3) -> ProposalReceived:
    kernel = None if error else Kernel("k")
    usage = Usage(input_tokens=tokens, output_tokens=tokens, cost_usd=cost_usd)
    return ProposalReceived(proposal=Proposal(0, ("p",), kernel, error=error, usage=usage))


def verdict(
    kernel_id: str, seconds: float = 1.0, status: Status = Status.CORRECT
) -> VerdictReached:
    phases = Phases(queue_s=100.0, build_s=seconds / 2, correctness_s=seconds / 4, timing_s=0.25)
    return VerdictReached(
        verdict=Verdict(
            kernel_id=kernel_id,
            task_id="t",
            status=status,
            phase=Phase.TIMING,
            device="d",
            isolation="i",
            phases=phases,
        )
    )


def test_spending_is_a_fold() -> None:
    spending = Spending()
    for event in (answer(0.5), answer(0.25), verdict("a"), verdict("b", 3.0), verdict("a")):
        spending.apply(event)
    assert spending.proposals == 2
    assert spending.evaluations == 3  # each verdict that says something, asked for on purpose
    assert spending.llm_usd == 0.75
    assert spending.largest_call_usd == 0.5
    assert spending.device_s == 2 * (0.5 + 0.25 + 0.25) + (1.5 + 0.75 + 0.25)  # not the queue
    assert spending.largest_evaluation_s == 2.5
    assert (spending.input_tokens, spending.output_tokens) == (6, 6)


def test_a_second_try_after_an_infrastructure_error_counts_once() -> None:
    lost = verdict("a", status=Status.INFRASTRUCTURE_ERROR)
    spending = Spending()
    for event, counted in ((lost, 1), (verdict("a"), 1), (lost, 1), (verdict("a"), 2)):
        spending.apply(event)
        assert spending.evaluations == counted


@pytest.mark.parametrize(
    ("event", "unpriced"),
    [
        (answer(None), 1),
        (answer(None, tokens=0), 1),
        (answer(None, error="no kernel"), 1),
        (answer(None, error="no route to host", tokens=0), 0),
        (answer(float("nan")), 1),
        (answer(-1.0), 1),
        (answer(0.0), 0),
    ],
)
def test_calls_without_a_price(event: ProposalReceived, unpriced: int) -> None:
    spending = Spending()
    spending.apply(event)
    assert spending.unpriced_calls == unpriced
    assert spending.llm_usd == 0.0


def test_embeddings_cost_what_a_model_costs() -> None:
    spending = Spending()
    spending.apply(answer(0.5))
    many = Usage(input_tokens=80, cost_usd=2.0)
    spending.apply(EmbeddingsMade(model="e", texts=8, usage=many))
    assert (spending.llm_usd, spending.proposals) == (2.5, 1)
    assert spending.input_tokens == 3 + 80
    assert (spending.largest_call_usd, spending.largest_embedding_usd) == (0.5, 0.25)
    # One call in flight may cost another 0.75, its embedding included.
    for limit, room in ((3.25, False), (3.26, True)):
        budget = Budget(limits(llm_usd=limit))
        assert budget.room(spending, calls=1, evaluations=0) is room
    spending.apply(EmbeddingsMade(model="e", texts=1, usage=Usage(input_tokens=1, cost_usd=None)))
    assert (spending.unpriced_calls, spending.unpriced_embeddings) == (1, 1)
    assert spending.llm_usd == 2.5
    with pytest.raises(KbexpError, match=r"embedding model's price.*embedding_usd_per_mtok"):
        Budget(limits(llm_usd=9.0)).check_prices(spending)
    Budget(limits(llm_usd=9.0, allow_unknown_price=True)).check_prices(spending)


def test_pauses_between_sessions_are_not_wall_time() -> None:
    spending = Spending()
    spending.apply(RunStarted(about={}, time=100.0))
    spending.apply(RunEnded(state="stopped", reason="", time=107.0))
    spending.apply(RunStarted(about={}, time=5000.0))
    spending.apply(RunEnded(state="complete", reason="", time=5003.0))
    assert spending.wall_s == 10.0


def test_wall_time_counts_from_the_making_and_from_earlier_sessions() -> None:
    now = 50.0
    budget = Budget(limits(wall_s=10.0), clock=lambda: now)
    now = 56.0
    assert budget.elapsed_s == 6.0
    assert budget.exhausted(Spending()) is None
    assert budget.room(Spending(), calls=0, evaluations=0)
    budget.resume(Spending(wall_s=4.0))
    assert budget.exhausted(Spending()) == "The budget of 10 s of wall time is spent."
    assert not budget.room(Spending(), calls=0, evaluations=0)


@pytest.mark.parametrize(
    ("config", "spending", "words"),
    [
        (limits(evaluations=2), Spending(evaluations=2), "of 2 evaluations is"),
        (limits(evaluations=1), Spending(evaluations=1), "of 1 evaluation is"),
        (limits(proposals=3), Spending(proposals=3), "of 3 proposals is"),
        (limits(llm_usd=0.5), Spending(llm_usd=0.5), r"of \$0.5 for the model is"),
        (limits(gpu_usd=2.0), Spending(device_s=4.0), r"of \$2 for the device is"),
    ],
)
def test_each_limit_says_that_it_is_spent(
    config: BudgetConfig, spending: Spending, words: str
) -> None:
    budget = Budget(config, gpu_usd_per_s=0.5)
    assert budget.exhausted(Spending()) is None
    reason = budget.exhausted(spending)
    assert reason is not None
    assert re.search(words, reason)


def test_no_limits_are_never_spent() -> None:
    spending = Spending(10**6, 10**6, 1e9, 1e9, 10**6, 0, 0, 1e9, 1e9, 1e9, 1e9)
    budget = Budget(limits(), gpu_usd_per_s=1.0)
    assert budget.exhausted(spending) is None
    assert budget.room(spending, calls=10**6, evaluations=10**6)
    budget.check_prices(spending)


COUNTS = st.integers(0, 20)


@given(
    st.sampled_from(["evaluations", "proposals", "llm_usd", "gpu_usd"]),
    st.integers(0, 12),
    COUNTS,
    COUNTS,
    st.integers(0, 6),
    st.integers(0, 6),
)
def test_room_reserves_what_is_in_flight(
    name: str, limit: int, proposals: int, evaluations: int, calls: int, pending: int
) -> None:
    """With calls of one dollar and evaluations of one second at one dollar each."""
    spending = Spending(
        proposals=proposals,
        evaluations=evaluations,
        llm_usd=float(proposals),
        largest_call_usd=1.0,
        device_s=float(evaluations),
        largest_evaluation_s=1.0,
    )
    budget = Budget(limits(**{name: limit}), gpu_usd_per_s=1.0)
    used = {
        "evaluations": evaluations + calls + pending,
        "gpu_usd": evaluations + calls + pending,
        "proposals": proposals + calls,
        "llm_usd": proposals + calls,
    }[name]
    alone = name == "llm_usd" and calls and not proposals  # the first call shows the price
    assert budget.room(spending, calls=calls, evaluations=pending) == (used < limit and not alone)
    # With nothing in flight, no room and a spent budget are the same: a search cannot hang.
    idle = budget.room(spending, calls=0, evaluations=0)
    assert idle == (budget.exhausted(spending) is None)


def test_an_unknown_price_is_one_sentence() -> None:
    spending = Spending(unpriced_calls=1)
    with pytest.raises(KbexpError, match=r"llm\.input_usd_per_mtok"):
        Budget(limits(llm_usd=1.0)).check_prices(spending)
    Budget(limits(llm_usd=1.0, allow_unknown_price=True)).check_prices(spending)
    Budget(limits(evaluations=1)).check_prices(spending)


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_below_zero_is_refused(name: str) -> None:
    with pytest.raises(KbexpError, match=f"budget.{name} is -1"):
        Budget(limits(**{name: -1}))


def test_the_presets_hold_settings_that_exist() -> None:
    known = {field.name for field in fields(BudgetConfig)}
    presets = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in CONF.glob("*.yaml")}
    assert {"default", "quick", "none", "thorough"} <= set(presets)
    for name, preset in presets.items():
        assert preset.pop("defaults") == ["_budget", "_self_"]
        assert preset["name"] == name
        assert set(preset) <= known
        Budget(BudgetConfig(**preset))
    assert set(presets["none"]) == {"name"}
