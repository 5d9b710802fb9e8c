"""Bytes from an untrusted process: read in their fixed layout, or refused."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.worker.report import (
    HEADER,
    MAGIC,
    MAX_TEXT,
    Kind,
    Leaf,
    clean,
    pack_leaves,
    pack_text,
    pack_times,
    read_report,
    send_report,
)
from kbexp.worker.wire import Closed, TooLate


def answer(data: bytes, calls: int = 0) -> object:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.close()
        return read_report(ours, 1.0, calls)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Closed):
        answer(data)


@given(st.sampled_from(list(Kind)), st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_a_true_header_with_any_payload_is_read_or_refused(
    kind: Kind, payload: bytes, size: int
) -> None:
    try:
        report = answer(HEADER.pack(MAGIC, kind, size) + payload, calls=3)
    except Closed:
        return
    assert report.kind is kind  # type: ignore[attr-defined]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20), st.booleans())
def test_times_come_through(times: list[int], strided: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_report(theirs, Kind.CALLED, pack_times(times, strided))
        report = read_report(ours, 1.0, len(times))
        assert (list(report.times_ns), report.strided) == (times, strided)


def test_more_times_than_asked_for_are_refused() -> None:
    data = HEADER.pack(MAGIC, Kind.CALLED, 17) + struct.pack("<2Q?", 1, 2, False)
    with pytest.raises(Closed, match="17 bytes"):
        answer(data, calls=1)


def test_a_size_that_would_fill_memory_is_refused_before_it_is_read() -> None:
    with pytest.raises(Closed, match="FAILED report of 4294967295"):
        answer(HEADER.pack(MAGIC, Kind.FAILED, 2**32 - 1))


def test_layouts_come_through() -> None:
    leaves = [Leaf("float32", (2, 3)), Leaf("int64", ()), Leaf("bool", (0,))]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_report(theirs, Kind.LAYOUT, pack_leaves(leaves))
        assert list(read_report(ours, 1.0).leaves) == leaves


def test_negative_sizes_and_unknown_types_are_refused() -> None:
    good = pack_leaves([Leaf("float32", (2, 3))])
    bad = bytearray(good)
    bad[3:11] = struct.pack("<q", -5)
    with pytest.raises(Closed, match="cannot be"):
        answer(HEADER.pack(MAGIC, Kind.LAYOUT, len(bad)) + bytes(bad))
    bad = bytearray(good)
    bad[1] = 200
    with pytest.raises(Closed, match="cannot be"):
        answer(HEADER.pack(MAGIC, Kind.LAYOUT, len(bad)) + bytes(bad))


def test_what_cannot_be_said_raises() -> None:
    with pytest.raises(ValueError, match="at most"):
        pack_leaves([Leaf("float32", ())] * 100)
    with pytest.raises(ValueError, match="float8"):
        pack_leaves([Leaf("float8_e4m3fn", (1,))])


def test_silence_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TooLate):
        read_report(ours, 0.05)


def test_texts_are_cut_and_cleaned() -> None:
    assert len(pack_text("x" * 10**6 + "end")) == MAX_TEXT
    assert pack_text("x" * 10**6 + "end").endswith(b"end")
    assert clean("a\x1b[31mb\x00\r\n\tc") == "a\ufffd[31mb\ufffd\ufffd\n\tc"
    assert len(clean("y" * 10**6, 100)) == 100
