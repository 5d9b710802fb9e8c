"""What an untrusted process may say: fixed layouts of bounded size, and nothing else.

A report is a header (`kind`, number of payload bytes) and a payload whose size the reader knows
or bounds before it reads it. Nothing is unpickled, parsed as code or believed: texts are cut and
cleaned, sizes are compared with what was expected, times are only ever numbers.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from enum import IntEnum

from kbexp.verdict import MAX_PROFILE_NAME, MAX_PROFILE_ROWS, ProfileRow, profile_row
from kbexp.worker.wire import Closed, read_exactly

HEADER = struct.Struct("<IBI")
MAGIC = 0x6B626578
MAX_TEXT = 32 * 1024
MAX_LEAVES = 16
MAX_DIMS = 8
LEAF = struct.Struct(f"<BB{MAX_DIMS}q")
LEAVES = struct.Struct("<B")
ROWS = struct.Struct("<B")
ROW = struct.Struct(f"<Bdd{MAX_PROFILE_NAME}s")

DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
    "bool", "complex64", "complex128",
)  # fmt: skip
"""Element types that can cross, by torch's names; a code is an index into this tuple."""


class Kind(IntEnum):
    """What a report is about."""

    READY = 1
    CALLED = 2
    LAYOUT = 3
    COPIED = 4
    FAILED = 5
    PROFILED = 6
    CAPTURED = 7


@dataclass(frozen=True, slots=True)
class Leaf:
    """Element type (torch's name for it) and shape of one output tensor."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


@dataclass(frozen=True, slots=True)
class Report:
    """One report: `times_ns` with CALLED, `leaves` with LAYOUT, `text` with FAILED.

    `strided` comes with COPIED and with CALLED, where outputs were copied in between: one did not
    lie in the order of its elements. `captured` comes with CAPTURED and says whether that worked,
    `profile` with PROFILED.
    """

    kind: Kind
    times_ns: tuple[int, ...] = ()
    leaves: tuple[Leaf, ...] = ()
    text: str = ""
    strided: bool = False
    captured: bool = False
    profile: tuple[ProfileRow, ...] = ()


def send_report(channel: socket.socket, kind: Kind, payload: bytes = b"") -> None:
    """Send a report from the untrusted side."""
    channel.settimeout(None)
    channel.sendall(HEADER.pack(MAGIC, kind, len(payload)) + payload)


def pack_times(times_ns: list[int], strided: bool = False) -> bytes:
    """Return the payload of a CALLED report."""
    return struct.pack(f"<{len(times_ns)}Q?", *times_ns, strided)


def pack_text(text: str) -> bytes:
    """Return the payload of a FAILED report: the end of the text, where the error usually is."""
    return text.encode("utf-8", "replace")[-MAX_TEXT:]


def pack_leaves(leaves: list[Leaf]) -> bytes:
    """Return the payload of a LAYOUT report; raises ValueError where it cannot be said."""
    if len(leaves) > MAX_LEAVES:
        raise ValueError(f"{len(leaves)} output tensors; at most {MAX_LEAVES} are judged")
    parts = [LEAVES.pack(len(leaves))]
    for leaf in leaves:
        if leaf.dtype not in DTYPES or len(leaf.shape) > MAX_DIMS:
            raise ValueError(f"an output of type {leaf} cannot be judged")
        dims = list(leaf.shape) + [0] * (MAX_DIMS - len(leaf.shape))
        parts.append(LEAF.pack(DTYPES.index(leaf.dtype), len(leaf.shape), *dims))
    return b"".join(parts)


def pack_profile(rows: list[ProfileRow]) -> bytes:
    """Return the payload of a PROFILED report: the first rows."""
    rows = rows[:MAX_PROFILE_ROWS]
    return ROWS.pack(len(rows)) + b"".join(
        ROW.pack(row.on_device, row.ms, row.times, row.name.encode("ascii", "replace"))
        for row in rows
    )


def read_report(channel: socket.socket, timeout_s: float, calls: int = 0) -> Report:
    """Wait for one report; `calls` is how many times a CALLED report must hold.

    Raises `Closed` for a dead process or bytes that are no report, `TooLate` after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    magic, code, size = HEADER.unpack(read_exactly(channel, HEADER.size, deadline))
    if magic != MAGIC or code not in {kind.value for kind in Kind}:
        raise Closed("the kernel's process sent bytes that are no report")
    kind = Kind(code)
    expected = {
        Kind.READY: (0, 0),
        Kind.CALLED: (8 * calls + 1, 8 * calls + 1),
        Kind.LAYOUT: (LEAVES.size, LEAVES.size + MAX_LEAVES * LEAF.size),
        Kind.COPIED: (1, 1),
        Kind.CAPTURED: (1, 1),
        Kind.FAILED: (0, MAX_TEXT),
        Kind.PROFILED: (ROWS.size, ROWS.size + MAX_PROFILE_ROWS * ROW.size),
    }[kind]
    if not expected[0] <= size <= expected[1]:
        raise Closed(f"the kernel's process sent a {kind.name} report of {size} bytes")
    payload = read_exactly(channel, size, deadline)
    if kind is Kind.CALLED:
        *times_ns, strided = struct.unpack(f"<{calls}Q?", payload)
        return Report(kind, times_ns=tuple(times_ns), strided=strided)
    if kind is Kind.LAYOUT:
        return Report(kind, leaves=_unpack_leaves(payload))
    if kind is Kind.COPIED:
        return Report(kind, strided=payload != b"\0")
    if kind is Kind.CAPTURED:
        return Report(kind, captured=payload != b"\0")
    if kind is Kind.FAILED:
        return Report(kind, text=clean(payload.decode("utf-8", "replace")))
    if kind is Kind.PROFILED:
        return Report(kind, profile=_unpack_profile(payload))
    return Report(kind)


def _unpack_leaves(payload: bytes) -> tuple[Leaf, ...]:
    (count,) = LEAVES.unpack_from(payload)
    if len(payload) != LEAVES.size + count * LEAF.size:
        raise Closed("the kernel's process sent a layout of the wrong size")
    leaves = []
    for index in range(count):
        code, ndim, *dims = LEAF.unpack_from(payload, LEAVES.size + index * LEAF.size)
        if code >= len(DTYPES) or ndim > MAX_DIMS or any(dim < 0 for dim in dims):
            raise Closed("the kernel's process sent a layout that cannot be")
        leaves.append(Leaf(DTYPES[code], tuple(dims[:ndim])))
    return tuple(leaves)


def _unpack_profile(payload: bytes) -> tuple[ProfileRow, ...]:
    (count,) = ROWS.unpack_from(payload)
    if len(payload) != ROWS.size + count * ROW.size:
        raise Closed("the kernel's process sent a profile of the wrong size")
    rows = []
    for on_device, ms, times, name in ROW.iter_unpack(payload[ROWS.size :]):
        text = name.rstrip(b"\0").decode("ascii", "replace")
        try:
            rows.append(profile_row(text, on_device == 1, ms, times))
        except ValueError:
            raise Closed("the kernel's process sent a profile that cannot be") from None
    return tuple(rows)


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return untrusted text with control characters replaced, but for newline and tab, and cut."""
    kept = "".join(
        c if c in "\n\t" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"
