"""The fixed texts of questions: those that come with kbexp, and a person's own in their place."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path

from kbexp.errors import KbexpError
from kbexp.proposals.device import LANGUAGES

NAMES = ("rules", *LANGUAGES, "summarizer")
"""The texts in `prompts/`, each `NAME.md`: the rules, how a language is used, how to sum up."""

MAX_TEXT_BYTES = 256 * 1024


class Texts:
    """The texts by their names, read once; a file in `folder` takes the place of that name's.

    Raises KbexpError where the folder is not there or holds a text that would never be used.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._own = _own(Path(folder).expanduser()) if folder else {}

    def __getitem__(self, name: str) -> str:
        """Return a text without empty lines around it."""
        return self._own.get(name) or instructions(name)


@cache
def instructions(name: str) -> str:
    """Return one of the texts that come with kbexp."""
    text = files("kbexp.proposals").joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")
    return text.strip("\n")


def _own(folder: Path) -> dict[str, str]:
    """Read the texts in a person's folder."""
    if not folder.is_dir():
        raise KbexpError(
            f"There is no folder {folder} (llm.prompt_dir): give one that holds any of "
            f"{', '.join(f'{name}.md' for name in NAMES)}."
        )
    own = {}
    for path in sorted(folder.glob("*.md")):
        if path.stem not in NAMES:
            raise KbexpError(
                f"{path} (llm.prompt_dir) takes the place of no text: the names are "
                f"{', '.join(f'{name}.md' for name in NAMES)}."
            )
        own[path.stem] = _read(path)
    return own


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
        text = data.decode("utf-8").strip("\n")
    except OSError as error:
        raise KbexpError(f"{path} (llm.prompt_dir) cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise KbexpError(f"{path} (llm.prompt_dir) is not UTF-8: save it as such.") from error
    if len(data) > MAX_TEXT_BYTES or not text.strip():
        raise KbexpError(
            f"{path} (llm.prompt_dir) is empty or longer than {MAX_TEXT_BYTES // 1024} KiB: "
            "change it, or take it away to have the text that comes with kbexp."
        )
    return text
