"""What is sent to some models only: effort of reasoning, marks of what to cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kbexp.config import LlmConfig
from kbexp.proposals.model_settings import left_out, model_settings
from kbexp.proposals.proposer import LlmProposer

Make = Callable[..., LlmConfig]
ANSWER = "```python\nclass ModelNew: pass\n```\n"


def asked(server: Any, kit: Any, config: LlmConfig) -> dict[str, Any]:
    server.script = [kit.completion(ANSWER)]
    LlmProposer(kit.TASK, kit.CPU, config).propose(kit.request())
    sent: dict[str, Any] = server.requests[-1]
    return sent


@pytest.mark.parametrize("model", ["openai/gpt-5.4", "openai/served", "hosted_vllm/mine"])
def test_effort_reaches_a_model_that_may_take_it(
    model_server: Any, settings: Make, kit: Any, model: str
) -> None:
    config = settings(model=model, reasoning_effort="high")
    assert asked(model_server, kit, config)["reasoning_effort"] == "high"
    assert left_out(config) == []


def test_effort_is_left_out_with_a_note_where_the_model_takes_none(
    model_server: Any, settings: Make, kit: Any
) -> None:
    config = settings(model="openai/gpt-4o-mini", reasoning_effort="high", temperature=0.5)
    sent = asked(model_server, kit, config)
    assert "reasoning_effort" not in sent
    assert sent["temperature"] == 0.5
    (note,) = LlmProposer(kit.TASK, kit.CPU, config).notes
    assert note == (
        "openai/gpt-4o-mini takes no reasoning_effort, so llm.reasoning_effort=high was left out."
    )


def test_the_playbook_takes_neither_and_says_so(settings: Make) -> None:
    config = settings(model="offline/playbook", temperature=0.2, reasoning_effort="low")
    assert [note.split(",")[0] for note in left_out(config)] == [
        "offline/playbook takes no reasoning_effort",
        "offline/playbook takes no temperature",
    ]
    assert left_out(settings()) == []


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("anthropic/claude-sonnet-5", True),
        ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ("vertex_ai/claude-sonnet-4-5", True),
        ("openrouter/anthropic/claude-sonnet-4.5", True),
        ("openai/gpt-5.4", False),
        ("gemini/gemini-3.5-flash", False),
    ],
)
def test_anthropics_models_are_told_what_to_cache_wherever_they_are(
    settings: Make, model: str, wanted: bool
) -> None:
    config = settings(model=model)
    assert ("cache_control_injection_points" in model_settings(config)) is wanted
    assert model_settings(replace(config, prompt_cache=False)) == {}


@pytest.mark.parametrize("optimizer", ["optoprime", "opro", "textgrad"])
def test_what_stays_the_same_stands_before_the_mark_and_what_varies_after_it(
    model_server: Any, kit: Any, monkeypatch: pytest.MonkeyPatch, settings: Make, optimizer: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", kit.KEY)
    body = {
        "id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-5",
        "content": [{"type": "text", "text": ANSWER}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 100, "output_tokens": 50},
    }  # fmt: skip
    model_server.script = [kit.Reply(body)]
    config = settings(
        model="anthropic/claude-sonnet-5",
        api_base=model_server.url.removesuffix("/v1"),
        api_key_env="ANTHROPIC_API_KEY",
        optimizer=optimizer,
    )
    proposer = LlmProposer(kit.TASK, kit.CPU, config)
    proposer.propose(kit.request(0, summary="One."))
    proposer.propose(kit.request(1, summary="Another."))
    first, *_, last = model_server.requests
    assert first["system"] == last["system"]
    *_, block = first["system"]
    assert block["cache_control"] == {"type": "ephemeral"}
    for part in ("<task ", "<device ", "<languages>", "How a kernel is judged"):
        assert part in block["text"]
    varying = json.dumps(last["messages"])
    assert "Another." in varying
    assert kit.PARENT.id in varying
    assert "cache_control" not in varying
    assert "Another." not in block["text"]


def test_the_price_of_cached_tokens_of_a_known_model_is_the_lower_one(
    model_server: Any, settings: Make, kit: Any
) -> None:
    from litellm import model_cost

    price = model_cost["gpt-5.4"]
    used = {
        "prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 600},
    }  # fmt: skip
    model_server.script = [kit.completion(ANSWER, model="gpt-5.4", usage=used)]
    made = LlmProposer(kit.TASK, kit.CPU, settings(model="openai/gpt-5.4")).propose(kit.request())
    assert made.usage.cached_tokens == 600
    assert made.usage.cost_usd == pytest.approx(
        400 * price["input_cost_per_token"]
        + 600 * price["cache_read_input_token_cost"]
        + 200 * price["output_cost_per_token"]
    )
    assert made.usage.cached_usd == pytest.approx(600 * price["cache_read_input_token_cost"])
