"""The sections of a question to a model: task, device, languages, kernels, what came of them.

Every section stands between its tags, each on a line of its own, with the text verbatim. What is
the same in every question of a run comes first, so that providers can cache it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from kbexp.candidate import Candidate, ProposalRequest
from kbexp.proposals.device import DeviceFacts
from kbexp.proposals.feedback import feedback
from kbexp.proposals.texts import Texts
from kbexp.task import Task

MAX_OTHERS_CHARS = 200_000
"""How much of other candidates a question holds; those that no longer fit are left out."""

_TAGS = "task|device|languages|kernel|feedback|summary"
_CLOSING = re.compile(rf"</({_TAGS})>")
_TAG = re.compile(rf"<(/?(?:{_TAGS})\b)")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The sections of one question, ready to be put between an optimizer's own words.

    `context` is the same for all questions of a run: the rules, how each language is used, and
    the sections task, device and languages. `parent` is the section of the kernel to improve and
    `feedback` the bare text on it. `others` are the other candidates, each with its feedback
    section, `summary` a section or "".
    """

    context: str
    parent: str
    feedback: str
    others: tuple[str, ...] = ()
    summary: str = ""


def context(
    task: Task, facts: DeviceFacts, languages: Sequence[str], texts: Texts | None = None
) -> str:
    """Return what every question of a run begins with."""
    texts = texts or Texts()
    return "\n\n".join(
        [
            texts["rules"],
            *(texts[language] for language in languages),
            subject(task, facts),
            f"<languages>{', '.join(languages)}</languages>",
        ]
    )


def subject(task: Task, facts: DeviceFacts) -> str:
    """Return the sections of the task and the device."""
    device = section("device", "\n".join(facts.lines()), name=facts.name, kind=facts.kind)
    return f"{section('task', task.source, name=task.name)}\n\n{device}"


def prompt(shared: str, request: ProposalRequest) -> Prompt:
    """Return the sections of one request; `shared` is what `context` returned.

    Raises ValueError where the request names no kernel to improve.
    """
    if not request.parents:
        raise ValueError("a request needs at least one parent")
    parent, *others = request.parents
    return Prompt(
        context=shared,
        parent=_kernel(parent, "parent"),
        feedback=feedback(parent.verdict),
        others=_others(others),
        summary=section("summary", request.summary) if request.summary.strip() else "",
    )


def section(tag: str, text: str, **attributes: str) -> str:
    """Return a text between its tags; a closing tag inside the text cannot end the section."""
    named = "".join(f' {name}="{_attribute(value)}"' for name, value in attributes.items())
    text = _CLOSING.sub(r"<\\/\1>", text)
    return f"<{tag}{named}>\n{text}{'' if text.endswith(chr(10)) else chr(10)}</{tag}>"


def without_tags(text: str) -> str:
    """Return a model's words so that nothing in them reads as one of our sections."""
    return _TAG.sub(r"<\\\1", text)


def judged_sections(candidate: Candidate, role: str, source: str | None = None) -> str:
    """Return a kernel with its feedback; `source` is shown in the place of its whole text."""
    told = section("feedback", feedback(candidate.verdict))
    return f"{_kernel(candidate, role, source)}\n{told}"


def _kernel(candidate: Candidate, role: str, source: str | None = None) -> str:
    kernel = candidate.kernel
    return section("kernel", kernel.source if source is None else source, role=role, id=kernel.id)


def _others(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Return kernels with their feedback, in order, as many as fit."""
    shown: list[str] = []
    left = MAX_OTHERS_CHARS
    for candidate in candidates:
        text = judged_sections(candidate, "other")
        left -= len(text)
        if left < 0:
            break
        shown.append(text)
    return tuple(shown)


def _attribute(value: str) -> str:
    return " ".join(value.replace('"', "'").replace("<", "(").replace(">", ")").split())
