from __future__ import annotations

import email.utils
import json
import logging
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from kbexp.config import LlmConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.proposals import retries
from kbexp.proposals.failures import CallFailed, classify, retry_after_s
from kbexp.proposals.llm import Llm
from kbexp.proposals.redaction import names_secret, safe_address, safe_sentence, without_secrets

Make = Callable[..., LlmConfig]


def ask(config: LlmConfig, seed: int = 3) -> Any:
    session = Llm(config).session(seed)
    session(messages=[{"role": "user", "content": "the question"}])
    return session


def test_answer_usage_and_what_was_sent(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.completion("the answer")]
    session = ask(settings(temperature=0.5, max_tokens=77, extra={"top_p": 0.9}))
    assert session.reply == "the answer"
    assert not session.truncated
    assert (session.usage.input_tokens, session.usage.output_tokens) == (1000, 200)
    assert session.usage.cost_usd is None
    assert session.usage.latency_s > 0
    (sent,) = model_server.requests
    assert sent["model"] == "served"
    assert sent["messages"] == [{"role": "user", "content": "the question"}]
    assert (sent["temperature"], sent["max_tokens"], sent["seed"]) == (0.5, 77, 3)
    assert sent["top_p"] == 0.9
    assert "response_format" not in sent
    assert model_server.keys == [f"Bearer {kit.KEY}"]


def test_callable_takes_what_trace_gives(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.completion("{}")]
    session = Llm(settings()).session(0)
    response = session.create(
        messages=[{"role": "user", "content": "x"}],
        response_format={"type": "json_object"},
        max_tokens=5,
    )
    assert response.choices[0].message.content == "{}"
    assert model_server.requests[0]["response_format"] == {"type": "json_object"}
    assert model_server.requests[0]["max_tokens"] == 5


def test_usage_adds_up_over_the_calls_of_a_session(
    model_server: Any, settings: Make, kit: Any
) -> None:
    model_server.script = [kit.completion("a")]
    session = Llm(settings(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0)).session(0)
    for _ in range(2):
        session(messages=[{"role": "user", "content": "x"}])
    assert session.usage.input_tokens == 2000
    assert session.usage.cost_usd == pytest.approx(2 * (1000 * 1.0 + 200 * 10.0) / 1e6)


def test_ask_is_one_question(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.completion("a summary")]
    text, usage = Llm(settings()).ask("Be short.", "What was learned?", seed=1)
    assert text == "a summary"
    assert usage.output_tokens == 200
    assert [m["role"] for m in model_server.requests[0]["messages"]] == ["system", "user"]


# Retries


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_server_errors_then_success(
    model_server: Any, settings: Make, kit: Any, status: int
) -> None:
    model_server.script = [
        kit.failure(status, "overloaded"),
        kit.failure(status, "overloaded"),
        kit.completion("at last"),
    ]
    assert ask(settings()).reply == "at last"
    assert len(model_server.requests) == 3


def test_retries_are_bounded(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.failure(500, "broken for good")]
    with pytest.raises(CallFailed, match="broken for good"):
        ask(settings(max_retries=3))
    assert len(model_server.requests) == 4


def test_rate_limit_waits_as_long_as_it_is_asked_to(
    model_server: Any, settings: Make, kit: Any
) -> None:
    model_server.script = [kit.failure(429, "slow down", Retry_After="0.3"), kit.completion("ok")]
    started = time.monotonic()
    assert ask(settings()).reply == "ok"
    assert time.monotonic() - started >= 0.3


def test_rate_limit_that_asks_for_too_long_is_given_up(
    model_server: Any, settings: Make, kit: Any
) -> None:
    model_server.script = [kit.failure(429, "come back tomorrow", Retry_After="86400")]
    with pytest.raises(CallFailed, match="86400 s, more than llm"):
        ask(settings())
    assert len(model_server.requests) == 1


