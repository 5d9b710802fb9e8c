"""What a container says is believed as little as what a kernel says."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.evaluation.modal import messages
from kbexp.evaluation.modal.messages import BadAnswer, Report, pack, unpack, verdict_of
from kbexp.kernel import Kernel
from kbexp.task import Task
from kbexp.verdict import Interval, Phase, Status, Verdict

TASK, KERNEL = Task("t", "source"), Kernel("kernel")

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def a_verdict(**changes: Any) -> dict[str, Any]:
    verdict = Verdict(
        kernel_id=KERNEL.id,
        task_id=TASK.id,
        status=Status.CORRECT,
        phase=Phase.TIMING,
        device="NVIDIA H100",
        isolation="namespaces",
        speedup=Interval(2.0, 1.9, 2.1),
        metrics={"pairs": 8.0},
    )
    return {**verdict.to_record(), **changes}


@given(st.dictionaries(st.text(), values, max_size=4))
def test_what_is_packed_comes_back(record: dict[str, Any]) -> None:
    assert unpack(pack(record)) == record


@given(st.binary(max_size=200))
def test_bytes_are_an_answer_or_refused(data: bytes) -> None:
    for sent in (data, zlib.compress(data)):
        try:
            assert isinstance(unpack(sent), dict)
        except BadAnswer:
            continue


@pytest.mark.parametrize("data", [None, "text", {"id": 1}, RuntimeError("no")])
def test_what_is_no_bytes_is_refused(data: object) -> None:
    with pytest.raises(BadAnswer, match="not bytes"):
        unpack(data)


def test_an_answer_has_bounds_before_and_after_it_is_unpacked() -> None:
    with pytest.raises(BadAnswer, match="allowed"):
        unpack(bytes(messages.MAX_PACKED_BYTES + 1))
    bomb = zlib.compress(b'{"log": "' + b" " * (messages.MAX_BYTES + 1) + b'"}')
    assert len(bomb) < messages.MAX_PACKED_BYTES
    with pytest.raises(BadAnswer, match="does not end"):
        unpack(bomb)
    with pytest.raises(BadAnswer, match="cannot be read"):
        unpack(zlib.compress(b"[" * 100_000))


def test_a_verdict_on_this_kernel_is_read() -> None:
    verdict = verdict_of(a_verdict(), TASK, KERNEL)
    assert verdict.speedup == Interval(2.0, 1.9, 2.1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"kernel_id": Kernel("another").id}, "another kernel"),
        ({"task_id": "0" * 32}, "another kernel"),
        ({"status": "splendid"}, "cannot be read"),
        ({"speedup": 9.0}, "cannot be read"),
        ({"metrics": {"pairs": float("nan")}}, "no numbers"),
        ({"metrics": [1]}, "cannot be read"),
        ({"phases": {"queue_s": float("inf"), "build_s": 0, "correctness_s": 0, "timing_s": 0}},
         "no numbers"),
        ({"reasons": 3}, "cannot be read"),
    ],
)  # fmt: skip
def test_anything_else_is_no_verdict(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(BadAnswer, match=why):
        verdict_of(a_verdict(**changes), TASK, KERNEL)
    with pytest.raises(BadAnswer, match="no verdict"):
        verdict_of(None, TASK, KERNEL)


def test_the_texts_of_a_verdict_can_move_no_terminal_and_are_bounded() -> None:
    wild = a_verdict(
        log="\x1b[2J" + "x" * 1_000_000,
        device="H100\x07",
        reasons=["a\nb\x00c"],
        environment={"\x1b]0;": "\x9b31m"},
        facts={"deep": [{"\x1b": "\x1b"}]},
    )
    verdict = verdict_of(wild, TASK, KERNEL)
    shown = json.dumps(verdict.to_record(), ensure_ascii=False)
    assert not {"\x1b", "\x07", "\x00", "\x9b"} & set(shown)
    assert verdict.reasons[0].startswith("a\nb")
    assert len(verdict.log) <= messages.MAX_TEXT


def test_a_report_is_read_back_and_anything_else_refused() -> None:
    report = Report("ta-1", 3.0, 2.5, "namespaces", "H100", "abc", 2, retiring=True)
    assert Report.of(json.loads(json.dumps(asdict(report)))) == report
    assert Report.of({"age_s": 3}).age_s == 3.0
    for wrong in (
        None, [], {"age_s": -1.0}, {"age_s": float("nan")}, {"age_s": "old"}, {"judged": -3},
        {"judged": True}, {"container": 7}, {"retiring": 1},
    ):  # fmt: skip
        with pytest.raises(BadAnswer):
            Report.of(wrong)
    assert Report.of({"container": "ta\x1b[1m" + "x" * 999}).container.isprintable()
