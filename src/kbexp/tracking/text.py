"""Untrusted text, made fit for a terminal."""

from __future__ import annotations

import unicodedata

_DROPPED = {"Cf"}  # Marks that turn the direction of writing around, and invisible ones.
_BLANK = {"Cc", "Zl", "Zp", "Zs"}
_UNKNOWN = {"Cs", "Co", "Cn"}


def one_line(text: str, limit: int = 200) -> str:
    """Return the text as one line of at most `limit` characters that a terminal only shows.

    Control characters and runs of white space become one blank each, so that no escape sequence
    is left; what has no glyph becomes a replacement character.
    """
    shown = "".join(_glyph(character) for character in text[: 8 * limit])
    line = " ".join(shown.split())
    cut = len(line) > limit or (len(text) > 8 * limit and len(line) == limit)
    return line[: limit - 1].rstrip() + "…" if cut else line


def _glyph(character: str) -> str:
    if " " <= character <= "~":
        return character
    category = unicodedata.category(character)
    if category in _DROPPED:
        return ""
    if category in _BLANK:
        return " "
    return "\ufffd" if category in _UNKNOWN else character
