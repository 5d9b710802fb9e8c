"""A rented device: what it will cost, when the clock starts, and the bill."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from kbexp.app.rented import (
    BILL_EVERY_S,
    LEAST_START_S,
    Bill,
    await_device,
    check_money,
    estimate,
    left_behind,
    ticking,
)
from kbexp.budget import Budget, Spending
from kbexp.config import (
    BudgetConfig,
    ContainerConfig,
    EvaluatorConfig,
    GpuConfig,
    Provider,
    RunConfig,
)
from kbexp.errors import EvaluatorUnavailable, KbexpError
from kbexp.event_records import from_record, to_record
from kbexp.events import (
    DeviceBilled,
    DeviceReady,
    Event,
    Noted,
    ProposalAsked,
    RunEnded,
    RunStarted,
)
from kbexp.search_config import AlgorithmConfig

ASKED = ProposalAsked(number=0, parents=(), seed=0)
ENDED = RunEnded(state="complete", reason="")
BARE = ContainerConfig(core_usd_per_s=0.0, gib_usd_per_s=0.0)


@dataclass
class Rented:
    """Of an evaluator, what a bill looks at."""

    billed_usd: float | None = 0.0
    left_usd: float = 0.0
    device: str = "H100"
    ready_after: int = 0
    error: EvaluatorUnavailable | None = None
    asked: list[float] = field(default_factory=list)

    def wait_ready(self, timeout_s: float) -> bool:
        self.asked.append(timeout_s)
        if self.error is not None:
            raise self.error
        return len(self.asked) > self.ready_after


def test_the_bill_is_what_came_since_it_was_told_last() -> None:
    rented, now = Rented(), [0.0]
    bill = Bill(rented, lambda: now[0])  # type: ignore[arg-type]
    assert bill.due(ENDED) is None  # Nothing yet.
    rented.billed_usd = 0.25
    assert bill.due(ASKED) is None  # Soon enough with the next verdict.
    now[0] += BILL_EVERY_S
    first = bill.due(ASKED)
    assert first is not None
    assert first.usd == 0.25
    rented.billed_usd = 0.75
    last = bill.due(ENDED)
    assert last is not None
    assert last.usd == 0.5
    assert bill.due(ENDED) is None


def test_what_a_killed_session_leaves_is_said_at_once_and_taken_back_at_its_end() -> None:
    rented, now = Rented(), [0.0]
    bill = Bill(rented, lambda: now[0])  # type: ignore[arg-type]
    rented.left_usd = 2.0
    first = bill.due()
    assert first is not None
    assert (first.usd, first.left_usd) == (0.0, 2.0)
    assert bill.due() is None
    rented.left_usd = 3.0
    assert bill.due() is None  # Not before it is due again.
    now[0] += BILL_EVERY_S
    later = bill.due()
    assert later is not None
    assert later.left_usd == 3.0
    last = bill.due(ENDED)
    assert last is not None
    assert last.left_usd == 0.0


def test_the_next_session_counts_what_the_last_one_left() -> None:
    spending = Spending()
    spending.apply(DeviceBilled(usd=0.5, left_usd=0.25))
    left = left_behind(spending)
    assert left is not None
    spending.apply(left)
    assert spending.billed_usd == 0.75
    assert left_behind(spending) is None  # Once is enough.


def test_a_bill_is_told_while_nothing_happens() -> None:
    told = threading.Event()
    with ticking(Rented(), told.set):  # type: ignore[arg-type]
        assert told.wait(30)
    told.clear()
    with ticking(Rented(None), told.set):  # type: ignore[arg-type]
        pass
    assert not told.is_set()


@pytest.mark.parametrize(
    ("limit", "spent", "refused"),
    [(0.0, 0.0, True), (0.5, 0.0, True), (1.5, 0.0, False), (1.5, 1.0, True), (None, 9.0, False)],
)
def test_money_that_pays_for_no_start_is_refused(
    limit: float | None, spent: float, refused: bool
) -> None:
    gpu = GpuConfig(
        name="h100", provider=Provider.modal, price_usd_per_s=1.0 / LEAST_START_S, container=BARE
    )
    config = RunConfig(gpu=gpu, budget=BudgetConfig(name="b", gpu_usd=limit))
    if not refused:
        check_money(config, spent)
        return
    with pytest.raises(KbexpError, match=r"budget\.gpu_usd=.* does not pay for a start") as caught:
        check_money(config, spent)
    assert len(str(caught.value).splitlines()) == 1


def test_money_that_is_spent_before_a_device_is_ready_ends_the_waiting() -> None:
    budget = Budget(BudgetConfig(name="b", gpu_usd=1.0))
    waiting = Rented(billed_usd=1.5, ready_after=10**9)
    with pytest.raises(EvaluatorUnavailable, match=r"budget of \$1 .* No container was ready"):
        await_device(waiting, budget, [].append, threading.Event(), 0.0)  # type: ignore[arg-type]


def test_bills_and_notes_while_a_device_starts_are_no_wall_time() -> None:
    spending = Spending()
    for event in (
        RunStarted(about={}, time=100.0),
        DeviceBilled(usd=0.1, time=110.0),
        Noted(text="It is waited for.", time=150.0),
        DeviceReady(device="H100", seconds=80.0, time=180.0),
        DeviceBilled(usd=0.1, time=181.0),
    ):
        spending.apply(event)
    assert spending.wall_s == 1.0


def test_nothing_is_billed_where_nothing_is_rented() -> None:
    assert Bill(Rented(None)).due(ENDED) is None  # type: ignore[arg-type]


def test_events_of_a_rented_device_are_read_back_and_folded() -> None:
    events: list[Event] = [
        DeviceReady(device="H100", seconds=40.0, time=100.0),
        DeviceBilled(usd=0.25, left_usd=0.125, time=101.0),
        DeviceBilled(usd=0.5, time=103.0),
    ]
    assert [from_record(to_record(event)) for event in events] == events
    spending = Spending()
    assert spending.billed_usd is None
    assert Spending(device_s=3.0).gpu_usd(2.0) == 6.0
    for event in events:
        spending.apply(event)
    assert spending.gpu_usd(1000.0) == 0.75
    assert spending.wall_s == 3.0


def test_the_start_of_a_device_is_no_wall_time_but_its_money_counts() -> None:
    now, rented, recorded = [0.0], Rented(0.125, ready_after=3), list[Event]()
    budget = Budget(BudgetConfig(name="b", wall_s=10, gpu_usd=1.0), clock=lambda: now[0])
    now[0] = 300.0
    await_device(rented, budget, recorded.append, threading.Event(), 0.0)  # type: ignore[arg-type]
    assert [event.event for event in recorded] == ["device_ready"]
    assert len(rented.asked) == 4
    assert budget.elapsed_s == 0
    assert budget.gpu_usd(Spending(device_s=1e9)) == 0.125


def test_a_device_is_not_waited_for_when_the_run_is_to_stop_or_it_never_comes() -> None:
    budget, recorded, stop = Budget(BudgetConfig(name="b")), list[Event](), threading.Event()
    stop.set()
    never = Rented(ready_after=10**9)
    await_device(never, budget, recorded.append, stop, 0.0)  # type: ignore[arg-type]
    refused = Rented(error=EvaluatorUnavailable("No."))
    with pytest.raises(EvaluatorUnavailable):
        await_device(refused, budget, recorded.append, stop, 0.0)  # type: ignore[arg-type]
    assert recorded == []


def test_the_warm_up_of_this_machines_evaluator_is_no_wall_time_either() -> None:
    now, local, recorded = [0.0], Rented(None, device="cpu", ready_after=2), list[Event]()
    budget = Budget(BudgetConfig(name="b", wall_s=10), clock=lambda: now[0])
    now[0] = 29.0
    await_device(local, budget, recorded.append, threading.Event(), 0.0)  # type: ignore[arg-type]
    assert [event.event for event in recorded] == ["device_ready"]
    assert budget.out_of_time() is None
    assert budget.elapsed_s == 0
    # What it costs is counted by its use, which is nothing here.
    assert budget.gpu_usd(Spending(device_s=1e9)) == 0.0


def test_a_limit_on_a_rented_device_ends_a_run_as_a_clock_does() -> None:
    billed = [0.0]
    budget = Budget(BudgetConfig(name="b", gpu_usd=1.0), gpu_usd_per_s=0.1)
    budget.charge_by(lambda: billed[0])
    budget.resume(Spending(billed_usd=0.5))
    assert budget.out_of_time() is None
    # Two evaluations in flight, of 2 s each at most, are reserved.
    spent = Spending(largest_evaluation_s=2.0)
    assert budget.room(spent, calls=0, evaluations=2)
    billed[0] = 0.2
    assert not budget.room(spent, calls=1, evaluations=1)
    assert budget.room(spent, calls=0, evaluations=1)
    billed[0] = 0.5
    assert budget.out_of_time() == "The budget of $1 for the device is spent."
    assert budget.exhausted(spent) is not None


def a_run(gpu: GpuConfig, **budget: float) -> RunConfig:
    return RunConfig(
        gpu=gpu,
        algorithm=AlgorithmConfig(name="ps", num_steps=2, num_candidates=5),
        evaluator=EvaluatorConfig(name="standard", timing_s=1.0),
        budget=BudgetConfig(name="b", **budget),  # type: ignore[arg-type]
    )


def test_an_estimate_names_price_evaluations_and_limit() -> None:
    gpu = GpuConfig(
        name="h100", provider=Provider.modal, device_name="H100", price_usd_per_s=0.001,
        price_date="2026-05", container=BARE,
    )  # fmt: skip
    text = estimate(a_run(gpu, wall_s=600)) or ""
    assert "$0.001000 a second" in text
    assert "$3.60 an hour" in text
    assert "2026-05" in text
    assert "11 evaluations in a row come to about $0.055" in text  # 11 of 5 s each
    assert "at most $0.6 for 600 s" in text
    assert "at most $0.1 by budget.gpu_usd" in (estimate(a_run(gpu, wall_s=600, gpu_usd=0.1)) or "")
    assert "3 evaluations" in (estimate(a_run(gpu, evaluations=3)) or "")
    assert "5 evaluations" in (estimate(a_run(gpu, proposals=4)) or "")
    assert "with no limit set" in (estimate(a_run(gpu)) or "")
    gpu.count = 4
    assert "at most $2.4 for 600 s" in (estimate(a_run(gpu, wall_s=600)) or "")


def test_nothing_is_estimated_for_a_device_that_is_there() -> None:
    assert estimate(a_run(GpuConfig(name="cpu"))) is None
    assert estimate(a_run(GpuConfig(name="l", provider=Provider.local, price_usd_per_s=1))) is None


def test_a_container_costs_what_its_device_cores_and_memory_do() -> None:
    box = ContainerConfig(cores=2, memory_bytes=4 * 2**30, core_usd_per_s=0.1, gib_usd_per_s=0.01)
    rented = GpuConfig(provider=Provider.modal, price_usd_per_s=1.0, container=box)
    assert rented.container_usd_per_s == pytest.approx(0.24)
    assert rented.usd_per_s == pytest.approx(1.24)
    assert GpuConfig(provider=Provider.local, price_usd_per_s=1.0, container=box).usd_per_s == 1.0


def test_a_processor_is_one_wherever_it_is() -> None:
    assert GpuConfig(provider=Provider.cpu).is_cpu
    assert GpuConfig(provider=Provider.modal).is_cpu
    assert not GpuConfig(provider=Provider.modal, device_name="T4").is_cpu
    assert not GpuConfig(provider=Provider.local).is_cpu
