"""Keeping keys out of what is shown, stored or sent on."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, urlsplit

_SECRET_NAME = re.compile(r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD)(?:$|_)", re.IGNORECASE)
_MIN_SECRET_CHARS = 8
# Keys that are not in the environment but look like it: OpenAI's and its followers', Google's,
# and whatever stands in an authorization header.
_KEY_SHAPES = re.compile(
    r"\bsk-[\w*.-]{6,}|\bAIza[\w-]{20,}|(?<=[Bb]earer )[\w.*-]{6,}|(?<=[?&]key=)[^&\s\"']+"
)
_HIDDEN = "***"


def without_secrets(text: str, api_key: str | None = None) -> str:
    """Return a text with the key and every secret of the environment blotted out, exact matches."""
    secrets = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    if api_key:
        secrets.add(api_key)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_CHARS:
            text = text.replace(secret, _HIDDEN)
    return text


def without_keys(text: str, api_key: str | None = None) -> str:
    """Return a text without secrets and without whatever looks like a key."""
    return _KEY_SHAPES.sub(_HIDDEN, without_secrets(text, api_key))


def names_secret(name: str) -> bool:
    """Return whether a setting or header of this name holds a key."""
    name = name.lower().replace("-", "_")
    return bool(_SECRET_NAME.search(name)) or name == "authorization"


def address_holds_secret(address: str) -> bool:
    """Return whether a server's address brings a password or a key along."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.password is not None or any(names_secret(n) for n, _ in parse_qsl(parts.query))


def safe_sentence(text: str, api_key: str | None = None, *, max_chars: int = 300) -> str:
    """Return somebody else's error text on one line, shortened, with no key in it."""
    text = without_keys(text[:20_000], api_key)
    text = " ".join(text.split())
    return text if len(text) <= max_chars else text[:max_chars].rstrip() + " …"


def safe_address(address: str) -> str:
    """Return a server's address without user, password and query."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the address in llm.api_base"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"
