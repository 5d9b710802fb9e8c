"""The playbook's summaries: what they say, and what they change in the next answers."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from kbexp.candidate import Candidate
from kbexp.config import LlmConfig
from kbexp.kernel import Kernel
from kbexp.proposals.device import DeviceFacts
from kbexp.proposals.offline.book import open_book
from kbexp.proposals.offline.explorer import explore
from kbexp.proposals.offline.feedback import Outcome
from kbexp.proposals.offline.notes import KEPT, KEPT_FAILURES, Note, read_notes, write_notes
from kbexp.proposals.offline.prompt_reader import Prompt
from kbexp.proposals.offline.reply import WHO
from kbexp.proposals.offline.shown import ShownKernel
from kbexp.proposals.summarizer import LlmSummarizer
from kbexp.tasks.catalog import bundled
from kbexp.verdict import Interval, Phase, Status, Verdict

CPU = DeviceFacts(name="a CPU", kind="cpu", cores=4)
OFFLINE = LlmConfig(name="offline", model="offline/playbook")
TASK = bundled("softmax")
ASKED = Prompt(task_name="softmax", task_source=TASK.source)
BOOK, _ = open_book(ASKED)
assert BOOK is not None


def kernel(variant: int = 0, value: int = 0, *, slip: bool = False) -> str:
    assert BOOK is not None
    chosen = BOOK.variants[variant]
    values = {t.name: t.values[value % len(t.values)] for t in chosen.tunables}
    return BOOK.write(chosen, values, chosen.slips[0] if slip else None)


def judged(source: str, speedup: float | None) -> Candidate:
    status = Status.CORRECT if speedup else Status.INCORRECT
    found = Interval(speedup, speedup, speedup) if speedup else None
    phase = Phase.TIMING if speedup else Phase.CORRECTNESS
    verdict = Verdict("k", "t", status, phase, "cpu", "none", speedup=found)
    return Candidate(Kernel(source), 0, verdicts=[verdict])


def test_a_summary_lists_what_was_tried_and_claims_nothing_more() -> None:
    summarizer = LlmSummarizer(TASK, CPU, OFFLINE)
    fresh = [judged(kernel(0), 1.5), judged(kernel(1, slip=True), None), judged("class M: 1", 1.0)]
    made = summarizer.summarize("", fresh, seed=1)
    assert (made.error, made.model, made.usage.cost_usd) == ("", "offline/playbook", 0.0)
    first, second, *lines = made.text.splitlines()
    assert first == WHO
    assert "why, nobody has thought about" in second
    assert BOOK is not None
    names = [variant.name for variant in BOOK.variants]
    assert lines[0].startswith(f"- faster (1.5x): softmax/{names[0]}")
    assert lines[1] == "- slower (1x): a kernel of another hand"
    assert lines[2].startswith(f"- wrong: softmax/{names[1]}")
    assert lines[2].endswith(", with a mistake in it")
    assert summarizer.summarize("", fresh, seed=2).text == made.text


def test_a_summary_rolls_on_and_stays_short() -> None:
    summarizer = LlmSummarizer(TASK, CPU, OFFLINE)
    text = summarizer.summarize("", [judged(kernel(0, 1), 1.5)], 1).text
    text = summarizer.summarize(text, [judged(kernel(1, 1), None)], 1).text
    text = summarizer.summarize(text, [judged(kernel(0, 1), 1.25)], 1).text
    notes = read_notes(text)
    assert [(n.outcome, n.speedup) for n in notes] == [
        (Outcome.FASTER, 1.25),
        (Outcome.WRONG, None),
    ]
    for i in range(200):
        fared = "Speedup over the reference: " + str(1.5 + i) if i % 2 else "Runtime failure"
        shown = ShownKernel(str(i), f"# playbook: softmax/v{i}", fared)
        text = write_notes(Prompt(summary=text, others=(shown,)), None, WHO)
    kept = Counter(note.outcome for note in read_notes(text))
    assert kept[Outcome.FASTER] == KEPT[Outcome.FASTER]
    assert kept[Outcome.BROKEN] == KEPT_FAILURES
    assert max(n.speedup or 0 for n in read_notes(text)) == 200.5


def test_what_is_noted_shifts_the_odds_and_is_not_proposed_again() -> None:
    assert BOOK is not None
    parent = ShownKernel("p", TASK.source.replace("Model", "ModelNew"), "Speedup: 1.0")
    failed = [kernel(i) for i in range(len(BOOK.variants) - 1)]
    shown = [ShownKernel(str(i), text, "Correctness failure") for i, text in enumerate(failed)] * 3
    summary = write_notes(Prompt(others=tuple(shown)), BOOK, WHO)

    def drawn(summary: str) -> list[str]:
        asked = Prompt(task_name="softmax", task_source=TASK.source, parent=parent, summary=summary)
        return [explore(BOOK, asked, random.Random(seed)).source for seed in range(300)]

    def last(texts: list[str]) -> int:
        name = BOOK.variants[-1].name if BOOK else ""
        return sum(f"/{name}" in text for text in texts)

    blind, told = drawn(""), drawn(summary)
    assert last(told) > 1.5 * last(blind)
    assert set(failed) & set(blind)
    assert not set(failed) & set(told)


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_summary_makes_it_raise(summary: str, name: str) -> None:
    lines = f"{summary}\n- faster (2x): {name}\n- wrong: softmax/{name} A=1"
    for note in read_notes(lines):
        assert isinstance(note, Note)
    asked = Prompt(task_name="softmax", task_source=TASK.source, summary=lines)
    assert BOOK is not None
    assert "ModelNew" in explore(BOOK, asked, random.Random(1)).source


def test_a_note_reads_back_as_it_was_written() -> None:
    for note in (
        Note("softmax/online THREADS=2 BLOCK=128", Outcome.FASTER, 1.5),
        Note("softmax/online THREADS=2", Outcome.WRONG, None, clean=False),
        Note("a kernel of another hand", Outcome.COMPILE_ERROR),
    ):
        assert read_notes(f"words\n{note.line}\n") == [note]
