"""The models of a run: one, or several with weights, each with settings of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from kbexp.config import LlmConfig, ModelChoice, ModelConfig
from kbexp.errors import KbexpError


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may be asked: its name in the journal, its weight, its whole settings."""

    name: str
    weight: float
    config: LlmConfig


def models_of(config: LlmConfig) -> tuple[Model, ...]:
    """Return the models that the settings name, at least one.

    Raises KbexpError where two have one name or a weight is not a number from 0 up.
    """
    if not config.models:
        return (Model(config.model, 1.0, config),)
    models = tuple(_model(entry, config) for entry in config.models)
    for i, model in enumerate(models):
        if not (math.isfinite(model.weight) and model.weight >= 0):
            raise KbexpError(
                f"llm.models gives {model.name} the weight {model.weight:g}: give a number from 0 "
                "up."
            )
        if any(model.name == other.name for other in models[:i]):
            raise KbexpError(
                f"llm.models names {model.name} twice: give one of the two another name, as in "
                "{model: …, name: …}."
            )
    if not any(model.weight for model in models):
        raise KbexpError("llm.models has no weight above 0: give at least one model one.")
    if ModelChoice(config.choice) is ModelChoice.bandit:
        return tuple(model for model in models if model.weight)
    return models


def _model(entry: ModelConfig, config: LlmConfig) -> Model:
    """Return one model with what it leaves open filled in.

    A key goes to the provider that it was meant for and to no other, so address and variable are
    taken over within one provider only.
    """
    same_provider = _provider(entry.model) == _provider(config.model)
    api_base = entry.api_base
    api_key_env = entry.api_key_env
    if same_provider and api_base is None:
        api_base = config.api_base
        api_key_env = api_key_env or config.api_key_env
    return Model(
        entry.name or entry.model,
        float(entry.weight),
        replace(
            config,
            model=entry.model,
            api_base=api_base,
            api_key_env=api_key_env,
            temperature=config.temperature if entry.temperature is None else entry.temperature,
            reasoning_effort=entry.reasoning_effort or config.reasoning_effort,
            max_tokens=entry.max_tokens or config.max_tokens,
            input_usd_per_mtok=entry.input_usd_per_mtok,
            cached_input_usd_per_mtok=entry.cached_input_usd_per_mtok,
            output_usd_per_mtok=entry.output_usd_per_mtok,
            extra=dict(entry.extra),
            models=[],
        ),
    )


def _provider(model: str) -> str:
    return model.partition("/")[0]