def test_waits_come_from_the_seed(
    model_server: Any, settings: Make, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_server.script = [kit.failure(500, "broken")]
    waits: list[list[float]] = []
    original = retries.wait_s

    def record(*given: Any) -> float:
        waits[-1].append(original(*given))
        return waits[-1][-1]

    monkeypatch.setattr(retries, "wait_s", record)
    for seed in [5, 5, 6]:
        waits.append([])
        session = Llm(settings(max_retries=3)).session(seed)
        state = random.getstate()
        with pytest.raises(CallFailed):
            session(messages=[{"role": "user", "content": "x"}])
        assert random.getstate() == state
    assert len(waits[0]) == 4
    assert waits[0] == waits[1] != waits[2]
    assert all(0.0005 * 2**i <= w <= 0.001 * 2**i for i, w in enumerate(waits[0]))


@pytest.mark.parametrize(
    "reply",
    [b"{not json", b"<html>hello</html>", b'{"choices": []}', b"[]", b'{"error": {"code": 502}}'],
)
def test_malformed_answers_are_tried_again_then_given_up(
    model_server: Any, settings: Make, kit: Any, reply: bytes
) -> None:
    model_server.script = [kit.Reply(reply)]
    with pytest.raises(CallFailed) as raised:
        ask(settings())
    assert str(raised.value)
    assert len(model_server.requests) == 3


def test_slow_answer_times_out(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.completion("late", delay_s=3.0), kit.completion("in time")]
    assert ask(settings(timeout_s=0.5)).reply == "in time"
    model_server.requests.clear()
    with pytest.raises(CallFailed, match=r"llm.timeout_s=0.2"):
        ask(settings(timeout_s=0.2, max_retries=0))


def test_dripping_answer_times_out(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.completion("drip", drip_s=0.05)]
    started = time.monotonic()
    with pytest.raises(CallFailed, match=r"llm.timeout_s=0.5"):
        ask(settings(timeout_s=0.5, max_retries=0))
    assert time.monotonic() - started < 10


# No kernel in it


def test_answers_without_text(model_server: Any, settings: Make, kit: Any) -> None:
    for reply, words in [
        (kit.completion(None), "empty"),
        (kit.completion(" \n"), "empty"),
        (kit.completion("", finish="length"), "llm.max_tokens=8192"),
        (kit.completion("", finish="content_filter"), "content filter"),
    ]:
        model_server.script, used = [reply], Llm(settings()).session(0)
        with pytest.raises(CallFailed, match=words):
            used(messages=[{"role": "user", "content": "x"}])
        assert used.usage.output_tokens == 200, "an answer without text is paid for too"


def test_truncation_is_noticed(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.completion("```python\nclass Mod", finish="length")]
    assert ask(settings()).truncated


@pytest.mark.parametrize(
    ("status", "message", "code", "words"),
    [
        (400, "maximum context length is 4096 tokens", "context_length_exceeded", "too long"),
        (400, "rejected as a result of our safety system", "content_policy_violation", "filter"),
        (400, "top_p must be below 2", None, "refused the call"),
        (413, "body too large", None, "refused the call"),
    ],
)
def test_refused_calls_are_not_repeated(
    model_server: Any, settings: Make, kit: Any, status: int, message: str, code: str, words: str
) -> None:
    model_server.script = [kit.failure(status, message, code)]
    with pytest.raises(CallFailed, match=words):
        ask(settings())
    assert len(model_server.requests) == 1


# No model


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (401, "Incorrect API key provided: {key}", "KBEXP_TEST_API_KEY was refused"),
        (403, "not for you: {key}", "KBEXP_TEST_API_KEY may not use openai/served"),
        (404, "The model `served` does not exist", "openai/served is not known"),
        (402, "Payment required", "no credit"),
        (429, "insufficient_quota for {key}", "no credit"),
    ],
)
def test_no_further_call_can_succeed(
    model_server: Any, settings: Make, kit: Any, status: int, message: str, words: str
) -> None:
    model_server.script = [kit.failure(status, message.format(key=kit.KEY))]
    with pytest.raises(ModelUnavailable, match=words) as raised:
        ask(settings())
    assert kit.KEY not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert len(model_server.requests) == 1


