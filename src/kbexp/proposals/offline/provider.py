"""The LiteLLM side: a custom provider whose replies come from `reply.answer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import litellm

from kbexp.proposals.offline.prompt_reader import messages_text
from kbexp.proposals.offline.reply import answer

CHARACTERS_PER_TOKEN = 4
"""A usual figure for English and code; the counts in a reply's usage are estimates by it."""


class OfflinePlaybook(litellm.CustomLLM):  # type: ignore[misc]
    """Answers chat calls from the playbook: a function of the `seed` parameter and the messages."""

    def completion(self, *args: Any, **kwargs: Any) -> Any:
        """Return a `ModelResponse` with estimated usage and a cost of 0."""
        return _respond(*args, **kwargs)

    async def acompletion(self, *args: Any, **kwargs: Any) -> Any:
        """Return the same as `completion`; the work is some milliseconds, so nothing is awaited."""
        return _respond(*args, **kwargs)


def register(model: str) -> None:
    """Make `model` (`provider/name`) known to LiteLLM, at a price of 0; idempotent."""
    provider = model.split("/")[0]
    known = any(
        item["provider"] == provider and isinstance(item["custom_handler"], OfflinePlaybook)
        for item in litellm.custom_provider_map
    )
    if not known:
        others = [item for item in litellm.custom_provider_map if item["provider"] != provider]
        entry = {"provider": provider, "custom_handler": OfflinePlaybook()}
        litellm.custom_provider_map = [*others, entry]
    litellm.register_model(
        {
            model: {
                "litellm_provider": provider,
                "mode": "chat",
                "input_cost_per_token": 0.0,
                "output_cost_per_token": 0.0,
            }
        }
    )


def _respond(
    model: str,
    messages: Sequence[Mapping[str, Any]],
    model_response: Any,
    optional_params: Mapping[str, Any] | None = None,
    **_: Any,
) -> Any:
    text = answer(messages, seed_of(optional_params or {}))
    question_tokens = estimated_tokens(messages_text(messages))
    answer_tokens = estimated_tokens(text)
    model_response.model = model
    model_response.choices = [
        litellm.Choices(
            finish_reason="stop", index=0, message=litellm.Message(content=text, role="assistant")
        )
    ]
    model_response.usage = litellm.Usage(
        prompt_tokens=question_tokens,
        completion_tokens=answer_tokens,
        total_tokens=question_tokens + answer_tokens,
    )
    model_response._hidden_params["response_cost"] = 0.0
    return model_response


def seed_of(params: Mapping[str, Any]) -> int:
    """Return the call's `seed`, looked for in `extra_body` too; 0 where none is given."""
    extra = params.get("extra_body")
    for place in (params, extra if isinstance(extra, Mapping) else {}):
        try:
            return int(place["seed"])
        except (KeyError, TypeError, ValueError):
            continue
    return 0


def estimated_tokens(text: str) -> int:
    """Return a rough count of tokens; nothing here has a tokenizer."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
