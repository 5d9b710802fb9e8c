"""The text of an answer: what it is, why this kernel, and the kernel; or a plain summary."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from kbexp.kernel import text_id
from kbexp.proposals.offline.book import open_book
from kbexp.proposals.offline.explorer import explore
from kbexp.proposals.offline.feedback import read_feedback
from kbexp.proposals.offline.notes import write_notes
from kbexp.proposals.offline.playbook.mark import read_mark, write_mark
from kbexp.proposals.offline.prompt_reader import Prompt, messages_text, read_text

WHO = (
    "This answer comes from the offline playbook, which is no language model: it draws a known "
    "implementation and its numbers by chance."
)
_SUMMARY_LINES = 12
_LINE_CHARACTERS = 200


def answer(messages: Sequence[Mapping[str, Any]], seed: int) -> str:
    """Return the reply, a function of the messages and the seed alone; raises on no text."""
    text = messages_text(messages)
    prompt = read_text(text)
    if not prompt.task_source.strip():
        return summary(prompt)
    book, about = open_book(prompt)
    if prompt.wants_summary:
        return write_notes(prompt, book, WHO)
    if book is None:
        return f"{WHO}\n\n{about} No kernel can be written."
    choice = explore(book, prompt, random.Random(f"{seed}/{text_id(text)}"))
    plan = f"{about} {choice.why}\n{choice.variant.name}: {choice.variant.about}"
    return f"{WHO}\n\n{plan}\n\n```python\n{choice.source.rstrip()}\n```\n"


def summary(prompt: Prompt) -> str:
    """Return what the feedback in a prompt without a task says, counted and line by line."""
    if not prompt.feedback:
        return f"{WHO} There is no task and no feedback here, so there is nothing to say."
    fared = [read_feedback(text) for text in prompt.feedback]
    counts: dict[str, int] = {}
    for each in fared:
        counts[each.outcome.value] = counts.get(each.outcome.value, 0) + 1
    counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    lines = [f"{WHO}", f"Of {len(fared)} kernels with feedback: {counted}."]
    for kernel in prompt.shown[:_SUMMARY_LINES]:
        mark = read_mark(kernel.source)
        name = write_mark(mark).removeprefix("# playbook: ") if mark else "a kernel of another hand"
        lines.append(f"- {name}: {_first_line(kernel.feedback)}")
    if not prompt.shown:
        lines += [f"- {_first_line(text)}" for text in prompt.feedback[:_SUMMARY_LINES]]
    return "\n".join(lines)


def _first_line(text: str) -> str:
    fared = read_feedback(text)
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no feedback")
    speed = f" ({fared.speedup:g} times the reference's speed)" if fared.speedup else ""
    return line[:_LINE_CHARACTERS] + speed