def test_no_server(settings: Make) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ModelUnavailable) as raised:
        ask(settings(api_base=address))
    assert f"No server answers at {address} " in str(raised.value)
    assert "llm.api_base" in str(raised.value)


def test_key_that_is_not_set(settings: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KBEXP_TEST_API_KEY")
    with pytest.raises(ModelUnavailable, match="KBEXP_TEST_API_KEY, which llm"):
        Llm(settings())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("openai/gpt-5.4", "OPENAI_API_KEY"),
        ("anthropic/claude-sonnet-5", "ANTHROPIC_API_KEY"),
        ("gemini/gemini-2.5-pro", "GEMINI_API_KEY"),
        ("nosuchprovider/model", "nosuchprovider/model is not known"),
        ("noprovider", "noprovider is not known"),
    ],
)
def test_without_a_key_or_a_provider(
    settings: Make, monkeypatch: pytest.MonkeyPatch, model: str, words: str
) -> None:
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "GOOGLE"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    with pytest.raises(ModelUnavailable, match=words):
        ask(settings(model=model, api_base=None, api_key_env=None))


def test_own_server_does_not_get_openais_key(
    model_server: Any, settings: Make, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai-very-secret")
    model_server.script = [kit.completion("ok")]
    ask(settings(api_key_env=None))
    assert "very-secret" not in model_server.keys[0]


# Settings


@pytest.mark.parametrize(
    "extra",
    [
        {"api_key": "x"},
        {"extra_headers": {"Authorization": "Bearer x"}},
        {"extra_headers": {"x-api-key": "x"}},
        {"aws_secret_access_key": "x"},
    ],
)
def test_no_keys_in_the_settings(settings: Make, extra: dict[str, Any]) -> None:
    with pytest.raises(KbexpError, match=r"llm\.api_key_env"):
        Llm(settings(extra=extra))


@pytest.mark.parametrize("address", ["https://me:pw@host/v1", "https://host/v1?api_key=x"])
def test_no_keys_in_the_address(settings: Make, address: str) -> None:
    with pytest.raises(KbexpError, match="api_base holds"):
        Llm(settings(api_base=address))


def test_half_a_price_is_refused(settings: Make) -> None:
    with pytest.raises(KbexpError, match="go together"):
        Llm(settings(input_usd_per_mtok=1.0))


# Prices


def test_prices_of_the_settings(model_server: Any, settings: Make, kit: Any) -> None:
    used = {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 600},
    }
    model_server.script = [kit.completion("x", usage=used)]
    prices = {"input_usd_per_mtok": 2.0, "output_usd_per_mtok": 8.0}
    usage = ask(settings(**prices)).usage
    assert usage.cached_tokens == 600
    assert usage.cost_usd == pytest.approx((1000 * 2.0 + 200 * 8.0) / 1e6)
    assert usage.cached_usd == pytest.approx(600 * 2.0 / 1e6)
    usage = ask(settings(**prices, cached_input_usd_per_mtok=0.5)).usage
    assert usage.cost_usd == pytest.approx((400 * 2.0 + 600 * 0.5 + 200 * 8.0) / 1e6)
    assert usage.cached_usd == pytest.approx(600 * 0.5 / 1e6)


def test_prices_of_litellm(model_server: Any, settings: Make, kit: Any) -> None:
    from litellm import model_cost

    price = model_cost["gpt-4o-mini"]
    model_server.script = [kit.completion("x", model="gpt-4o-mini")]
    usage = ask(settings(model="openai/gpt-4o-mini")).usage
    expected = 1000 * price["input_cost_per_token"] + 200 * price["output_cost_per_token"]
    assert usage.cost_usd == pytest.approx(expected)


