"""Modal's client on this machine: whether it can be imported, and what its commands are called."""

from __future__ import annotations

import sys
from pathlib import Path

from kbexp.errors import EvaluatorUnavailable
from kbexp.worker.report import clean

MOST_WORDS = 300


def load_client() -> None:
    """Import Modal's client, which reads its settings on that occasion.

    Raises EvaluatorUnavailable where they cannot be read, or where it is not installed.
    """
    try:
        import modal  # noqa: F401
    except ModuleNotFoundError as error:
        raise EvaluatorUnavailable(
            f"{error.name} is not installed for this Python, and nothing can be judged on Modal "
            "without it: run `make setup`."
        ) from error
    except Exception as error:  # its exceptions cannot be imported either then
        raise EvaluatorUnavailable(
            f"The settings of Modal's client cannot be read ({words_of(error)}): mend that file, "
            f"or make it anew with `{command('token new')}`."
        ) from error


def command(rest: str) -> str:
    """Return a command of Modal's as it can be typed here: `.venv/bin/modal token new`."""
    program = Path(sys.executable).with_name("modal")
    if not program.exists():
        return f"modal {rest}"
    try:
        return f"{program.relative_to(Path.cwd())} {rest}"
    except ValueError:
        return f"{program} {rest}"


def words_of(error: BaseException) -> str:
    """Return an error's text on one line, cleaned and cut: it may come from a container."""
    words = " ".join(clean(str(error), MOST_WORDS).split()).rstrip(".")
    return words or type(error).__name__
