"""What a run writes down: its journal, and the summary and bill that are kept in step with it."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kbexp.app.finished import same_run
from kbexp.app.forecast import forecast
from kbexp.app.rented import Bill
from kbexp.config import RunConfig
from kbexp.errors import KbexpError
from kbexp.events import Event, Noted, RunStarted
from kbexp.summary import RunSummary
from kbexp.tracking import Journal, RunInfo, Tracker, read

if TYPE_CHECKING:
    from kbexp.app.models import RunProposer
    from kbexp.search import Archive

log = logging.getLogger(__name__)


class Logbook:
    """The journal of one run and everything that follows from it; used from any thread.

    `bill` and `proposer` are set once they are there, `shown` where a live view says what is noted.
    """

    def __init__(self, config: RunConfig, info: RunInfo) -> None:
        self.summary: RunSummary = info.summary(forgiving=False)
        self.bill: Bill | None = None
        self.proposer: RunProposer | None = None
        self.shown = False
        self.earlier_s = 0.0
        self._config = config
        self._info = info
        self._journal: Journal | None = None
        self._forecast = forecast(config)
        self._order = threading.RLock()

    @property
    def begun(self) -> bool:
        """True once the run has its journal: what is refused before that leaves nothing."""
        return self._journal is not None

    def open(self, about: dict[str, Any], readers: Sequence[Tracker]) -> Archive:
        """Open the journal and return what an earlier session in this folder came to.

        Raises KbexpError where that was another run; nothing in the folder has then changed.
        """
        from kbexp.search import new_archive

        archive = new_archive(self._config.search)
        with contextlib.ExitStack() as until_ours:
            journal = until_ours.enter_context(Journal(self._info.journal))
            for event in read(journal.path):
                if isinstance(event, RunStarted) and not same_run(event.about, about):
                    raise KbexpError(
                        f"{self._info.folder} holds another run: give the settings it was started "
                        "with, or another folder as hydra.run.dir=…"
                    )
                archive.apply(event)
                self.summary.apply(event)
            until_ours.pop_all()
        for tracker in readers:
            journal.subscribe(tracker)
        self._journal = journal
        self.earlier_s = self.summary.wall_s
        return archive

    def close(self) -> None:
        """Close the journal; the trackers store the files that stand now."""
        if self._journal is not None:
            self._journal.close()

    def record(self, event: Event) -> None:
        """Write an event, for good."""
        self.write(event)
        self.commit()

    def write(self, event: Event) -> None:
        """Write an event, after what a rented device has cost until then; `commit` keeps it."""
        with self._order:
            self._write_bill(event)
            self._keep(event)
        if (words := self._forecast.after(event)) is not None:
            self._say(words)

    def commit(self) -> None:
        """Return once all that was written would survive a crash."""
        assert self._journal is not None
        self._journal.commit()

    def tell_bill(self) -> None:
        """Write down what a rented device costs, for good."""
        self._write_bill()
        self.commit()

    def note(self, text: str) -> None:
        """Keep a sentence for whoever reads the run."""
        with self._order:
            if self._journal is not None and self.summary.state == "running":
                self._keep(Noted(text=text))
                if self.shown:
                    return
        log.warning(text)

    def say_forecast(self) -> None:
        """Say how much the run is going to be."""
        self._say(self._forecast.sentence())

    def _say(self, words: str) -> None:
        print(words, file=sys.stderr, flush=True)

    def _write_bill(self, before: Event | None = None) -> None:
        with self._order:
            billed = self.bill.due(before) if self.bill is not None else None
            if billed is not None:
                self._keep(billed)

    def _keep(self, event: Event) -> None:
        assert self._journal is not None
        self._journal.write(event)
        self.summary.apply(event)
        if self.proposer is not None:
            self.proposer.apply(event)
