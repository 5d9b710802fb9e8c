"""From a composed configuration to a finished run in its folder."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kbexp.app.after import After
from kbexp.app.baselines import check_baselines
from kbexp.app.checks import check_folder, check_key, check_servers
from kbexp.app.configuration import plain, typed
from kbexp.app.confirm import Sized, check_confirm, other_sizes
from kbexp.app.evaluator_settings import check_evaluator_settings
from kbexp.app.explain import Stopped
from kbexp.app.finished import about_run, finished
from kbexp.app.first import first_kernel
from kbexp.app.logbook import Logbook
from kbexp.app.models import (
    check_models,
    open_embedder,
    open_proposer,
    open_summarizer,
    replays,
)
from kbexp.app.rented import Bill, await_device, check_money, estimate, left_behind, ticking
from kbexp.app.result import Result, environment, write_atomically, write_result
from kbexp.app.standalone import standalone
from kbexp.app.stop import StopFlag
from kbexp.app.summary_text import summary_text
from kbexp.budget import Budget
from kbexp.config import RunConfig
from kbexp.errors import EvaluatorUnavailable, KbexpError, TaskError
from kbexp.events import Noted, RunEnded, RunStarted
from kbexp.score import check_metric
from kbexp.search_config import SearchConfig
from kbexp.summary import RunSummary
from kbexp.task import Task
from kbexp.tracking import RunInfo, console_of, trackers

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from kbexp.candidate import Proposer
    from kbexp.evaluation import Evaluator
    from kbexp.search import Archive, Outcome

log = logging.getLogger(__name__)


def run(composed: DictConfig, folder: Path) -> float:
    """Search as the configuration says and leave everything in `folder`; return the best score.

    The score is that of `config.metric`, 0 where no kernel was correct. Raises KbexpError with
    the sentence that `result.json` gives as its reason too, where the run began, and `Stopped`
    after a signal.
    """
    config = typed(composed, RunConfig)
    if config.resume is not None:
        raise KbexpError("resume=FOLDER is given on the command line, not in a file: take it out.")
    check_folder(folder)
    with StopFlag() as stop:
        this = Run(config, folder, stop)
        try:
            before = this.finished()
            if before is not None:
                print("This run is complete already, and nothing of it was changed.")
                print(summary_text(before, folder), flush=True)
                return best_score(before.summary)
            outcome = this.search()
        except Stopped:
            this.close("stopped", "The run was ended at once, by a second signal.")
            raise
        except KbexpError as error:
            if this.logbook.begun:
                this.close("failed", str(error))
            raise
        except BaseException as error:
            log.info("An error in kbexp", exc_info=True)
            this.close("failed", f"An error in kbexp: {type(error).__name__}: {error}")
            raise
        this.close(str(outcome.state), outcome.reason)
        if outcome.error is not None:
            raise outcome.error
        if stop.flag.is_set():
            raise Stopped(stop.exit_code)
    return best_score(this.logbook.summary)


def best_score(summary: RunSummary) -> float:
    """Return the winner's score, 0 where no kernel is correct."""
    winner = summary.winner
    return winner.score if winner else 0.0


def check_settings(config: RunConfig) -> None:
    """Raise KbexpError for what cannot be meant or had, before anything is written or paid for."""
    from kbexp.proposals.device import allowed_languages, device_facts
    from kbexp.search import validate

    check_key(config.llm)
    check_models(config)
    if not replays(config.llm):
        check_servers(config.llm)
    check_evaluator_settings(config.evaluator)
    check_confirm(config.confirm)
    check_money(config)
    check_baselines(config.baselines)
    validate(config.algorithm, config.search)
    check_metric(config.metric, config.gpu, config.evaluator)
    allowed_languages(config.llm.language, device_facts(config.gpu))


