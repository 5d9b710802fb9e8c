"""What a call used and cost."""

from __future__ import annotations

from typing import Any

from kbexp.candidate import Usage
from kbexp.config import LlmConfig
from kbexp.proposals.litellm_setup import import_litellm


def usage_of(response: Any, config: LlmConfig) -> Usage:
    """Return a response's tokens and price.

    Prices of the configuration come first, then LiteLLM's. `cost_usd` is None where neither
    knows the model, or where the server counted no tokens.
    """
    usage = getattr(response, "usage", None)
    input_tokens = _count(usage, "prompt_tokens")
    output_tokens = _count(usage, "completion_tokens")
    details = getattr(usage, "prompt_tokens_details", None)
    cached_tokens = _count(details, "cached_tokens") or _count(usage, "cache_read_input_tokens")
    cached_tokens = min(cached_tokens, input_tokens)
    counted = input_tokens + output_tokens > 0
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        cost_usd=_cost_usd(response, config, input_tokens, output_tokens, cached_tokens, counted),
        cached_usd=cached_tokens * _cached_price(config) if cached_tokens else 0.0,
    )


def _cost_usd(
    response: Any,
    config: LlmConfig,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    counted: bool,
) -> float | None:
    price_in, price_out = config.input_usd_per_mtok, config.output_usd_per_mtok
    if price_in is not None and price_out is not None:
        if not counted and (price_in or price_out):
            return None
        cached = config.cached_input_usd_per_mtok
        price_cached = price_in if cached is None else cached
        fresh_tokens = input_tokens - cached_tokens
        dollars = fresh_tokens * price_in + cached_tokens * price_cached + output_tokens * price_out
        return dollars / 1e6
    if not counted:
        return None
    litellm = import_litellm()
    if config.api_base and not _priced(litellm, config.model):
        # A server of one's own may call its model by a name that is sold elsewhere.
        return None
    try:
        return float(litellm.completion_cost(completion_response=response, model=config.model))
    except Exception:
        # LiteLLM raises a bare Exception for a model that it has no price for.
        return None


def _cached_price(config: LlmConfig) -> float:
    """Return what a cached token costs, by the settings or by LiteLLM's list; 0 if unknown."""
    if config.input_usd_per_mtok is not None:
        cached = config.cached_input_usd_per_mtok
        return (config.input_usd_per_mtok if cached is None else cached) / 1e6
    known = import_litellm().model_cost
    about = known.get(config.model) or known.get(config.model.partition("/")[2]) or {}
    price = about.get("cache_read_input_token_cost", about.get("input_cost_per_token"))
    return float(price) if isinstance(price, int | float) else 0.0


def _priced(litellm: Any, model: str) -> bool:
    return model in litellm.model_cost or model.partition("/")[2] in litellm.model_cost


def _count(usage: Any, name: str) -> int:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) and value > 0 else 0
