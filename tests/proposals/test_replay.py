"""Answers of a recorded run, given once more."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from kbexp.budget import Budget
from kbexp.candidate import Candidate, Proposal, Summary, Usage
from kbexp.config import BudgetConfig, LlmConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.events import Event, ProposalAsked, ProposalReceived, RunStarted, SummaryWritten
from kbexp.kernel import Kernel
from kbexp.proposals.proposer import LlmProposer
from kbexp.proposals.replay import Recording, ReplayProposer, ReplaySummarizer
from kbexp.proposals.summarizer import LlmSummarizer
from kbexp.score import score_for
from kbexp.search import RunState, search
from kbexp.search_config import AlgorithmConfig, SearchConfig, SearchMode
from kbexp.task import Task
from kbexp.verdict import Interval, Status, Verdict

PATH = Path("outputs/then")


def answer(number: int, kit: Any) -> Proposal:
    return Proposal(
        number=number,
        parents=(kit.PARENT.id,),
        kernel=Kernel(f"class ModelNew: n = {number}  # é\n") if number != 1 else None,
        error="" if number != 1 else "The answer was empty.",
        reply=f"Answer {number}: \x00 é",
        model="some/model",
        usage=Usage(10, 20, 5, 0.25, 1.5),
    )


def events(kit: Any, answers: int = 3) -> list[Event]:
    found: list[Event] = [RunStarted(about={"task": {"id": kit.TASK.id}})]
    for number in range(answers):
        asked = ProposalAsked(number=number, parents=(kit.PARENT.id,), seed=70 + number)
        found += [asked, ProposalReceived(proposal=answer(number, kit))]
    return found


def test_answers_come_back_to_the_byte(kit: Any) -> None:
    proposer = ReplayProposer(Recording.of(PATH, events(kit)), kit.TASK)
    for number in (2, 0, 1, 0):
        made = proposer.propose(kit.request(number, seed=70 + number))
        assert made == answer(number, kit)
    assert proposer.notes == []


def test_a_request_that_shows_other_kernels_is_answered_and_noted_once(kit: Any) -> None:
    proposer = ReplayProposer(Recording.of(PATH, events(kit)), kit.TASK)
    other = Candidate(Kernel("class ModelNew: 'other'\n"), 1)
    for number in (1, 2):
        assert proposer.propose(kit.request(number, other, seed=70 + number)) == answer(number, kit)
    (note,) = proposer.notes
    assert "proposal 1 shows other kernels than it did there" in note


@pytest.mark.parametrize(
    ("number", "seed", "words"),
    [(0, 7, "with another seed"), (3, 73, "no answer to proposal 3, and 3 answers in all")],
)
def test_a_request_that_was_never_made_ends_the_run_in_one_sentence(
    kit: Any, number: int, seed: int, words: str
) -> None:
    proposer = ReplayProposer(Recording.of(PATH, events(kit)), kit.TASK)
    with pytest.raises(ModelUnavailable, match=words) as raised:
        proposer.propose(kit.request(number, seed=seed))
    assert "outputs/then (llm.path)" in str(raised.value)


def test_another_task_or_no_answer_is_refused(kit: Any) -> None:
    with pytest.raises(KbexpError, match="of another task than softmax"):
        ReplayProposer(Recording.of(PATH, events(kit)), Task("softmax", "another = text\n"))
    with pytest.raises(KbexpError, match="holds no answer of a model"):
        ReplayProposer(Recording.of(PATH, events(kit, 0)), kit.TASK)
    with pytest.raises(KbexpError, match="of another task"):
        ReplayProposer(Recording.of(PATH, [RunStarted(about={"task": 3})]), kit.TASK)


def test_summaries_follow_the_text_that_they_followed(kit: Any) -> None:
    written = [
        Summary("", error="The call failed."),
        Summary("- one", model="m", usage=Usage(1, 2)),
        Summary("- two"),
        Summary("", error="Failed again."),
        Summary("- three"),
    ]
    found = [
        SummaryWritten(number=i, summary=summary, covers=()) for i, summary in enumerate(written)
    ]
    recording = Recording.of(PATH, found)
    summarizer, previous = ReplaySummarizer(recording), ""
    for summary in written:
        assert summarizer.summarize(previous, [], 1) == summary
        previous = summary.text or previous
    assert "holds no further summary" in summarizer.summarize(previous, [], 1).error
    assert ReplaySummarizer(recording).summarize("- two", [], 1) == written[3]


# A run and its replay


def searched(
    kit: Any, proposer: Any, summarizer: Any, *, noise: int
) -> tuple[list[Event], list[str]]:
    """Search in steps with verdicts that are drawn; return the events and the kernels' order."""
    rng = random.Random(noise)
    found: list[Event] = []

    def submit(kernel: Kernel) -> Future[Verdict]:
        speedup = rng.uniform(0.5, 2.0)
        judged = kit.verdict(
            Status.CORRECT if speedup > 0.8 else Status.INCORRECT,
            kernel_id=kernel.id,
            **({"speedup": Interval(speedup, speedup, speedup)} if speedup > 0.8 else {}),
        )
        future: Future[Verdict] = Future()
        future.set_result(judged)
        return future

    outcome = search(
        AlgorithmConfig(name="ps", num_steps=4, num_candidates=3, num_threads=3, summarizer=True),
        how=SearchConfig(mode=SearchMode.steps),
        seed_kernel=kit.PARENT,
        proposer=proposer,
        summarizer=summarizer,
        submit=submit,
        record=found.append,
        budget=Budget(BudgetConfig()),
        score=score_for("speedup"),
        seed=5,
        stop=threading.Event(),
    )
    assert outcome.state is RunState.COMPLETE, outcome.reason
    return found, list(outcome.archive.candidates)


def test_a_run_and_its_replay_give_the_same_kernels_in_the_same_order(kit: Any) -> None:
    """The verdicts are others the second time, as measured ones are."""
    offline = LlmConfig(name="offline", model="offline/playbook")
    first, order = searched(
        kit,
        LlmProposer(kit.TASK, kit.CPU, offline),
        LlmSummarizer(kit.TASK, kit.CPU, offline),
        noise=1,
    )
    assert len(order) > 8
    started: Event = RunStarted(about={"task": {"id": kit.TASK.id}})
    recording = Recording.of(PATH, [started, *first])
    assert recording.answers
    for noise in (1, 2):
        proposer = ReplayProposer(recording, kit.TASK)
        again, same = searched(kit, proposer, ReplaySummarizer(recording), noise=noise)
        assert same == order
        texts = [e.summary.text for e in again if isinstance(e, SummaryWritten)]
        assert texts
        assert texts == [e.summary.text for e in first if isinstance(e, SummaryWritten)]
    assert len(proposer.notes) == 1, "other verdicts lead to other parents"
