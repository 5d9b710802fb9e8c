"""What a failed call means: try again, give this proposal up, or stop asking this model."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

from kbexp.config import LlmConfig
from kbexp.proposals.redaction import safe_address, safe_sentence


class Remedy(StrEnum):
    """What can be done about a failed call."""

    RETRY = "retry"
    GIVE_UP_CALL = "give up this call"
    GIVE_UP_MODEL = "give up this model"


class CallFailed(Exception):
    """One call brought no usable answer, others may; its text is one sentence for people."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed call: what can be done, a sentence that holds no key, and the wait asked for.

    `after_retries` is the remedy where trying again did not help.
    """

    remedy: Remedy
    sentence: str
    retry_after_s: float | None = None
    after_retries: Remedy = Remedy.GIVE_UP_CALL


_MAX_READ_CHARS = 2000

_NO_KEY = re.compile(
    r"missing .{0,40}(?:api[ _-]?key|credentials)|(?:api[ _-]?key|credentials) (?:is|are) (?:not|"
    r"missing)|no (?:api[ _-]?key|credentials)|api_key client option must be set",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(
    r"insufficient[ _](?:quota|balance|credit|funds)|exceeded your current quota|"
    r"credit balance is too low|payment required",
    re.IGNORECASE,
)
# Google words a limit per minute as a quota that was exceeded, and says when to come back.
_WAIT = re.compile(
    r"(?:(?:retry|try again) (?:in|after)|retryDelay\W{1,5}) ?(\d+(?:\.\d+)?) ?(ms|s)\b",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"LLM Provider NOT provided|model[^.\n]{0,80}(?:not found|does not exist|not exist|unknown)|"
    r"(?:unknown|invalid|no such) model",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _](?:length|window)|maximum context|prompt is too long|too many tokens|"
    r"input token count|reduce the length",
    re.IGNORECASE,
)
_CONTENT = re.compile(
    r"content[ _](?:policy|filter|management)|safety (?:system|settings|filter)|moderation|flagged",
    re.IGNORECASE,
)
_MALFORMED = re.compile(
    r"Expecting (?:value|property|',')|Received response|no 'choices'|JSONDecode|decode",
    re.IGNORECASE,
)


def classify(error: Exception, config: LlmConfig, api_key: str | None) -> Failure:
    """Return what an exception of LiteLLM means for this call and for those to come.

    `api_key` is the key that the configuration names, None where LiteLLM chose it.
    """
    # What stands at the front is the provider's word; further on it may quote the question.
    said = str(error)[:_MAX_READ_CHARS]
    text = safe_sentence(said, api_key)
    status = _status(error)
    name = type(error).__name__
    about = _Subject(config)
    if _unreachable(error):
        return Failure(Remedy.RETRY, no_server(config), after_retries=Remedy.GIVE_UP_MODEL)
    if status == 402 or (_NO_MONEY.search(said) and not _WAIT.search(said)):
        return _stop(f"The account behind {about.key} has no credit left: {text}")
    if status == 401 or name == "AuthenticationError" or _NO_KEY.search(said):
        return _stop(about.key_problem(api_key))
    refused = status is not None and 400 <= status < 500
    if refused and _CONTENT.search(said):
        return Failure(Remedy.GIVE_UP_CALL, f"The provider's content filter refused: {text}")
    if name == "ContextWindowExceededError" or (refused and _TOO_LONG.search(said)):
        return Failure(Remedy.GIVE_UP_CALL, f"The question is too long for {config.model}: {text}")
    if status == 404 or _NO_MODEL.search(said):
        return _stop(
            f"The model {config.model} is not known at {about.address}: check llm.model and "
            "llm.api_base; names begin with LiteLLM's provider, as in openai/NAME."
        )
    if status == 403:
        return _stop(f"The key in {about.key} may not use {config.model}: {text}")
    if status == 429:
        return _rate_limit(error, text, config)
    return _by_status(status, name, text, config)


def no_server(config: LlmConfig) -> str:
    """Return the sentence for a model whose server cannot be reached."""
    return (
        f"No server answers at {_Subject(config).address} (model {config.model}): start it, or "
        "correct llm.api_base, or look at the network."
    )


def _rate_limit(error: Exception, text: str, config: LlmConfig) -> Failure:
    wait_s = retry_after_s(error)
    if wait_s is not None and wait_s > config.retry_max_s:
        return Failure(
            Remedy.GIVE_UP_CALL,
            f"The rate limit asks for a wait of {wait_s:.0f} s, more than llm.retry_max_s="
            f"{config.retry_max_s:g}.",
        )
    return Failure(Remedy.RETRY, f"The rate limit was reached: {text}", wait_s)


def _by_status(status: int | None, name: str, text: str, config: LlmConfig) -> Failure:
    if name in ("Timeout", "TimeoutError") or status == 408:
        return Failure(
            Remedy.RETRY, f"No answer within llm.timeout_s={config.timeout_s:g} seconds."
        )
    if _MALFORMED.search(text):
        return Failure(Remedy.RETRY, f"The server's answer was malformed: {text}")
    if status is None or status >= 500 or status in (409, 425):
        return Failure(Remedy.RETRY, f"The server failed ({status or name}): {text}")
    return Failure(Remedy.GIVE_UP_CALL, f"The provider refused the call ({status}): {text}")


def _stop(sentence: str) -> Failure:
    return Failure(Remedy.GIVE_UP_MODEL, sentence)


@dataclass(frozen=True, slots=True)
class _Subject:
    """The names that a person needs to mend a failure."""

    config: LlmConfig

    @property
    def provider(self) -> str:
        return self.config.model.partition("/")[0] if "/" in self.config.model else ""

    @property
    def address(self) -> str:
        if self.config.api_base:
            return safe_address(self.config.api_base)
        return f"the provider {self.provider}" if self.provider else "the model's provider"

    @property
    def key(self) -> str:
        """The environment variable that holds the key, by LiteLLM's convention if need be."""
        provider = self.provider or "openai"
        return self.config.api_key_env or f"{provider.upper().replace('-', '_')}_API_KEY"

    def key_problem(self, api_key: str | None) -> str:
        if api_key is None and not self.config.api_key_env:
            return (
                f"{self.config.model} at {self.address} wants a valid key: set the environment "
                f"variable {self.key}, or name another one in llm.api_key_env."
            )
        return (
            f"The key in the environment variable {self.key} was refused by {self.address}: "
            "put a valid one there, or name another variable in llm.api_key_env."
        )


def retry_after_s(error: Exception) -> float | None:
    """Return the seconds to wait that a server asks for, or None.

    A Retry-After header counts, in either of its forms, and the words of those who send none.
    """
    for cause in _chain(error):
        headers = getattr(cause, "litellm_response_headers", None) or getattr(
            getattr(cause, "response", None), "headers", None
        )
        value = str(headers.get("retry-after") or "").strip() if headers is not None else ""
        wait_s = _header_s(value) if value else None
        if wait_s is not None:
            return wait_s
    said = _WAIT.search(str(error)[:_MAX_READ_CHARS])
    return float(said[1]) / (1000 if said[2].lower() == "ms" else 1) if said else None


def _header_s(value: str) -> float | None:
    """Read seconds or a date."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) else None


def _unreachable(error: Exception) -> bool:
    """True where no connection came about: refused, no such host, no route."""
    import httpx

    return any(
        isinstance(cause, httpx.ConnectError | ConnectionRefusedError | socket.gaierror)
        for cause in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came from, once each."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
