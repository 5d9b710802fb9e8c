"""Where walled-in processes come from: the zygote, their walls, their folders, a few in stock."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from kbexp.config import EvaluatorConfig
from kbexp.errors import EvaluatorUnavailable
from kbexp.worker import wire
from kbexp.worker.processes import Child, End, Zygote, clean_environment
from kbexp.worker.sandbox import LEVELS, Walls

FIRST_USER = 61_000
"""User ids from here on are used for walled-in processes, one a process, in turn."""

USERS = 2_000
FOLDER_PREFIX = "kbexp-worker-"
STOCK = 2
"""Runners forked ahead of need: one for a kernel and one for the reference."""


def sweep_folders() -> None:
    """Delete the folders of workers that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


class Nursery:
    """Forks processes for one device.

    `isolation` is the level of their walls, known once it was started; `variables` are added to
    the environment of what is forked from then on.
    """

    def __init__(self, device: str, settings: EvaluatorConfig, env: Mapping[str, str]) -> None:
        self.isolation = ""
        self.variables: dict[str, str] = {}
        self._device = device
        self._settings = settings
        self._env = clean_environment(env)
        self._numbers = itertools.count()
        self._zygote: Zygote | None = None
        self._stock: list[Child] = []
        sweep_folders()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
        # Walled-in processes run as other users and are shown a folder inside this one.
        self._folder.chmod(0o711)

    def start(self) -> None:
        """Start the zygote and find out which walls stand here.

        Raises `EvaluatorUnavailable` where torch cannot be imported or no wall can be built.
        """
        self._start_zygote()
        self.isolation = self._probe()

    def restart(self) -> None:
        """Start afresh after a process of our own died."""
        self._stock.clear()
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        self._start_zygote()

    def close(self) -> None:
        """End every process at once and delete what they left."""
        zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def number(self) -> int:
        """Return a number that was not given out before."""
        return next(self._numbers)

    def spawn(
        self,
        role: str,
        settings: EvaluatorConfig,
        order: Mapping[str, object] | None = None,
        keep: str | None = None,
        keep_out: bool = False,
        level: str | None = None,
    ) -> Child:
        """Fork a process; raises `wire.Closed` where the zygote has gone."""
        if self._zygote is None:
            raise wire.Closed("the zygote has gone")
        number = self.number()
        scratch = self._folder / f"{role}-{number}"
        scratch.mkdir(mode=0o755)
        walls = Walls(
            level=level or self.isolation,
            scratch=str(scratch),
            user=FIRST_USER + number % USERS,
            memory_bytes=settings.memory_bytes * (2 if role == "judge" else 1),
            keep=keep,
            keep_out=keep_out,
            cuda=self._device != "cpu" and role != "builder",
            trusted=role == "judge",
        )
        return self._zygote.spawn(role, walls, {**(order or {}), "env": self.variables})

    def runner(self, settings: EvaluatorConfig, keep: str | None = None) -> Child:
        """Return a fresh runner, from stock where one fits."""
        if keep is None:
            while self._stock:
                child = self._stock.pop()
                if child.walls.memory_bytes == settings.memory_bytes:
                    return child
                end_all([child])
        return self.spawn("runner", settings, keep=keep)

    def restock(self, settings: EvaluatorConfig) -> None:
        """Fork runners for the next evaluation; the zygote does it while others work."""
        while len(self._stock) < STOCK:
            self._stock.append(self.spawn("runner", settings))

    def _start_zygote(self) -> None:
        zygote = Zygote(self._env)
        try:
            zygote.wait_ready()
        except (wire.Closed, wire.TooLate):
            zygote.close()
            raise EvaluatorUnavailable(
                "The evaluator did not start: a process that imports torch died; what it said "
                "stands above."
            ) from None
        self._zygote = zygote

    def _probe(self) -> str:
        """Return the strongest level of walls that stands here."""
        asked = self._settings.isolation
        if asked not in ("auto", *LEVELS):
            raise EvaluatorUnavailable(
                f"evaluator.isolation={asked} is unknown; choose auto, {', '.join(LEVELS)}."
            )
        if asked != "auto":
            wanted: tuple[str, ...] = (asked,)
        else:
            wanted = LEVELS[0 if os.geteuid() == 0 else 1 :]
        said = ""
        for level in wanted:
            child = self.spawn("probe", self._settings, level=level)
            try:
                end = child.wait(30)
            except wire.TooLate:
                end = child.kill()
            shutil.rmtree(child.walls.scratch, ignore_errors=True)
            if end.exit == 0:
                return level
            said = end.log
        raise EvaluatorUnavailable(
            f"evaluator.isolation={asked} does not work on this machine "
            f"({said.strip()[-200:]}); use evaluator.isolation=auto."
        )


def end_all(children: list[Child]) -> list[End]:
    """End processes, all at the same time, and delete their folders; return how each ended."""
    for child in children:
        child.ask_to_end()
    ends = [child.kill() for child in children]
    for child in children:
        shutil.rmtree(child.walls.scratch, ignore_errors=True)
    return ends
