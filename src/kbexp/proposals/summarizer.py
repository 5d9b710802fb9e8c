"""The rolling summary of a search: what worked, what failed, what to try, in a model's words.

What comes back is somebody else's text that goes into every later question: it is cleaned of
whatever is no plain text, of what reads as a section of a question or as a key, and bounded.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from kbexp.candidate import Candidate, Summary
from kbexp.config import LlmConfig
from kbexp.errors import ModelUnavailable
from kbexp.proposals.device import DeviceFacts
from kbexp.proposals.failures import CallFailed
from kbexp.proposals.llm import Session
from kbexp.proposals.models import models_of
from kbexp.proposals.prompt import judged_sections, section, subject, without_tags
from kbexp.proposals.proposer import open_llm
from kbexp.proposals.redaction import without_keys
from kbexp.proposals.texts import Texts
from kbexp.task import Task

MAX_SUMMARY_CHARS = 6_000
"""The longest summary; 400 words, which is what is asked for, are about 2,500 characters."""

MAX_KERNEL_CHARS = 16_000
MAX_SHOWN_CHARS = 160_000
"""How much of one kernel, and of all kernels, the model is shown."""

_REQUEST = "The whole notebook, written anew:"
_BLANK_LINES = re.compile(r"\n\s*\n\s*\n")


class LlmSummarizer:
    """Writes summaries with the first of the run's models; may be called from any thread.

    Raises, when it is made, what `LlmProposer` raises for settings and keys.
    """

    def __init__(self, task: Task, device_facts: DeviceFacts, config: LlmConfig) -> None:
        model = models_of(config)[0]
        self._name = model.name
        self._llm = open_llm(model.config)
        self._system = f"{Texts(config.prompt_dir)['summarizer']}\n\n{subject(task, device_facts)}"

    def summarize(self, previous: str, fresh: Sequence[Candidate], seed: int) -> Summary:
        """Return the summary brought up to date; where that failed, one with an `error`."""
        session = self._llm.session(seed)
        started = time.monotonic()
        text, error = "", ""
        try:
            session(
                messages=[
                    {"role": "system", "content": self._system},
                    {"role": "user", "content": _question(previous, fresh)},
                ]
            )
        except (CallFailed, ModelUnavailable) as failed:
            error = str(failed)
        else:
            text = _text(session)
            error = "" if text else "The summary that came holds no text."
        usage = replace(session.usage, latency_s=time.monotonic() - started)
        return Summary(text=text, error=error, model=self._name, usage=usage)


def cleaned(text: str, max_chars: int = MAX_SUMMARY_CHARS) -> str:
    """Return a model's words as plain text of at most `max_chars` characters, cut at a line's end.

    Gone are control characters, also those that turn the direction of writing, keys, and tags
    that could pass for a section of a question.
    """
    text = text[: 4 * max_chars].replace("\r\n", "\n").replace("\t", " ")
    text = "".join(c for c in text if c == "\n" or unicodedata.category(c)[0] != "C")
    text = without_tags(without_keys(text))
    text = _BLANK_LINES.sub("\n\n", text).strip()
    if len(text) > max_chars:
        kept = text[:max_chars]
        text = kept[: kept.rfind("\n")].rstrip() if "\n" in kept else kept.rstrip()
    return text


def _text(session: Session) -> str:
    """Return the summary of an answer; where it was cut off, without its last, broken line."""
    reply = session.reply
    if session.truncated and "\n" in reply.strip():
        reply = reply[: reply.rstrip().rfind("\n")]
    return cleaned(reply)


def _question(previous: str, fresh: Sequence[Candidate]) -> str:
    """Return the notebook as it stands and the kernels that it does not cover, as many as fit."""
    parts = [section("summary", previous, role="previous")]
    left = MAX_SHOWN_CHARS
    for candidate in fresh:
        shown = judged_sections(candidate, "judged", _shortened(candidate.kernel.source))
        left -= len(shown)
        if left < 0:
            break
        parts.append(shown)
    return "\n\n".join([*parts, _REQUEST])


def _shortened(source: str) -> str:
    """Return a kernel's text, the middle left out where it is longer than what is shown."""
    if len(source) <= MAX_KERNEL_CHARS:
        return source
    head, tail = MAX_KERNEL_CHARS * 3 // 4, MAX_KERNEL_CHARS // 4
    left_out = len(source) - head - tail
    return f"{source[:head]}\n[{left_out} characters left out here]\n{source[-tail:]}"
