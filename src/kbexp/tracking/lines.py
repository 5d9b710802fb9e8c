"""The lines of a journal: events as JSON and back."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbexp.errors import KbexpError
from kbexp.event_records import from_record, to_record
from kbexp.events import Event

GROUP_BYTES = 1 << 20
"""How much of a journal, at most, waits for the disk at once, if it is more than one line.

After a power cut any of the disk's blocks in it may hold zeros in place of what was written.
"""


def encode(event: Event) -> bytes:
    """Return the event's line, newline included.

    Plain ASCII: what is not stands as `\\uXXXX`, so that a line that is printed moves no
    terminal and a line that is cut splits no character. JSON has no infinities and no NaN: they
    stand as the strings "Infinity", "-Infinity" and "NaN", which `float` reads.
    Raises TypeError where `about` holds what JSON does not know.
    """
    record = to_record(event)
    try:
        text = json.dumps(record, allow_nan=False)
    except ValueError:
        text = json.dumps(_spelled_out(record), allow_nan=False)
    return text.replace("\x7f", "\\u007f").encode("ascii") + b"\n"


def decode(line: bytes) -> Event:
    """Read what `encode` wrote; raises ValueError where the line is no event."""
    record = _DECODER.decode(line.decode("utf-8"))
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    try:
        return from_record(record)
    except KeyError as error:
        raise ValueError(f"the key {error} is missing") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def read(path: Path | str) -> Iterator[Event]:
    """Yield a journal's events, but for a last line that is torn or still being written.

    Where a power cut left zeros near the end it ends before them. Raises KbexpError where the file
    cannot be read, and where a line before the last is bad.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            number, line, start = 0, b"", 0
            for following in file:
                if number:
                    zero = line.find(b"\0")
                    if zero >= 0 and start + zero >= path.stat().st_size - GROUP_BYTES:
                        return
                    yield _event(path, number, line)
                    start += len(line)
                number, line = number + 1, following
            if number and not torn(line):
                yield _event(path, number, line)
    except OSError as error:
        raise KbexpError(f"The journal {path} cannot be read: {error.strerror}.") from error


def torn(line: bytes) -> bool:
    """Tell whether a last line was not written whole; after a power cut it may hold zeros."""
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def first_zero(view: mmap.mmap) -> int | None:
    """Return where the zeros begin that a power cut left in a journal's last group, if it did."""
    at = view.find(b"\0", max(0, len(view) - GROUP_BYTES))
    return None if at < 0 else at


def _event(path: Path, number: int, line: bytes) -> Event:
    try:
        return decode(line)
    except ValueError as error:
        raise KbexpError(
            f"Line {number} of the journal {path} is not an event ({error}); restore the file or "
            "start a new run."
        ) from error


def _spelled_out(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case dict():
            return {key: _spelled_out(item) for key, item in value.items()}
        case list() | tuple():
            return [_spelled_out(item) for item in value]
        case _:
            return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)
