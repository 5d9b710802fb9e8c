"""What client and container say to each other: JSON, compressed, bounded, and checked.

A container in which strangers' kernels have run is not believed much more than they are. What
comes from it is bytes: their size is bounded before and after they are unpacked, the verdict has
to be on the kernel that was asked for, and its texts lose what could act on a terminal.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Record, Verdict
from kbexp.worker.report import clean

MAX_PACKED_BYTES = 4 * 2**20
MAX_BYTES = 16 * 2**20
MAX_TEXT = 100_000
"""Characters of one text in an answer; the worker itself keeps logs shorter than that."""


class BadAnswer(Exception):
    """What a container answered is not an answer; the text says in a clause why."""


def pack(record: Record) -> bytes:
    """Return a JSON object as bytes. Compressed, most of them need no upload of their own."""
    return zlib.compress(json.dumps(record).encode("utf-8"))


def unpack(data: object) -> Record:
    """Read what `pack` wrote; raises BadAnswer for anything else and for what is too large."""
    if not isinstance(data, bytes):
        raise BadAnswer(f"it is {type(data).__name__} and not bytes")
    if len(data) > MAX_PACKED_BYTES:
        raise BadAnswer(f"it has {len(data)} bytes, and {MAX_PACKED_BYTES} are allowed")
    try:
        opened = zlib.decompressobj()
        text = opened.decompress(data, MAX_BYTES)
        if opened.unconsumed_tail or not opened.eof:
            raise BadAnswer(f"it does not end within {MAX_BYTES} bytes")
        record = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise BadAnswer(f"it cannot be read ({type(error).__name__})") from None
    if not isinstance(record, dict):
        raise BadAnswer("it is no JSON object")
    return record


@dataclass(frozen=True, slots=True)
class Report:
    """What a container says of itself.

    `age_s` counts from the start of its process, `cold_s` is what of it went by before it was
    warm. `device` is the device's own name, "" before it was seen. `sources` is the fingerprint of
    the program that it runs. A container that is `retiring` takes no further evaluation.
    """

    container: str = ""
    age_s: float = 0.0
    cold_s: float = 0.0
    isolation: str = ""
    device: str = ""
    sources: str = ""
    judged: int = 0
    retiring: bool = False

    @classmethod
    def of(cls, record: object) -> Report:
        """Read a container's report; raises BadAnswer where it is none."""
        if not isinstance(record, Mapping):
            raise BadAnswer("it says nothing of its container")
        found: dict[str, Any] = {}
        for entry in fields(cls):
            value: Any = record.get(entry.name, entry.default)
            kind: type = type(entry.default)
            if kind is float and type(value) is int:
                value = float(value)
            if type(value) is not kind or not _possible(value):
                raise BadAnswer(f"its container's {entry.name} is {clean(str(value), 40)!r}")
            found[entry.name] = clean(value, 200) if isinstance(value, str) else value
        return cls(**found)


def _possible(value: Any) -> bool:
    """Whether a number is one that can be counted or measured; anything else is."""
    return not isinstance(value, int | float) or 0 <= value < math.inf


def verdict_of(record: object, task: Task, kernel: Kernel) -> Verdict:
    """Return a verdict on this kernel; raises BadAnswer for anything else."""
    if not isinstance(record, Mapping):
        raise BadAnswer("it holds no verdict")
    try:
        verdict = Verdict.from_record(cleaned(record))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadAnswer(f"its verdict cannot be read ({type(error).__name__})") from None
    if verdict.kernel_id != kernel.id or verdict.task_id != task.id:
        raise BadAnswer("its verdict is on another kernel or task")
    figures = [*verdict.metrics.values()]
    phases = verdict.phases
    figures += [phases.queue_s, phases.build_s, phases.correctness_s, phases.timing_s]
    if not all(math.isfinite(figure) for figure in figures):
        raise BadAnswer("its verdict has figures that are no numbers")
    return verdict


def cleaned(value: Any) -> Any:
    """Return JSON with its texts cleaned and of bounded length."""
    if isinstance(value, str):
        return clean(value, MAX_TEXT)
    if isinstance(value, Mapping):
        return {clean(str(key), 200): cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value
