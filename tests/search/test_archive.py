"""The archive is a fold: the order of arrival does not matter, and nonsense is refused."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.candidate import Proposal, Summary, Usage
from kbexp.events import (
    DuplicateFound,
    EvaluationBegun,
    Event,
    ProposalAsked,
    ProposalReceived,
    RunEnded,
    RunStarted,
    StepDone,
    SummaryWritten,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.search.archive import Archive
from kbexp.search_config import AlgorithmConfig
from kbexp.verdict import Phase, Status, Verdict

SEED = Kernel("seed")


def begun(kernel: Kernel, number: int | None) -> EvaluationBegun:
    return EvaluationBegun(kernel_id=kernel.id, number=number, source=kernel.source)


def asked(number: int) -> ProposalAsked:
    return ProposalAsked(number=number, parents=(SEED.id,), seed=number)


def received(number: int, text: str | None) -> ProposalReceived:
    kernel = None if text is None else Kernel(text)
    usage = Usage(cost_usd=0.5)
    return ProposalReceived(
        proposal=Proposal(number, (SEED.id,), kernel, error="" if kernel else "none", usage=usage)
    )


def verdict(kernel: Kernel, status: Status = Status.CORRECT) -> VerdictReached:
    return VerdictReached(
        verdict=Verdict(
            kernel_id=kernel.id,
            task_id="t",
            status=status,
            phase=Phase.TIMING,
            device="d",
            isolation="i",
        )
    )


def started() -> list[Event]:
    return [RunStarted(about={}), begun(SEED, None), verdict(SEED)]


def drain(archive: Archive) -> None:
    """Record what a loop would: begin each new kernel, name each duplicate."""
    progress = True
    while progress:
        progress = False
        for number, proposal in list(archive.undecided.items()):
            if number in archive.undecided and proposal.kernel:
                archive.apply(begun(proposal.kernel, number))
                progress = True
        while (due := archive.duplicate_due()) is not None and due.kernel is not None:
            archive.apply(DuplicateFound(kernel_id=due.kernel.id, number=due.number))
            progress = True


@given(st.lists(st.sampled_from(["a", "b", "c", "seed", None]), max_size=10), st.randoms())
def test_arrival_order_does_not_matter(texts: list[str | None], rng: random.Random) -> None:
    def fold(order: list[int]) -> Archive:
        archive = Archive([*started(), *map(asked, range(len(texts)))])
        for number in order:
            archive.apply(received(number, texts[number]))
            drain(archive)
        return archive

    order = list(range(len(texts)))
    straight = fold(order)
    rng.shuffle(order)
    shuffled = fold(order)
    for archive in (straight, shuffled):
        assert archive.settled == len(texts)
        assert not archive.undecided
        brought = [c.proposal.number for c in archive.candidates.values() if c.proposal]
        assert brought == sorted(brought)
        expected = list(dict.fromkeys(["seed", *filter(None, texts)]))
        assert [c.kernel.source for c in archive.candidates.values()] == expected
        assert [c.order for c in archive.candidates.values()] == list(range(len(expected)))
    assert list(straight.candidates.values()) == list(shuffled.candidates.values())
    assert sorted(straight.duplicates) == sorted(shuffled.duplicates)
    assert straight.spending.llm_usd == shuffled.spending.llm_usd == len(texts) / 2


def test_a_candidate_waits_for_lower_numbers() -> None:
    archive = Archive([*started(), asked(0), asked(1), received(1, "b")])
    archive.apply(begun(Kernel("b"), 1))
    archive.apply(verdict(Kernel("b")))
    assert len(archive.candidates) == 1
    assert archive.number_of(Kernel("b").id) == 1
    archive.apply(received(0, None))
    assert [c.order for c in archive.candidates.values()] == [0, 1]
    assert len(archive.candidates[Kernel("b").id].verdicts) == 1
    assert archive.settled == 2


def test_two_tries_then_no_more() -> None:
    archive = Archive([begun(SEED, None)])
    for left in (True, False):
        assert SEED.id in archive.unjudged
        archive.apply(verdict(SEED, Status.INFRASTRUCTURE_ERROR))
        assert (SEED.id in archive.unjudged) == left
    assert archive.spending.evaluations == 1


def test_a_retest_wants_one_more_verdict() -> None:
    archive = Archive([*started(), begun(SEED, None)])
    assert archive.retests == {SEED.id: 1}
    assert list(archive.unjudged) == [SEED.id]
    archive.apply(verdict(SEED, Status.INFRASTRUCTURE_ERROR))
    assert list(archive.unjudged) == [SEED.id]
    archive.apply(begun(SEED, None))
    archive.apply(verdict(SEED))
    assert not archive.unjudged
    assert len(archive.candidates[SEED.id].verdicts) == 3
    assert archive.retested == {SEED.id}
    assert archive.spending.evaluations == 2
    assert archive.judged == [SEED.id]
    archive.apply(StepDone(step=1, best_kernel_id=SEED.id, best_score=1.0))
    assert not archive.retests
    assert not archive.retested
    assert archive.steps_done == 1


def test_the_end_changes_nothing() -> None:
    archive = Archive(started())
    archive.apply(RunEnded(state="stopped", reason="asked"))
    assert list(archive.candidates) == [SEED.id]


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([received(0, "a")], "never asked"),
        ([asked(0), received(0, "a"), received(0, "b")], "received twice"),
        ([verdict(Kernel("a"))], "never begun"),
        ([begun(Kernel("a"), 0)], "before it was received"),
        ([DuplicateFound(kernel_id=SEED.id, number=3)], "before it was received"),
        ([EvaluationBegun(kernel_id="0" * 32, number=None, source="a")], "hashes to"),
    ],
)
def test_events_that_cannot_follow_are_refused(events: list[Event], fault: str) -> None:
    archive = Archive([*started(), *events[:-1]])
    with pytest.raises(ValueError, match=fault):
        archive.apply(events[-1])


def test_fold_of_any_prefix_is_the_state_the_loop_had(land: SimpleNamespace) -> None:
    states: list[object] = []
    run = land.Run(
        AlgorithmConfig(name="ps", num_steps=3), archive=Archive(), seed=4, proposer=land.Mutator()
    )
    run.record = lambda event: states.append(land.snapshot(run.archive))
    run.go()
    for cut, state in enumerate(states):
        assert land.snapshot(Archive(run.journal[:cut])) == state


@given(st.lists(st.sampled_from(["a", "b", "c", "seed", None]), max_size=10), st.randoms())
def test_a_stream_takes_answers_as_they_come(texts: list[str | None], rng: random.Random) -> None:
    order = list(range(len(texts)))
    rng.shuffle(order)
    archive = Archive([*started(), *map(asked, range(len(texts)))], ordered=False)
    for count, number in enumerate(order, 1):
        archive.apply(received(number, texts[number]))
        drain(archive)
        assert archive.settled == count  # none waits for a lower number
    first: dict[str, int] = {}
    for number in order:
        text = texts[number]
        if text not in (None, "seed"):
            first.setdefault(str(text), number)
    brought = {c.kernel.source: c.proposal.number for c in archive.in_order if c.proposal}
    assert brought == first
    assert sorted([*archive.duplicates, *first.values()]) == [
        number for number in range(len(texts)) if texts[number] is not None
    ]


def test_a_summary_covers_what_it_was_shown_and_a_failed_one_nothing() -> None:
    archive = Archive([*started(), asked(0), received(0, "a"), begun(Kernel("a"), 0)])
    archive.apply(verdict(Kernel("a")))
    assert list(archive.unseen) == [SEED.id, Kernel("a").id]
    usage = Usage(input_tokens=3, cost_usd=0.25)
    failed = Summary("", "no route to host", usage=usage)
    archive.apply(SummaryWritten(number=0, summary=failed, covers=(SEED.id,)))
    assert archive.summary is None
    assert len(archive.unseen) == 2
    good = Summary("wide loads help", usage=usage)
    archive.apply(SummaryWritten(number=1, summary=good, covers=(SEED.id,)))
    assert archive.summary is not None
    assert archive.summary.summary.text == "wide loads help"
    assert list(archive.unseen) == [Kernel("a").id]
    assert archive.summaries == archive.summarized_at == 2
    assert archive.spending.llm_usd == 1.0
    assert archive.spending.proposals == 1
