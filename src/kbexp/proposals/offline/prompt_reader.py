"""Reads what a prompt says out of chat messages; never raises on hostile text.

It stands in tagged sections, but for kernels in the questions of rivals, which have words of their
own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kbexp.proposals.offline.rival_prompts import read_rival
from kbexp.proposals.offline.shown import ShownKernel

MAX_CHARACTERS = 4_000_000
"""What is read of a prompt; the rest is dropped."""

TAGS = ("task", "device", "languages", "kernel", "feedback", "summary")
_OPENING = re.compile(rf"\s*<({'|'.join(TAGS)})((?:\s+[\w-]+=\"[^\"]*\")*)\s*>(.*)")
_ATTRIBUTE = re.compile(r"([\w-]+)=\"([^\"]*)\"")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a prompt says, "" or empty where it is silent.

    `wants_summary` is true where no kernel is asked for but `summary` brought up to date.
    """

    task_name: str = ""
    task_source: str = ""
    device_name: str = ""
    device_kind: str = "cpu"
    device_facts: str = ""
    languages: tuple[str, ...] = ()
    parent: ShownKernel | None = None
    others: tuple[ShownKernel, ...] = ()
    feedback: tuple[str, ...] = ()
    summary: str = ""
    wants_summary: bool = False

    @property
    def shown(self) -> tuple[ShownKernel, ...]:
        """All kernels shown, the parent first."""
        return (*((self.parent,) if self.parent else ()), *self.others)

    @property
    def cores(self) -> int | None:
        """The number of a CPU's cores, None where the facts do not name it."""
        found = re.search(r"^\s*cores:\s*(\d{1,5})\b", self.device_facts, re.MULTILINE)
        return int(found[1]) if found else None


@dataclass(slots=True)
class _Section:
    tag: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def body(self) -> str:
        return "\n".join(self.lines).strip("\n")


def messages_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of all messages but the assistant's own, in order."""
    parts: list[str] = []
    for message in messages:
        if not isinstance(message, Mapping) or message.get("role") == "assistant":
            continue
        parts.extend(_content_texts(message.get("content")))
    return "\n".join(parts)[:MAX_CHARACTERS]


def read_messages(messages: Sequence[Mapping[str, Any]]) -> Prompt:
    """Return what the messages say; where a section occurs twice, the first counts."""
    return read_text(messages_text(messages))


def read_text(text: str) -> Prompt:
    """Return what a prompt's text says."""
    sections = _sections(text)
    task = _first(sections, "task")
    device = _first(sections, "device")
    parent, others = _kernels(sections)
    if parent is None and not others:
        parent, others = read_rival(text)
    languages = (part.strip() for part in _first(sections, "languages").body.split(","))
    return Prompt(
        task_name=task.attributes.get("name", ""),
        task_source=task.body,
        device_name=device.attributes.get("name", ""),
        device_kind="cuda" if device.attributes.get("kind") == "cuda" else "cpu",
        device_facts=device.body,
        languages=tuple(language for language in languages if language),
        parent=parent,
        others=others,
        feedback=tuple(s.body for s in sections if s.tag == "feedback" and s.body.strip()),
        summary=_first(sections, "summary").body,
        wants_summary=any(
            s.tag == "summary" and s.attributes.get("role") == "previous" for s in sections
        ),
    )


def _content_texts(content: object) -> list[str]:
    if isinstance(content, str):
        return [content]
    if isinstance(content, Sequence):
        texts = (part.get("text") for part in content if isinstance(part, Mapping))
        return [text for text in texts if isinstance(text, str)]
    return []


def _sections(text: str) -> list[_Section]:
    """Return the sections in order: one lasts until its own closing tag, or else to the end.

    A tag within another section is part of its text, whatever it says.
    """
    sections: list[_Section] = []
    current: _Section | None = None
    for line in text.splitlines():
        if current is None:
            opening = _OPENING.fullmatch(line) if line.lstrip().startswith("<") else None
            if opening is None:
                continue
            current = _Section(opening[1], dict(_ATTRIBUTE.findall(opening[2])))
            sections.append(current)
            line = opening[3]
            if not line.strip():
                continue
        end = f"</{current.tag}>"
        if line.rstrip().endswith(end):
            rest = line.rstrip().removesuffix(end)
            if rest.strip():
                current.lines.append(rest)
            current = None
        else:
            current.lines.append(line)
    return sections


def _first(sections: Sequence[_Section], tag: str) -> _Section:
    return next((s for s in sections if s.tag == tag and s.body.strip()), _Section(tag))


def _kernels(sections: Sequence[_Section]) -> tuple[ShownKernel | None, tuple[ShownKernel, ...]]:
    """Pair every kernel with the feedback that follows it before the next kernel."""
    parent: ShownKernel | None = None
    others: list[ShownKernel] = []
    last_is_parent = False
    for section in sections:
        if section.tag == "kernel":
            kernel = ShownKernel(section.attributes.get("id", ""), section.body)
            last_is_parent = section.attributes.get("role") == "parent" and parent is None
            if last_is_parent:
                parent = kernel
            else:
                others.append(kernel)
        elif section.tag == "feedback" and last_is_parent and parent:
            if not parent.feedback:
                parent = replace(parent, feedback=section.body)
        elif section.tag == "feedback" and others and not others[-1].feedback:
            others[-1] = replace(others[-1], feedback=section.body)
    return parent, tuple(others)
