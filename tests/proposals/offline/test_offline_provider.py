"""The provider through LiteLLM itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from kbexp.proposals.answer import extract_kernel
from kbexp.proposals.offline import MODEL, register
from kbexp.tasks.catalog import bundled

TASK = f'<task name="softmax">\n{bundled("softmax").source}\n</task>\n'
MESSAGES = [{"role": "user", "content": TASK + "<languages>torch, c</languages>"}]


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Any:
    from kbexp.proposals.litellm_setup import import_litellm

    module = import_litellm()
    monkeypatch.setattr(module, "custom_provider_map", [])
    register()
    return module


def test_completion_answers_with_usage_and_no_cost(litellm):
    response = litellm.completion(model=MODEL, messages=MESSAGES, seed=5, temperature=1.0)
    text = response.choices[0].message.content
    assert extract_kernel(text).source
    assert response.choices[0].finish_reason == "stop"
    assert response.usage.prompt_tokens == -(-len(MESSAGES[0]["content"]) // 4)
    assert response.usage.completion_tokens == -(-len(text) // 4)
    assert response.usage.total_tokens > response.usage.completion_tokens
    assert response._hidden_params["response_cost"] == 0.0
    assert litellm.completion_cost(completion_response=response, model=MODEL) == 0.0


def test_the_seed_decides(litellm):
    def text(**params: Any) -> str:
        response = litellm.completion(model=MODEL, messages=MESSAGES, **params)
        return str(response.choices[0].message.content)

    assert text(seed=5) == text(seed=5)
    assert text(seed=5) == text(extra_body={"seed": 5})
    assert text() == text(seed=0)
    assert len({text(seed=seed) for seed in range(8)}) > 4


def test_acompletion_answers_the_same(litellm):
    later = asyncio.run(litellm.acompletion(model=MODEL, messages=MESSAGES, seed=5))
    now = litellm.completion(model=MODEL, messages=MESSAGES, seed=5)
    assert later.choices[0].message.content == now.choices[0].message.content


def test_registering_again_changes_nothing_and_keeps_other_providers(litellm):
    other = {"provider": "other", "custom_handler": litellm.CustomLLM()}
    litellm.custom_provider_map = [*litellm.custom_provider_map, other]
    before = list(litellm.custom_provider_map)
    register()
    assert litellm.custom_provider_map == before


def test_importing_the_package_does_not_import_litellm():
    code = "import sys, kbexp.proposals.offline; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
