"""Turns a variant and its values into the text of a kernel module.

Templates are ordinary C, CUDA and Python. A tunable that a text names is defined above it, as a
macro in native source and as a constant in Python, so that a template reads as what it is.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from kbexp.kernel import text_id
from kbexp.proposals.offline.playbook.entry import Slip, Values, Variant
from kbexp.proposals.offline.playbook.mark import Mark, write_mark

_INCLUDE = re.compile(r'^#include "(common/[\w.]+)"$', re.MULTILINE)
_LOADERS = {"cpp": "common/load_cpp.py.in", "nvrtc": "common/load_nvrtc.py.in"}
_INLINE = "common/load_cuda_inline.py.in"


@cache
def template(path: str) -> str:
    """Return a template's text, what it includes from `common/` put in its place."""
    text = (files(__package__) / "templates" / path).read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda found: template(found[1]).strip(), text).strip() + "\n"


def render(
    task: str, variant: Variant, values: Values, slip: Slip | None = None, language: str = ""
) -> str:
    """Return the kernel's whole text; `language` says how CUDA source is to be built."""
    source = _slipped(template(variant.source), slip) if variant.native else ""
    module = _slipped(template(variant.module), None if slip and slip.old in source else slip)
    head = [write_mark(Mark(task, variant.name, values)), f"# {variant.about}"]
    if not variant.native:
        return "\n".join([*head, *_constants(module, values), "", module])
    source = "".join(f"#define {name} {values[name]}\n" for name in _named(source, values)) + source
    loader = template(_loader(variant, language))
    python = loader + "\n\n" + module
    constants = [f'NAME = "{task}_{text_id(source)[:12]}"', *_constants(python, values)]
    return "\n".join([*head, *constants, "", f'SOURCE = r"""\n{source}"""', "", python])


def _loader(variant: Variant, language: str) -> str:
    if variant.device == "cpu":
        return _LOADERS["cpp"]
    return _INLINE if language == "cuda_inline" else _LOADERS["nvrtc"]


def _constants(text: str, values: Values) -> list[str]:
    return [f"{name} = {values[name]}" for name in _named(text, values)]


def _named(text: str, values: Values) -> list[str]:
    return [name for name in values if re.search(rf"\b{name}\b", text)]


def _slipped(text: str, slip: Slip | None) -> str:
    return text if slip is None else text.replace(slip.old, slip.new)
