"""One W&B run for every search, written into the run's folder and uploaded only when told to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kbexp.errors import KbexpError
from kbexp.events import Event, VerdictReached
from kbexp.kernel import text_id
from kbexp.tracking.files import final_files
from kbexp.tracking.lines import encode
from kbexp.tracking.points import point
from kbexp.tracking.run_info import RunInfo

if TYPE_CHECKING:
    import wandb

EXIT_CODES = {"complete": 0, "stopped": 0}
"""W&B marks a run as crashed for all other states."""

NETWORK_S = 20.0


class WandbTracker:
    """Follows a run into W&B; the id is that of the journal's first line.

    A resumed or replayed journal is read from its start. Online, W&B leaves out the steps that it
    has; offline it writes a new folder, and the one that this supersedes is removed.
    """

    name = "wandb"

    def __init__(self, run: RunInfo, mode: str = "offline") -> None:
        self._run = run
        self._mode: Literal["online", "offline"] = "online" if mode == "online" else "offline"
        self._summary = run.summary()
        self._wandb: wandb.Run | None = None
        self._device = ""

    def on_event(self, event: Event) -> None:
        """Log the event's figures; the step is the number of the evaluation."""
        self._summary.apply(event)
        if self._wandb is None:
            self._wandb = self._open(event)
        if isinstance(event, VerdictReached) and event.verdict.device != self._device:
            self._device = event.verdict.device
            self._wandb.config.update({"device": self._device}, allow_val_change=True)
        values = point(event, self._summary)
        if values is not None:
            self._wandb.log(values, step=self._summary.verdicts)

    def close(self, state: str) -> None:
        """Store the files and finish, waiting for the network no longer than `NETWORK_S`."""
        if self._wandb is None:
            return
        self._wandb.summary["state"] = state
        if state != "dropped":
            self._store_files(self._wandb)
        self._wandb.finish(exit_code=EXIT_CODES.get(state, 1))

    def _open(self, first: Event) -> wandb.Run:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        # Silent from the start: without a key W&B would ask for one, from a thread nobody expects.
        wandb.setup(settings=wandb.Settings(silent=True))
        run_id = text_id(encode(first).decode())[:16]
        try:
            run = self._init(run_id)
        except (wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            raise KbexpError(
                "W&B has no key that it can use; run `wandb login`, set WANDB_API_KEY or choose "
                "logger.wandb_mode=offline."
            ) from error
        if self._mode == "offline":
            _remove_superseded(Path(run.dir).parent, run_id)
        return run

    def _init(self, run_id: str) -> wandb.Run:
        import wandb

        return wandb.init(
            project=self._run.project,
            name=self._run.name,
            id=run_id,
            resume="allow" if self._mode == "online" else None,
            dir=str(self._run.folder.absolute()),
            mode=self._mode,
            config=self._run.public_config(),
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=NETWORK_S,
                finish_timeout=NETWORK_S,
                save_code=False,
                # Command lines may hold keys, and sampling a device disturbs what is timed there.
                x_disable_meta=True,
                x_disable_stats=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )

    def _store_files(self, run: wandb.Run) -> None:
        folder = Path(run.dir)
        files = final_files(self._run, self._summary)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        journal = self._run.journal
        if journal.is_file():
            shutil.copyfile(journal, folder / journal.name)
        for name in (*files, journal.name):
            if (folder / name).is_file():
                run.save(str(folder / name), base_path=str(folder), policy="end")


def _remove_superseded(current: Path, run_id: str) -> None:
    for folder in current.parent.glob(f"offline-run-*-{run_id}"):
        if folder != current:
            shutil.rmtree(folder, ignore_errors=True)
