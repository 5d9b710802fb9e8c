"""A run's folder before the run begins: Hydra writes the settings there, and they may be refused.

Where they are, what was written is taken back, and nothing else is touched.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from kbexp.app.result import NAME
from kbexp.tracking.run_info import JOURNAL_NAME

SETTINGS = ".hydra"

WRITTEN = ("config.yaml", "hydra.yaml", "overrides.yaml")
"""What Hydra writes into the folder of the settings."""

LOG_NAME = "run.log"


@dataclass(frozen=True, slots=True)
class Before:
    """What there was of a folder before this program wrote into it.

    `missing` are the folder and those above it that did not exist, the innermost first.
    """

    folder: Path
    missing: tuple[Path, ...]
    there: frozenset[Path]

    @classmethod
    def of(cls, folder: Path) -> Before:
        """Look at a folder now."""
        return cls(
            folder,
            tuple(path for path in (folder, *folder.parents) if not path.exists()),
            frozenset(path for path in _ours(folder) if path.exists()),
        )

    def within(self, folder: Path) -> Before | None:
        """Return the same of a folder below; None where that was there, or is no part of this."""
        if not folder.is_relative_to(self.folder) or folder == self.folder:
            return None
        below = [path for path in (folder, *folder.parents) if path.is_relative_to(self.folder)]
        return Before(folder, tuple(below[:-1]), frozenset())

    def take_back(self) -> None:
        """Remove what was written since, where no run began; what cannot be removed stays."""
        folder = self.folder
        if (folder / JOURNAL_NAME).exists() or (folder / NAME).exists():
            return
        with contextlib.suppress(OSError):
            for path in _ours(folder):
                if path not in self.there and not path.is_dir():
                    path.unlink(missing_ok=True)
            if folder / SETTINGS not in self.there:
                (folder / SETTINGS).rmdir()
        remove_empty(self.missing)


def remove_empty(folders: tuple[Path, ...]) -> None:
    """Remove folders as far as they are empty, the innermost first."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _ours(folder: Path) -> list[Path]:
    settings = folder / SETTINGS
    return [settings, folder / LOG_NAME, *(settings / name for name in WRITTEN)]
