from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kbexp.config import LlmConfig
from kbexp.errors import ModelUnavailable
from kbexp.proposals.models import models_of
from kbexp.proposals.proposer import LlmProposer

CONF = Path(__file__).resolve().parents[2] / "conf"
CHOICES = sorted(path.stem for path in (CONF / "llm").glob("*.yaml"))
HOSTED = ("anthropic", "deepseek", "gemini", "openai")


def choice(name: str, *overrides: str) -> LlmConfig:
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    ConfigStore.instance().store(group="llm", name="_llm", node=LlmConfig)
    with initialize_config_dir(str(CONF / "llm"), version_base="1.3"):
        # The group stands alone here, so its schema is that of the root.
        ConfigStore.instance().store(name="_llm", node=LlmConfig)
        made = OmegaConf.to_object(compose(name, overrides=list(overrides)))
    assert isinstance(made, LlmConfig)
    return made


# What a choice cannot do without, because only the person who runs it can know it.
NEEDED = {"custom": ["model=openai/x"], "replay": ["path=a/run"]}


@pytest.mark.parametrize("name", CHOICES)
def test_choice_makes_a_proposer(kit: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    config = choice(name, *NEEDED.get(name, []))
    assert config.name == name
    for variable in filter(None, [m.config.api_key_env for m in models_of(config)]):
        monkeypatch.delenv(variable, raising=False)
        with pytest.raises(ModelUnavailable, match=variable):
            LlmProposer(kit.TASK, kit.CPU, config)
        monkeypatch.setenv(variable, kit.KEY)
    if name not in ("offline", "replay"):
        LlmProposer(kit.TASK, kit.CPU, config)


def test_names_are_complete() -> None:
    wanted = {"offline", "anthropic", "openai", "gemini", "deepseek", "ollama", "vllm", "custom"}
    assert wanted | {"several", "replay"} == set(CHOICES)


@pytest.mark.parametrize("name", HOSTED)
def test_hosted_model_is_one_that_litellm_can_price(name: str) -> None:
    from litellm import model_cost

    config = choice(name)
    known = model_cost.get(config.model) or model_cost[config.model.partition("/")[2]]
    assert known["input_cost_per_token"] > 0
    assert known["output_cost_per_token"] > 0
    assert known["max_output_tokens"] >= config.max_tokens
    assert config.api_key_env == f"{name.upper()}_API_KEY"


ANSWER = "```python\nclass ModelNew: pass\n```\n"


def test_anthropic_is_asked_to_cache_what_stays(
    model_server: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", kit.KEY)
    used = {"input_tokens": 100, "output_tokens": 50, "cache_read_input_tokens": 900}
    used["cache_creation_input_tokens"] = 0
    model_server.script = [
        kit.Reply(
            {
                "id": "m",
                "type": "message",
                "role": "assistant",
                "model": "claude-sonnet-5",
                "content": [{"type": "text", "text": ANSWER}],
                "stop_reason": "end_turn",
                "usage": used,
            }
        )
    ]
    config = replace(choice("anthropic"), api_base=model_server.url.removesuffix("/v1"))
    proposal = LlmProposer(kit.TASK, kit.CPU, config).propose(kit.request())
    assert proposal.error == ""
    (sent,) = model_server.requests
    assert sent["system"][-1]["cache_control"] == {"type": "ephemeral"}
    assert "seed" not in sent
    assert proposal.usage.cached_tokens == 900
    assert proposal.usage.input_tokens == 1000
    assert proposal.usage.cost_usd is not None
    assert proposal.usage.cost_usd > 0


def test_ollama_gets_its_context_and_costs_nothing(model_server: Any, kit: Any) -> None:
    model_server.script = [
        kit.Reply(
            {
                "model": "m",
                "created_at": "2026-01-01T00:00:00Z",
                "message": {"role": "assistant", "content": ANSWER},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 100,
                "eval_count": 50,
            }
        )
    ]
    config = replace(choice("ollama"), api_base=model_server.url.removesuffix("/v1"))
    proposal = LlmProposer(kit.TASK, kit.CPU, config).propose(kit.request())
    assert proposal.error == ""
    # LiteLLM may ask the server about the model too, from a thread of its own.
    (sent,) = [request for request in model_server.requests if "messages" in request]
    assert sent["options"]["num_ctx"] == 32768
    assert sent["options"]["num_predict"] == config.max_tokens
    assert sent["options"]["seed"] == 7
    assert proposal.usage.output_tokens == 50
    assert proposal.usage.cost_usd == 0.0


def test_vllm_needs_no_key(model_server: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", kit.KEY)
    model_server.script = [kit.completion(ANSWER)]
    config = replace(choice("vllm"), api_base=model_server.url)
    proposal = LlmProposer(kit.TASK, kit.CPU, config).propose(kit.request())
    assert proposal.error == ""
    assert proposal.usage.cost_usd == 0.0
    assert model_server.requests[0]["model"] == "Qwen/Qwen2.5-Coder-32B-Instruct"
    assert kit.KEY not in model_server.keys[0]


@pytest.mark.parametrize("name", ["ollama", "vllm"])
def test_local_server_that_is_down(kit: Any, name: str) -> None:
    config = replace(choice(name), api_base="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(ModelUnavailable, match="No server answers at http"):
        LlmProposer(kit.TASK, kit.CPU, config).propose(kit.request())
