"""Settings that not every model takes: how much it reasons, how warm it is, what it caches."""

from __future__ import annotations

from functools import cache
from typing import Any

from kbexp.config import LlmConfig
from kbexp.proposals.litellm_setup import import_litellm

# The rules, the languages, the task and the device stand in the system message of every question.
_SYSTEM_MESSAGE = ({"location": "message", "role": "system"},)


def model_settings(config: LlmConfig) -> dict[str, Any]:
    """Return the arguments of `litellm.completion` for what depends on the model.

    An effort goes to every model but those of which LiteLLM knows that they take none. Models of
    Anthropic's cache only what they are told to; others find what begins alike on their own.
    """
    settings: dict[str, Any] = {}
    if config.reasoning_effort and _takes(config, "reasoning_effort"):
        settings["reasoning_effort"] = config.reasoning_effort
        # A model that LiteLLM does not know may be served anywhere, and take it all the same.
        if not _listed(config.model):
            settings["allowed_openai_params"] = ["reasoning_effort"]
    if config.prompt_cache and _wants_breakpoints(config.model):
        settings["cache_control_injection_points"] = [dict(point) for point in _SYSTEM_MESSAGE]
    return settings


def left_out(config: LlmConfig) -> list[str]:
    """Return a sentence for each setting that a model does not take and is not sent."""
    given = {"reasoning_effort": config.reasoning_effort, "temperature": config.temperature}
    return [
        f"{config.model} takes no {name}, so llm.{name}={value} was left out."
        for name, value in given.items()
        if value is not None and not _takes(config, name)
    ]


def plays(config: LlmConfig) -> bool:
    """True where answers come from the playbook."""
    return config.model.startswith("offline/")


def _takes(config: LlmConfig, name: str) -> bool:
    """True unless LiteLLM knows the model, and knows that it does not take the setting."""
    if plays(config):
        return False
    return not _listed(config.model) or name in _supported(config.model)


@cache
def _listed(model: str) -> bool:
    """True where the model stands in LiteLLM's list."""
    known = import_litellm().model_cost
    return model in known or model.partition("/")[2] in known


@cache
def _supported(model: str) -> tuple[str, ...]:
    try:
        return tuple(import_litellm().get_supported_openai_params(model) or ())
    except Exception:
        # LiteLLM raises what it likes for a name that it cannot place; the call will say so.
        return ()


def _wants_breakpoints(model: str) -> bool:
    """True for Anthropic's models, whoever serves them (Bedrock, Vertex AI, OpenRouter …)."""
    return model.startswith("anthropic/") or "claude" in model.lower()
