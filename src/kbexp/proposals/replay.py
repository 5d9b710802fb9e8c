"""A recorded run's answers once more: `llm=replay` repeats them by number, with no network."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kbexp.candidate import Candidate, Proposal, ProposalRequest, Summary
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.events import Event, ProposalAsked, ProposalReceived, RunStarted, SummaryWritten
from kbexp.task import Task

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Recording:
    """What a journal holds of the talk with a model: questions, answers, summaries.

    `asked` and `answers` are by the proposal's number, `summaries` by the text that stood before.
    """

    path: Path
    task_id: str = ""
    asked: dict[int, ProposalAsked] = field(default_factory=dict)
    answers: dict[int, Proposal] = field(default_factory=dict)
    summaries: dict[str, list[Summary]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, path: Path, events: Iterable[Event]) -> Recording:
        """Fold the journal of the run in the folder `path`."""
        found, before = cls(path), ""
        for event in events:
            match event:
                case RunStarted():
                    task = event.about.get("task")
                    found.task_id = str(task.get("id")) if isinstance(task, Mapping) else ""
                case ProposalAsked():
                    found.asked[event.number] = event
                case ProposalReceived():
                    found.answers[event.proposal.number] = event.proposal
                case SummaryWritten():
                    found.summaries[before].append(event.summary)
                    before = event.summary.text or before
                case _:
                    pass
        return found


class ReplayProposer:
    """Answers as a recorded run was answered: text, kernel, tokens, price and time, to the byte.

    A request is known by its number and its seed. Verdicts are measured anew, so the kernel to
    improve may be another than in the recorded run: the answer is the recorded one all the same,
    and `notes` names the first such difference. Raises KbexpError where the recording is of
    another task or holds no answer.
    """

    def __init__(self, recording: Recording, task: Task) -> None:
        self._recording = recording
        self._run = f"The run in {recording.path} (llm.path)"
        self.notes: list[str] = []
        if recording.task_id != task.id:
            raise KbexpError(
                f"{self._run} was of another task than {task.name} as it is set here: give that "
                "run's task and sizes."
            )
        if not recording.answers:
            raise KbexpError(f"{self._run} holds no answer of a model: give one that has some.")

    def apply(self, event: Event) -> None:
        """Do nothing: what is answered depends on the recording alone."""

    def propose(self, request: ProposalRequest) -> Proposal:
        """Return the recorded answer; raises ModelUnavailable where there is none to return."""
        asked = self._recording.asked.get(request.number)
        answer = self._recording.answers.get(request.number)
        if asked is None or answer is None:
            raise ModelUnavailable(
                f"{self._run} holds no answer to proposal {request.number}, and "
                f"{len(self._recording.answers)} answers in all: ask for no more steps or "
                "proposals than it did."
            )
        if asked.seed != request.seed:
            raise ModelUnavailable(
                f"{self._run} asked for proposal {request.number} with another seed: give that "
                "run's seed."
            )
        parents = tuple(parent.kernel.id for parent in request.parents)
        if asked.parents != parents and not self.notes:
            self.notes.append(
                f"The replay departs from the recorded run: proposal {request.number} shows "
                "other kernels than it did there; the answers are the recorded ones."
            )
            log.warning(self.notes[-1])
        return answer


class ReplaySummarizer:
    """Gives the recorded run's summaries, each after the text that it came after there."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._given: Counter[str] = Counter()

    def summarize(self, previous: str, fresh: Sequence[Candidate], seed: int) -> Summary:
        """Return the next summary, or one with an `error` where the recording has no more."""
        known = self._recording.summaries.get(previous, [])
        number = self._given[previous]
        self._given[previous] += 1
        if number < len(known):
            return known[number]
        path = self._recording.path
        return Summary("", error=f"The run in {path} (llm.path) holds no further summary.")
