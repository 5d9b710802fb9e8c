"""Taking the kernel out of a model's reply, byte for byte."""

from __future__ import annotations

import ast
import bisect
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

MAX_REPLY_BYTES = 1024 * 1024
MAX_KERNEL_BYTES = 128 * 1024

# How often a text is tried as Python, how many fences are looked at: a reply is not ours.
_MAX_PARSES = 48
_MAX_FENCES = 200
_MAX_JSON_STRINGS = 200
_MAX_JSON_STARTS = 20
_FILE = "<answer>"

_FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})(?P<info>[^`\r\n]*)(?:\r?\n|\Z)", re.MULTILINE
)
_DEFINES = re.compile(
    r"^[ \t]*class[ \t]+ModelNew\b|^[ \t]*ModelNew[ \t]*[:=]|\bas[ \t]+ModelNew\b", re.MULTILINE
)

# A parser's warnings about a model's string escapes are of no use to the person at the terminal.
warnings.filterwarnings("ignore", category=SyntaxWarning, module=re.escape(_FILE))


@dataclass(frozen=True, slots=True)
class Answer:
    """The kernel's source, or None and the reason in one sentence."""

    source: str | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Fence:
    start: int
    end: int
    indent: str
    mark: str
    info: str

    def closes(self, opener: _Fence) -> bool:
        return not self.info.strip() and self.mark.startswith(opener.mark)


def extract_kernel(reply: str, *, truncated: bool = False) -> Answer:
    """Return the last fenced block of a reply that defines `ModelNew`.

    Tolerates any info string (```python, ```py, none), fences within fences, CRLF, replies in
    JSON with the code as a string, replies that are nothing but code, and a missing last fence
    unless the reply is `truncated`: then that block is cut off too. Nothing is reformatted.
    """
    if not reply.strip():
        return Answer(None, "The answer was empty.")
    if len(reply.encode("utf-8", "replace")) > MAX_REPLY_BYTES:
        return Answer(None, f"The answer is longer than {MAX_REPLY_BYTES} bytes.")
    parser = _Parser()
    for text in _texts(reply):
        block = _last_block(text, parser)
        if block is not None and not (block.cut and truncated):
            return _checked(block.source)
        if block is None and not truncated and _DEFINES.search(text) and parser.accepts(text):
            return _checked(text)
    if truncated:
        return Answer(None, "The answer was cut off before its kernel was complete.")
    if "ModelNew" in reply:
        return Answer(None, "The answer names ModelNew but holds no code block that defines it.")
    return Answer(None, "The answer holds no code block that defines ModelNew.")


def _checked(source: str) -> Answer:
    """Refuse what cannot be a source file."""
    try:
        size = len(source.encode("utf-8"))
    except UnicodeEncodeError:
        return Answer(None, "The kernel holds characters that are not valid Unicode.")
    if size > MAX_KERNEL_BYTES:
        return Answer(None, f"The kernel has {size} bytes; {MAX_KERNEL_BYTES} are allowed.")
    if "\0" in source:
        return Answer(None, "The kernel holds a NUL character.")
    return Answer(source)


class _Parser:
    """Says whether a text is Python, as often as its allowance lasts."""

    def __init__(self) -> None:
        self.left = _MAX_PARSES

    def accepts(self, text: str) -> bool:
        if self.left <= 0 or len(text) > MAX_KERNEL_BYTES:
            return False
        self.left -= 1
        try:
            compile(text, _FILE, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Block:
    """A block's text, where it lies in the reply, and whether its closing fence is missing."""

    source: str
    start: int
    end: int
    cut: bool


def _last_block(text: str, parser: _Parser) -> _Block | None:
    """Return the last block that defines `ModelNew`.

    A line of backticks may also stand inside a kernel's string or comment, or a whole answer
    inside a fence of its own. So every pair of fences about the last block of the plain reading
    is a block that may be meant, and the last one that is Python wins; where none is, that block.
    """
    fences = [
        _Fence(m.start(), m.end(), m["indent"], m["mark"], m["info"]) for m in _FENCE.finditer(text)
    ][-_MAX_FENCES:]
    defined = [m.start() for m in _DEFINES.finditer(text)]
    plain = _plain_block(text, fences, defined)
    for i in range(len(fences) - 1, -1, -1):
        for end, cut in _ends(text, fences, i):
            if not _any_between(defined, fences[i].end, end) or (plain and end <= plain.start):
                continue
            source = _inside(text, fences[i], end)
            if parser.accepts(source):
                return _Block(source, fences[i].end, end, cut)
    return plain


def _ends(text: str, fences: list[_Fence], i: int) -> Iterator[tuple[int, bool]]:
    """Yield where a block that fence `i` opens may end: each fence that closes it, the end."""
    for closer in fences[i + 1 :]:
        if closer.closes(fences[i]):
            yield closer.start, False
    yield len(text), True


def _plain_block(text: str, fences: list[_Fence], defined: list[int]) -> _Block | None:
    """Read the fences in turn, open and close; return the last block that defines `ModelNew`."""
    found: _Block | None = None
    opener: _Fence | None = None
    for fence in [*fences, None]:
        if fence is not None and (opener is None or _reopens(fence, opener)):
            opener = fence
        elif opener is not None and (fence is None or fence.closes(opener)):
            end = len(text) if fence is None else fence.start
            if _any_between(defined, opener.end, end):
                source = _inside(text, opener, end)
                found = _Block(source, opener.end, end, fence is None)
            opener = None
    return found


def _reopens(fence: _Fence, opener: _Fence) -> bool:
    """A fence with a language inside a block: the outer one was only a wrapper."""
    return bool(fence.info.strip()) and len(fence.mark) <= len(opener.mark)


def _any_between(positions: list[int], start: int, end: int) -> bool:
    at = bisect.bisect_left(positions, start)
    return at < len(positions) and positions[at] < end


def _inside(text: str, opener: _Fence, end: int) -> str:
    """Return a block's text; a fence that is indented, as in a list, indents its lines too."""
    source = text[opener.end : end]
    if not opener.indent:
        return source
    return re.sub(rf"^{re.escape(opener.indent)}", "", source, flags=re.MULTILINE)


def _texts(reply: str) -> list[str]:
    """Return where a kernel may stand: the reply, and strings of JSON in it, likeliest first."""
    whole = reply.strip()
    if whole.startswith("{"):
        try:
            return [*_strings(json.loads(whole, strict=False)), reply]
        except (ValueError, RecursionError):
            pass
    decoder = json.JSONDecoder(strict=False)
    starts = [m.start() for m in re.finditer(r"\{", reply)][:_MAX_JSON_STARTS]
    for start in starts if "ModelNew" in reply else []:
        try:
            value, _ = decoder.raw_decode(reply, start)
        except (ValueError, RecursionError):
            continue
        strings = _strings(value)
        if strings:
            return [reply, *strings]
    return [reply]


def _strings(value: object) -> list[str]:
    """Return the strings of a JSON value that speak of `ModelNew`, the last first."""
    found: list[str] = []
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, str) and "ModelNew" in value:
            found.append(value)
        elif isinstance(value, dict):
            values += value.values()
        elif isinstance(value, list):
            values += value
    return found[:_MAX_JSON_STRINGS]
