"""Untrusted text and figures on their way to a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.tracking.figures import (
    TIMES,
    count,
    dollars,
    duration,
    interval,
    milliseconds,
    ratio,
    worth,
)
from kbexp.tracking.text import one_line
from kbexp.verdict import Interval


@given(st.text(st.characters(), max_size=500), st.integers(1, 60))
def test_one_line_holds_nothing_that_steers_a_terminal(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert not {"Cc", "Cf", "Cs", "Zl", "Zp"} & {unicodedata.category(c) for c in line}
    line.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("  two\n\tlines\r\n ", "two lines"),
        ("\x1b[31mred\x1b]0;title\x07", "[31mred ]0;title"),
        ("\x9b31mC1", "31mC1"),
        ("ab\u202egnp.exe", "abgnp.exe"),
        ("\u00fcml\u00e4ut \u4f60\u597d", "\u00fcml\u00e4ut \u4f60\u597d"),
        ("\ud800", "\ufffd"),
        ("x" * 300, "x" * 199 + "…"),
        ("a" + " " * 100_000 + "b", "a"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_figures() -> None:
    times = "\N{MULTIPLICATION SIGN}"
    assert [ratio(v) for v in (0.0034, 0.5, 1.423, 12.34, 250.4, float("inf"))] == [
        f"{shown}{times}" for shown in ("0.0034", "0.50", "1.42", "12.3", "250", "∞")
    ]
    assert interval(Interval(1.42, 1.39, 1.45)) == f"1.42{times} [1.39, 1.45]"
    assert interval(Interval(1.0, 0.0, float("inf"))) == f"1.00{times} [0, ∞]"
    assert [milliseconds(v) for v in (0.0345, 3.21, 2500.0)] == ["34.50 µs", "3.210 ms", "2.500 s"]
    assert [dollars(v) for v in (0, 0.0123, 3.456, 1234.5)] == [
        "$0.00",
        "$0.0123",
        "$3.46",
        "$1,234.50",
    ]
    assert [duration(v) for v in (0, 61, 36_000)] == ["0:00:00", "0:01:01", "10:00:00"]
    assert [count(v) for v in (999, 1200, 123_456, 5e6)] == ["999", "1.2k", "123k", "5.0M"]


@pytest.mark.parametrize(
    ("metric", "value", "shown"),
    [
        ("speedup", 2.0, f"speedup 2.00{TIMES}"),
        ("speedup_low", 1.5, f"speedup_low 1.50{TIMES}"),
        ("inverse_runtime", 151.25, "inverse_runtime 151.2 calls/s"),
        ("bandwidth", 14.2, "bandwidth 14.2 GB/s"),
        ("share_of_bound", 0.37, "share_of_bound 37.0%"),
        ("energy", 4.0, "energy 4 calls/J (0.25 J a call)"),
        ("peak_memory", 2.0, "peak_memory 2/GiB (512 MiB)"),
        ({"_target_": "mine.\x1b[31mfrugal", "joules": 1}, 3.5, "mine. [31mfrugal 3.5"),
    ],
)
def test_a_score_is_named_and_has_its_unit(metric: object, value: float, shown: str) -> None:
    assert worth(metric, value) == shown
