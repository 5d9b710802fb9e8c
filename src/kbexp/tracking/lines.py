"""The lines of a journal: events as JSON and back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbexp.errors import KbexpError
from kbexp.events import Event, from_record, to_record


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

    Raises KbexpError where the file cannot be read, and where a line before the last is bad.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            number, line = 0, b""
            for following in file:
                if number:
                    yield _event(path, number, line)
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
