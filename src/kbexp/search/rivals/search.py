"""A rival's search: the package decides what to ask, everything else is as in any other search.

The package runs on a thread of its own and blocks on its wishes. A question becomes a proposal;
its kernel is judged as soon as it is there, once; the rival is told the verdict when it asks for
it. All that it is given follows from the archive, by the number of its question and by the text it
wants judged. So a run that goes on lets the rival begin anew and gives it the same answers and
verdicts up to where the run was cut: with the same seed it comes to the same questions.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import islice
from threading import Event as Flag

from kbexp.candidate import Candidate, Proposal, ProposalRequest, Question
from kbexp.errors import KbexpError
from kbexp.events import Noted
from kbexp.search.algorithm import copied, request_seed
from kbexp.search.archive import scored
from kbexp.search.outcome import Outcome
from kbexp.search.rivals.catalog import RIVALS, Settings, Tell
from kbexp.search.rivals.talk import Asking, Closed, Judging, NoKernel, Talk, Told
from kbexp.search.stream import Stream

SILENT_S = 300.0
"""How long a rival may think; it takes milliseconds, and some seconds to start."""

JOIN_S = 5.0
"""How long a rival may take to end; its thread is a daemon and holds nothing up."""


@dataclass(slots=True, kw_only=True)
class RivalSearch(Stream):
    """The live state of a search that a rival's package decides in."""

    tell: Tell
    talk: Talk = field(init=False)
    thread: threading.Thread = field(init=False)
    granted: int = 0
    """How many of the rival's questions were answered: the number of the one it asks next."""
    by_text: dict[str, str] = field(default_factory=dict)
    """The ids of held kernels by their plain texts."""
    read: int = 0
    """How many of the held kernels stand in `by_text`."""
    departed: bool = False

    def __post_init__(self) -> None:
        super(RivalSearch, self).__post_init__()
        self.talk = Talk(self.flying.wake)
        self.thread = threading.Thread(target=self._play, name=self.config.kind, daemon=True)

    def run(self, stop: Flag) -> Outcome:
        """Drive the search to its end, and the rival with it."""
        try:
            return super(RivalSearch, self).run(stop)
        finally:
            self.talk.close()
            if self.thread.ident is not None:
                self.thread.join(JOIN_S)

    def advance(self) -> None:
        """Begin everything that can begin now, and grant the rival what can be granted."""
        # A rival begins with the verdict on the first kernel. It starts when that is there: what is
        # timed on a processor wants it for itself.
        if self.archive.judged:
            if self.thread.ident is None:
                self.talk.last_granted = time.monotonic()
                self.thread.start()
            self._grant()
            if self.talk.wish() is None:
                self._silent()
        super(RivalSearch, self).advance()

    def _play(self) -> None:
        """Run the package; on the rival's thread."""
        error: Exception | None = None
        settings = Settings(request_seed(self.seed, "rival"), self.seed_kernel.source)
        try:
            RIVALS[self.config.kind].play(self.talk, settings)
        except Closed:
            pass
        except Exception as caught:
            error = caught
        self.talk.end(error)

    def _silent(self) -> None:
        """See whether a rival that wants nothing thinks, has ended, or does neither.

        Raises KbexpError where its package failed, or goes round and round and asks nothing.
        """
        name = self.config.name
        if not self.talk.over:
            if time.monotonic() - self.talk.last_granted > SILENT_S:
                raise KbexpError(
                    f"The package behind algorithm={name} has asked nothing for {SILENT_S:g} s: "
                    "what came until then is kept; resume the run to have it begin anew."
                )
            return
        if (error := self.talk.error) is not None:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise KbexpError(
                f"The package behind algorithm={name} failed ({said}): what came until then is "
                "kept; try the version of the package that constraints.txt names."
            ) from error
        self.halt = self.halt or f"{name} has ended its search."

    # Granting: from the archive alone.

    def _grant(self) -> None:
        while (wish := self.talk.wish()) is not None:
            if isinstance(wish, Asking):
                proposal = self.archive.proposals.get(self.granted)
                if proposal is None:
                    return
                self._answer(wish, proposal)
            else:
                told = self._told(wish)
                if told is None:
                    return
                wish.granted.set_result(told)

    def _answer(self, wish: Asking, proposal: Proposal) -> None:
        if not self.departed and proposal.parents != self._parent_ids(wish.question):
            self.departed = True
            self._note_departure(proposal.number)
        self.granted += 1
        if proposal.kernel is not None:
            wish.granted.set_result(proposal.kernel.source)
        else:
            wish.granted.set_exception(NoKernel(proposal.error))

    def _note_departure(self, number: int) -> None:
        self.do(
            Noted(
                text=f"{self.config.name} asks question {number} otherwise than before the run was "
                "cut: its answers are kept, and its search goes on from them in another way.",
                number=number,
            )
        )

    def _told(self, wish: Judging) -> Told | None:
        """Return what a text came to; None while its kernel waits for its verdict."""
        archive, text = self.archive, plain(wish.text)
        kernel_id = self._known().get(text)
        if kernel_id is None:
            waiting = (p.kernel for p in archive.undecided.values() if p.kernel is not None)
            if any(plain(kernel.source) == text for kernel in waiting):
                return None
            return Told(0.0, "Not judged: this text is no kernel that the model has given.")
        verdicts = archive.verdicts[kernel_id]
        verdict = next(iter(scored(verdicts)), None)
        if verdict is None and kernel_id in archive.unjudged:
            return None
        # The first verdict that counts, which no later one changes: as it was told before a cut.
        verdict = verdict or verdicts[-1]
        speedup = verdict.speedup.value if verdict.correct and verdict.speedup else None
        return Told(self.score(verdict), self.tell(verdict), speedup)

    def _known(self) -> dict[str, str]:
        held = self.archive.held
        for kernel in islice(held.values(), self.read, None):
            self.by_text.setdefault(plain(kernel.source), kernel.id)
        self.read = len(held)
        return self.by_text

    # Asking.

    def _ask(self) -> bool:
        """Send the rival's question; false while it has none, or all were sent."""
        wish = self.talk.wish()
        number = self.granted
        if self.halt or number >= self.total or not isinstance(wish, Asking):
            return False
        if number in self.archive.proposals:
            return False
        parents = tuple(copied(parent) for parent in self._shown(wish.question))
        self.sent[number] = len(self.archive.judged)
        seed = request_seed(self.seed, number)
        self.ask(ProposalRequest(number, parents, seed, question=wish.question), None)
        self.pace.sent(number)
        return True

    def _parent_ids(self, question: Question) -> tuple[str, ...]:
        return tuple(parent.kernel.id for parent in self._shown(question))

    def _shown(self, question: Question) -> list[Candidate]:
        """Return the candidates in a question, the one to improve first.

        Both rivals put that one last. Where none is found it is the first kernel.
        """
        user, found = plain(question.user), list[tuple[int, int, Candidate]]()
        for text, kernel_id in self._known().items():
            at, candidate = user.rfind(text), self.archive.candidates.get(kernel_id)
            if at >= 0 and candidate is not None:
                found.append((at, len(text), candidate))
        found.sort(key=lambda each: each[:2], reverse=True)
        return [candidate for _, _, candidate in found] or [self.archive.in_order[0]]


def plain(text: str) -> str:
    """Return a text without what rivals change in it: the space around it, and its line ends."""
    return "\n".join(text.splitlines()).strip()
