"""Mistakes that any template admits: what does not compile, and what costs time for nothing.

Mistakes in the mathematics belong to one template and stand beside it, in its entry.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from kbexp.proposals.offline.playbook.entry import Fault

Edit = Callable[[str], str]
"""Takes a kernel's text and returns it with a mistake, or as it was where it does not apply."""


def missing_semicolon(text: str) -> str:
    """Drop the last semicolon that ends a line of native source."""
    return _edit_native(text, lambda source: _replace_last(source, ";\n", "\n"))


def unknown_type(text: str) -> str:
    """Give the first loop variable of the exported function a type that does not exist."""

    def edit(source: str) -> str:
        before, exported, body = source.partition('extern "C"')
        return before + exported + re.sub(r"for \((?:long|int) ", "for (index ", body, count=1)

    return _edit_native(text, edit)


def missing_brace(text: str) -> str:
    """Drop the last brace of native source."""
    return _edit_native(text, lambda source: _replace_last(source, "}\n", ""))


def missing_colon(text: str) -> str:
    """Drop the colon that ends the signature of `forward`."""
    return re.sub(r"^(    def forward\(.*\).*):$", r"\1", text, count=1, flags=re.MULTILINE)


def missing_import(text: str) -> str:
    """Import a name that torch does not have."""
    return re.sub(
        r"^import torch$", "import torch\nimport torch.functionals", text, count=1, flags=re.M
    )


def missing_parenthesis(text: str) -> str:
    """Drop the parenthesis that ends the call of `super().__init__` or the last return."""
    if "super().__init__()\n" in text:
        return text.replace("super().__init__()\n", "super().__init__(\n", 1)
    return re.sub(r"\)\n*\Z", "\n", text)


def single_thread(text: str) -> str:
    """Leave the loops as they are but run them on one thread."""
    return re.sub(r"^ *#pragma omp parallel.*\n", "", text, flags=re.MULTILINE)


def unoptimised(text: str) -> str:
    """Compile without optimisation."""
    return text.replace('"-O3"', '"-O0"')


def needless_copies(text: str) -> str:
    """Copy every input of `forward` before it is read."""

    def with_copies(found: re.Match[str]) -> str:
        names = re.findall(r"(\w+)(?=\s*(?:[:,=]|$))", re.sub(r":[^,]*", "", found[1]))
        copies = "".join(f"        {name} = {name}.clone()\n" for name in names)
        return found[0] + copies

    return re.sub(r"    def forward\(self, ([^)]*)\).*:\n", with_copies, text, count=1)


def double_precision(text: str) -> str:
    """Carry the first input through double precision and back before it is read."""
    return re.sub(
        r"(    def forward\(self, (\w+)[^)]*\).*:\n)",
        r"\1        if \2.is_floating_point():\n            \2 = \2.double().float()\n",
        text,
        count=1,
    )


EDITS: dict[Fault, tuple[Edit, ...]] = {
    Fault.COMPILE: (
        missing_semicolon,
        unknown_type,
        missing_brace,
        missing_colon,
        missing_import,
        missing_parenthesis,
    ),
    Fault.SLOW: (single_thread, unoptimised, needless_copies, double_precision),
    Fault.WRONG: (),
}


def applicable(fault: Fault, text: str) -> list[Edit]:
    """Return the edits of that kind which change the text."""
    return [edit for edit in EDITS[fault] if edit(text) != text]


def slip_in(fault: Fault, text: str, rng: random.Random) -> str:
    """Return the text with one mistake of that kind, as it was where none applies."""
    edits = applicable(fault, text)
    return rng.choice(edits)(text) if edits else text


def _edit_native(text: str, edit: Edit) -> str:
    head, mark, rest = text.partition('SOURCE = r"""')
    source, end, tail = rest.partition('"""')
    return head + mark + edit(source) + end + tail if mark else text


def _replace_last(text: str, old: str, new: str) -> str:
    before, found, after = text.rpartition(old)
    return before + new + after if found else text