def test_unknown_price_is_none(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [kit.completion("x", model="gpt-4o-mini")]
    assert ask(settings(model="openai/my-own")).usage.cost_usd is None
    model_server.script = [kit.completion("x", model="gpt-4o-mini", usage={})]
    assert ask(settings(model="openai/gpt-4o-mini")).usage.cost_usd is None


# Keys


def test_key_appears_nowhere(
    model_server: Any,
    settings: Make,
    kit: Any,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for status in (400, 401, 403, 404, 429, 500):
        model_server.script = [kit.failure(status, f"bad key {kit.KEY} at ?key={kit.KEY}")]
        with pytest.raises((CallFailed, ModelUnavailable)) as raised:
            ask(settings())
        texts.append(repr(raised.value))
    model_server.script = [kit.completion(f"your key is {kit.KEY}")]
    texts.append(ask(settings()).reply)
    captured = capfd.readouterr()
    texts += [captured.out, captured.err, caplog.text]
    assert kit.KEY not in "\n".join(texts)
    assert "LiteLLM" not in captured.out + captured.err
    assert "Give Feedback" not in captured.out


def test_redaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", "abcdef-123456")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    assert without_secrets("x abcdef-123456 abc") == "x *** abc"
    assert without_secrets("x q-secret-key-q", "secret-key") == "x q-***-q"
    hidden = safe_sentence("Bearer abcdefgh sk-abc***xyz AIzaSyA1234567890123456789012 ?key=abc&x")
    assert hidden == "Bearer *** *** *** ?key=***&x"
    assert len(safe_sentence("long " * 1000)) < 310
    assert safe_address("https://me:pw@host:8000/v1?key=1") == "https://host:8000/v1"
    assert names_secret("X-Api-Key")
    assert not names_secret("max_tokens")


# Several at once


def test_eight_threads(model_server: Any, settings: Make, kit: Any) -> None:
    model_server.script = [lambda body: kit.completion(body["messages"][0]["content"] + "!")]
    llm = Llm(settings())
    replies: dict[int, str] = {}

    def work(i: int) -> None:
        for j in range(5):
            session = llm.session(i)
            session(messages=[{"role": "user", "content": f"{i}.{j}"}])
            replies[10 * i + j] = session.reply

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == {10 * i + j: f"{i}.{j}!" for i in range(8) for j in range(5)}


# Words of providers


def test_retry_after_in_all_its_forms(settings: Make) -> None:
    import httpx

    def error(text: str = "", **headers: str) -> Exception:
        raised = RuntimeError(text)
        raised.response = httpx.Response(429, headers=headers)  # type: ignore[attr-defined]
        return raised

    assert retry_after_s(error(**{"retry-after": "2.5"})) == 2.5
    assert retry_after_s(error(**{"retry-after": "-3"})) == 0.0
    soon = email.utils.format_datetime(
        email.utils.localtime().fromtimestamp(time.time() + 30).astimezone()
    )
    assert 25 < (retry_after_s(error(**{"retry-after": soon})) or 0) <= 30
    assert retry_after_s(error(**{"retry-after": "soon"})) is None
    assert retry_after_s(error("Please try again in 350ms.")) == 0.35
    assert retry_after_s(error("Quota exceeded. Please retry in 34.07s.")) == 34.07
    assert retry_after_s(error(json.dumps({"retryDelay": "12s"}))) == 12.0
    assert retry_after_s(error("slow down")) is None


def test_quota_per_minute_is_a_rate_limit_not_an_empty_account(settings: Make) -> None:
    error = RuntimeError("You exceeded your current quota. Please retry in 3.5s.")
    error.status_code = 429  # type: ignore[attr-defined]
    failure = classify(error, settings(), None)
    assert (failure.remedy, failure.retry_after_s) == ("retry", 3.5)


def test_nothing_heavy_is_imported() -> None:
    program = (
        "import importlib, pkgutil, sys, kbexp.proposals as room\n"
        "for module in pkgutil.iter_modules(room.__path__):\n"
        "    importlib.import_module(f'kbexp.proposals.{module.name}')\n"
        "heavy = {'litellm', 'opto', 'torch', 'openai', 'httpx', 'numpy', 'hydra', 'tenacity'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
