"""Asking a model through LiteLLM: one way for every provider, with retries, usage and price."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kbexp.candidate import Usage
from kbexp.config import LlmConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.proposals.failures import CallFailed
from kbexp.proposals.litellm_setup import import_litellm
from kbexp.proposals.model_settings import model_settings
from kbexp.proposals.pricing import usage_of
from kbexp.proposals.redaction import address_holds_secret, names_secret, without_secrets
from kbexp.proposals.retries import with_retries, within

Messages = Sequence[Mapping[str, str]]

# What OpenAI's client is given where a server of one's own wants no key.
_NO_KEY = "none"


class Llm:
    """A model behind LiteLLM; holds settings only, so that all threads may share it.

    Raises ModelUnavailable where the variable named by `llm.api_key_env` is not set, KbexpError
    where a key stands in the configuration or prices are given by halves.
    """

    def __init__(self, config: LlmConfig) -> None:
        self.config = config
        _check(config)
        self.api_key()

    def api_key(self) -> str | None:
        """Return the key from the environment; None leaves the choice to LiteLLM."""
        name = self.config.api_key_env
        if name:
            key = os.environ.get(name, "").strip()
            if not key:
                raise ModelUnavailable(
                    f"The environment variable {name}, which llm.api_key_env names, is not set: "
                    f"put the key for {self.config.model} there, or choose llm=offline."
                )
            return key
        if self.config.api_base and self.config.model.startswith("openai/"):
            # LiteLLM would send OPENAI_API_KEY to whatever server this is.
            return _NO_KEY
        return None

    def session(self, seed: int) -> Session:
        """Return what asks for one proposal: it counts usage, and draws its waits from `seed`."""
        return Session(self, seed)

    def ask(self, system: str, user: str, *, seed: int) -> tuple[str, Usage]:
        """Ask one question and return the text and what it used.

        Raises CallFailed where this call brought nothing, ModelUnavailable where none can.
        """
        session = self.session(seed)
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        session(messages=messages)
        return session.reply, session.usage


class Session:
    """The calls for one proposal, in one thread; the callable that Trace's optimizers want.

    `reply` is the text of the last call, `truncated` says that it hit its limit of tokens, and
    `usage` adds up all calls.
    """

    def __init__(self, llm: Llm, seed: int) -> None:
        self._llm = llm
        self._seed = seed
        self._random = random.Random(seed)
        self.usage = Usage()
        self.reply = ""
        self.truncated = False

    def __call__(
        self,
        *,
        messages: Messages,
        response_format: Any = None,
        max_tokens: int | None = None,
        **_: Any,
    ) -> Any:
        """Ask, trying again where that can help, and return LiteLLM's response.

        Raises CallFailed where this call brought nothing, ModelUnavailable where none can.
        """
        self.reply, self.truncated = "", False
        key = self._llm.api_key()
        settings = self._settings(key, max_tokens or self._llm.config.max_tokens)
        if response_format is not None:
            settings["response_format"] = response_format
        started = time.monotonic()
        key = key if self._llm.config.api_key_env else None
        response = with_retries(
            lambda: self._complete(messages, settings), self._llm.config, self._random, key
        )
        self._count(response, time.monotonic() - started)
        choice = response.choices[0]
        text = without_secrets(str(choice.message.content or ""), key)
        choice.message.content = text
        self.reply, self.truncated = text, choice.finish_reason == "length"
        self._refuse_nothing(choice.finish_reason)
        return response

    def create(self, **arguments: Any) -> Any:
        """Ask, under the name that TextGrad uses."""
        return self(**arguments)

    def _settings(self, key: str | None, max_tokens: int) -> dict[str, Any]:
        config = self._llm.config
        settings: dict[str, Any] = {
            "model": config.model,
            "max_tokens": max_tokens,
            "timeout": config.timeout_s,
            # Both OpenAI's client and LiteLLM would try again on their own and hide the cause.
            "max_retries": 0,
            "num_retries": 0,
            # A provider that knows no seed or no temperature is not asked for it.
            "drop_params": True,
            "seed": self._seed % 2**31,
        }
        optional = {
            "api_base": config.api_base,
            "api_key": key,
            "temperature": config.temperature,
        }
        settings |= {name: value for name, value in optional.items() if value is not None}
        return settings | model_settings(config) | dict(config.extra)

    def _complete(self, messages: Messages, settings: Mapping[str, Any]) -> Any:
        litellm = import_litellm()
        response = within(
            self._llm.config.timeout_s,
            lambda: litellm.completion(messages=[dict(m) for m in messages], **settings),
        )
        if not getattr(response, "choices", None):
            raise ValueError("Received response with no 'choices'")
        return response

    def _count(self, response: Any, latency_s: float) -> None:
        used = usage_of(response, self._llm.config)
        cost = None
        if self.usage.cost_usd is not None and used.cost_usd is not None:
            cost = self.usage.cost_usd + used.cost_usd
        self.usage = replace(
            self.usage,
            input_tokens=self.usage.input_tokens + used.input_tokens,
            output_tokens=self.usage.output_tokens + used.output_tokens,
            cached_tokens=self.usage.cached_tokens + used.cached_tokens,
            cost_usd=cost,
            cached_usd=self.usage.cached_usd + used.cached_usd,
            latency_s=self.usage.latency_s + latency_s,
        )

    def _refuse_nothing(self, finish_reason: str | None) -> None:
        """Raise CallFailed where there is no text, with what is known of the cause."""
        if self.reply.strip():
            return
        if finish_reason == "content_filter":
            raise CallFailed("The provider's content filter withheld the answer.")
        if finish_reason == "length":
            raise CallFailed(
                f"The answer was cut off at llm.max_tokens={self._llm.config.max_tokens} before "
                "its text began: raise it, a model that reasons spends tokens on that first."
            )
        raise CallFailed("The answer was empty.")


def _check(config: LlmConfig) -> None:
    """Refuse a configuration that holds a key or half a price."""
    for name in _names(config.extra):
        if names_secret(name):
            raise KbexpError(
                f"llm.extra holds {name}, which would be written to the journal: put the key "
                "into an environment variable and name that in llm.api_key_env."
            )
    if config.api_base and address_holds_secret(config.api_base):
        raise KbexpError(
            "llm.api_base holds a password or a key, which would be written to the journal: put "
            "it into an environment variable and name that in llm.api_key_env."
        )
    if (config.input_usd_per_mtok is None) != (config.output_usd_per_mtok is None):
        raise KbexpError(
            "llm.input_usd_per_mtok and llm.output_usd_per_mtok go together: give both or none."
        )


def _names(settings: Mapping[str, Any]) -> Iterator[str]:
    for name, value in settings.items():
        yield str(name)
        if isinstance(value, Mapping):
            yield from _names(value)
