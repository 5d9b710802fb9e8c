"""Events as lines and back: nothing is lost, and every line is strict JSON in ASCII."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbexp.candidate import Proposal, Summary, Usage
from kbexp.errors import KbexpError
from kbexp.event_records import to_record
from kbexp.events import (
    DuplicateFound,
    EmbeddingsMade,
    EvaluationBegun,
    Event,
    Noted,
    ProposalAsked,
    ProposalReceived,
    RunEnded,
    RunStarted,
    StepDone,
    SummaryWritten,
    VerdictReached,
)
from kbexp.kernel import Kernel
from kbexp.tracking.lines import decode, encode, read
from kbexp.verdict import Interval, Phase, Phases, Status, Verdict

TIMES = st.floats(0, 1e10)
FIGURES = st.floats(allow_nan=False)
TEXTS = st.text(max_size=30)
COUNTS = st.integers(0, 2**53)


@st.composite
def intervals(draw: st.DrawFn) -> Interval | None:
    if draw(st.booleans()):
        return None
    low, value, high = sorted(draw(st.tuples(FIGURES, FIGURES, FIGURES)))
    return Interval(value, low, high) if math.isfinite(value) else None


VERDICTS = st.builds(
    Verdict,
    kernel_id=TEXTS,
    task_id=TEXTS,
    status=st.sampled_from(Status),
    phase=st.sampled_from(Phase),
    device=TEXTS,
    isolation=TEXTS,
    reasons=st.lists(TEXTS, max_size=3).map(tuple),
    log=TEXTS,
    time_ms=intervals(),
    reference_ms=intervals(),
    speedup=intervals(),
    metrics=st.dictionaries(TEXTS, FIGURES, max_size=3),
    phases=st.builds(Phases, TIMES, TIMES, TIMES, TIMES),
    environment=st.dictionaries(TEXTS, TEXTS, max_size=3),
)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, st.none() | FIGURES, FIGURES)
PROPOSALS = st.builds(
    Proposal,
    number=COUNTS,
    parents=st.lists(TEXTS, max_size=3).map(tuple),
    kernel=st.none() | TEXTS.map(Kernel),
    error=TEXTS,
    reply=TEXTS,
    model=TEXTS,
    usage=USAGES,
)
ABOUT = st.dictionaries(
    TEXTS,
    st.recursive(
        st.none()
        | st.booleans()
        | COUNTS
        | st.floats(allow_nan=False, allow_infinity=False)
        | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(RunStarted, about=ABOUT, time=TIMES),
    st.builds(
        ProposalAsked,
        number=COUNTS,
        parents=st.lists(TEXTS, max_size=3).map(tuple),
        seed=COUNTS,
        summary=st.none() | COUNTS,
        chain=st.none() | COUNTS,
        time=TIMES,
    ),
    st.builds(
        SummaryWritten,
        number=COUNTS,
        summary=st.builds(Summary, text=TEXTS, error=TEXTS, model=TEXTS, usage=USAGES),
        covers=st.lists(TEXTS, max_size=3).map(tuple),
        time=TIMES,
    ),
    st.builds(EmbeddingsMade, model=TEXTS, texts=COUNTS, usage=USAGES, time=TIMES),
    st.builds(Noted, text=TEXTS, number=st.none() | COUNTS, time=TIMES),
    st.builds(ProposalReceived, proposal=PROPOSALS, time=TIMES),
    st.builds(
        EvaluationBegun, kernel_id=TEXTS, number=st.none() | COUNTS, source=TEXTS, time=TIMES
    ),
    st.builds(VerdictReached, verdict=VERDICTS, time=TIMES),
    st.builds(DuplicateFound, kernel_id=TEXTS, number=COUNTS, distance=FIGURES, time=TIMES),
    st.builds(
        StepDone,
        step=COUNTS,
        best_kernel_id=st.none() | TEXTS,
        best_score=st.none() | FIGURES,
        time=TIMES,
    ),
    st.builds(RunEnded, state=TEXTS, reason=TEXTS, time=TIMES),
)


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is not JSON")


@settings(max_examples=300, deadline=None)
@given(EVENTS)
def test_an_event_comes_back_as_it_was(event: Event) -> None:
    line = encode(event)
    assert decode(line) == event
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    assert json.loads(line, parse_constant=refuse)["event"] == event.event


def test_what_is_not_a_number_is_spelled_out(make_verdict: Any) -> None:
    line = encode(VerdictReached(verdict=make_verdict("k"), time=1.0))
    assert json.loads(line)["metrics"]["odd"] == "NaN"
    event = decode(line)
    assert isinstance(event, VerdictReached)
    assert math.isnan(event.verdict.metrics["odd"])


def test_a_source_with_a_lone_surrogate_keeps_its_id() -> None:
    kernel = Kernel("text = '\ud800'")
    line = encode(EvaluationBegun(kernel_id=kernel.id, number=0, source=kernel.source))
    event = decode(line)
    assert isinstance(event, EvaluationBegun)
    assert Kernel(event.source).id == kernel.id


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b'{"event": "step"', "delimiter"),
        (b"\xff\xfe", "utf-8"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"event": "nonsense", "time": 1}', "nonsense"),
        (b'{"event": "step", "time": 1}', "'step' is missing"),
        (b'{"event": "step", "time": null}', "NoneType"),
        (b'{"event": "step", "time": NaN}', "NaN is not JSON"),
        (b"", "Expecting value"),
    ],
)
def test_a_bad_line_in_the_middle_names_file_and_line(
    tmp_path: Path, make_events: Any, bad: bytes, why: str
) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [encode(event) for event in make_events()]
    path.write_bytes(b"".join([*lines[:2], bad + b"\n", *lines[2:]]))
    events = read(path)
    assert to_record(next(events)) == json.loads(lines[0])
    with pytest.raises(KbexpError, match="Line 3 of the journal") as caught:
        list(events)
    assert str(path) in str(caught.value)
    assert why in str(caught.value)


def test_a_journal_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(KbexpError, match="cannot be read: No such file"):
        list(read(tmp_path / "none.jsonl"))