class Run:
    """The live state of one run: its folder, logbook, proposer and evaluator."""

    def __init__(self, config: RunConfig, folder: Path, stop: StopFlag) -> None:
        self._config = config
        self._folder = folder
        self._stop = stop
        self._began = time.monotonic()
        self._info = RunInfo(
            folder=folder,
            name=config.run_name or f"{config.task.name}-{config.algorithm.name}-{config.seed}",
            project=config.project,
            config=plain(config),
            launch_dir=Path.cwd(),
            budget=config.budget,
        )
        self.logbook = Logbook(config, self._info)
        self._fresh = not self._info.journal.exists()
        self._task: Task | None = None
        self._device = ""
        self._notes: list[str] = []

    def finished(self) -> Result | None:
        """Return what the folder's run came to, where it is this one and nothing is left to do."""
        from kbexp.tasks.load import load

        if self._fresh:
            return None
        about = about_run(self._info, self._config, load(self._config.task, self._config.gpu.sizes))
        return finished(self._info, about, self._config, self._info.summary(forgiving=False))

    def search(self) -> Outcome:
        """Check, start everything, search; what came is in the journal whatever happens."""
        from kbexp.evaluation import open_evaluator
        from kbexp.search import RunState
        from kbexp.tasks.load import load

        config, logbook = self._config, self.logbook
        check_settings(config)
        chosen = trackers(config.logger, self._info)
        console = console_of(chosen)
        logbook.shown = console is not None
        if console is not None:
            self._stop.shows = console.notice
        budget = Budget(config.budget, gpu_usd_per_s=config.gpu.usd_per_s)
        self._task = task = load(config.task, config.gpu.sizes)
        others = other_sizes(config, task)
        closed = open_evaluator(config.gpu, config.evaluator, logbook.note)
        logbook.bill = Bill(closed)
        about = about_run(self._info, config, task)
        archive = logbook.open(about, chosen)
        write_atomically(self._folder / "task.py", task.source)
        logbook.record(RunStarted(about=about))
        if (left := left_behind(logbook.summary.spending)) is not None:
            logbook.record(left)
            archive.apply(left)
        check_money(config, logbook.summary.gpu_usd)
        logbook.say_forecast()
        if (text := estimate(config)) is not None:
            log.warning(text)
        if closed.billed_usd is not None:
            # What is paid for by the second is not asked for before it can be used.
            if console is not None:
                console.doing("importing the libraries of the model")
            logbook.proposer = open_proposer(config, task, self._info.journal)
        asked_s = time.monotonic()
        with closed as evaluator, ticking(evaluator, logbook.tell_bill):
            self._device = evaluator.device
            if logbook.proposer is None:
                # Meanwhile the evaluator warms up. What is timed on a CPU wants it for itself.
                if console is not None:
                    console.doing("warming the evaluator up, importing the libraries of the model")
                logbook.proposer = open_proposer(config, task, self._info.journal)
            if console is not None and evaluator.billed_usd is not None:
                console.doing(f"waiting for a container of gpu={config.gpu.name}")
            await_device(evaluator, budget, logbook.record, self._stop.flag, asked_s)
            outcome = self._searched(task, evaluator, logbook.proposer, budget, archive)
            if not isinstance(outcome.error, TaskError):  # On such a task no kernel ever is.
                self._note_unjudged(resumable=outcome.state is not RunState.COMPLETE)
            outcome = self._after(task, others, evaluator, outcome)
            self._device = evaluator.device
        return outcome

    def close(self, state: str, reason: str) -> None:
        """Write how it ended: the journal's last line, the best kernel, `result.json`.

        What an earlier run left in the folder is not touched where this one never began.
        """
        if not (self._fresh or self.logbook.begun):
            return
        if self.logbook.begun:
            with contextlib.suppress(KbexpError):
                self.logbook.record(RunEnded(state=state, reason=reason))
        best, proposer = self.logbook.summary.winner, self.logbook.proposer
        result = Result(
            state=state,
            reason=reason,
            task=self._task.name if self._task else self._config.task.name,
            device=best.verdict.device if best else self._device,
            config=self._config,
            summary=self.logbook.summary,
            wall_s=self.logbook.earlier_s + time.monotonic() - self._began,
            environment=environment(),
            notes=(*(proposer.notes if proposer else ()), *self._notes),
        )
        try:
            if best is not None:
                kind = "cpu" if self._config.gpu.is_cpu else "cuda"
                text = standalone(best.searched.source, kind)
                write_atomically(self._folder / "best_kernel.py", text)
            write_result(self._folder, result)
        except OSError as error:
            raise KbexpError(
                f"The results cannot be written to {self._folder} ({error.strerror}): make room "
                f"and give the same command with hydra.run.dir={self._folder}; what the journal "
                "holds is not lost."
            ) from error
        finally:
            self.logbook.close()
        if best is not None or state != "failed" or self.logbook.summary.verdicts:
            print(summary_text(result, self._folder), flush=True)

    def _searched(
        self,
        task: Task,
        evaluator: Evaluator,
        proposer: Proposer,
        budget: Budget,
        archive: Archive,
    ) -> Outcome:
        from kbexp.proposals.feedback import feedback
        from kbexp.search import score_named, search

        return search(
            self._config.algorithm,
            how=self._how(),
            seed_kernel=first_kernel(task),
            proposer=proposer,
            summarizer=open_summarizer(self._config, task),
            embedder=open_embedder(self._config),
            tell=feedback,
            submit=lambda kernel: evaluator.submit(task, kernel),
            record=self.logbook.write,
            commit=self.logbook.commit,
            budget=budget,
            score=score_named(self._config.metric),
            seed=self._config.seed,
            stop=self._stop.flag,
            archive=archive,
        )

    def _note_unjudged(self, *, resumable: bool) -> None:
        """Note the kernels that a model was asked for and that nobody judged."""
        if not (count := self.logbook.summary.unjudged):
            return
        one = count == 1
        words = "1 kernel was" if one else f"{count} kernels were"
        later = f"; going on with the run judges {'it' if one else 'them'}" if resumable else ""
        turn = "its turn" if one else "their turn"
        note = f"{words} not judged: the search ended before {turn}{later}."
        self.logbook.record(Noted(text=note))
        self._notes.append(note)

    def _how(self) -> SearchConfig:
        """Return how to search, with the device's count in what was left open."""
        how, count = self._config.search, self._config.gpu.count
        if how.num_evaluations is not None:
            return how
        return dataclasses.replace(how, num_evaluations=2 * max(count, 1) + 2)

    def _after(
        self, task: Task, others: Sequence[Sized], evaluator: Evaluator, outcome: Outcome
    ) -> Outcome:
        """Judge the best kernels again and the baselines, unless a signal ended the search."""
        from kbexp.search import RunState

        if outcome.state is RunState.STOPPED or isinstance(outcome.error, EvaluatorUnavailable):
            if self.logbook.summary.best is not None and self._config.confirm.kernels:
                self._notes.append("The best kernels were not judged again after the search.")
            return outcome
        after = After(
            config=self._config,
            evaluator=evaluator,
            summary=self.logbook.summary,
            record=self.logbook.record,
            stop=self._stop.flag,
            notes=self._notes,
        )
        if after.run(task, others):
            return outcome
        self._notes.append("The run was asked to stop before all that follows a search was done.")
        if outcome.error is not None:
            return outcome
        return dataclasses.replace(
            outcome,
            state=RunState.STOPPED,
            reason=f"{outcome.reason} The run was asked to stop while its best were judged again.",
        )
