"""Embeddings over HTTP, and what is kept of them on disk."""

from __future__ import annotations

import math
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kbexp.candidate import Usage
from kbexp.config import LlmConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.kernel import text_id
from kbexp.proposals.embedding import BATCH, PAUSE_S, PIECE_CHARS, LiteLlmEmbedder
from kbexp.proposals.embedding_cache import MAX_DIMENSIONS, EmbeddingCache, default_folder

Make = Callable[..., LlmConfig]
KEY_ENV = "KBEXP_TEST_API_KEY"


@pytest.fixture
def embedder(model_server: Any, settings: Make, tmp_path: Path) -> Callable[..., LiteLlmEmbedder]:
    def make(model: str = "openai/embeds", **changes: Any) -> LiteLlmEmbedder:
        given = {"api_base": model_server.url, "api_key_env": KEY_ENV} | changes
        return LiteLlmEmbedder(model, settings(max_retries=1), tmp_path / "cache", **given)

    return make


def unit(numbers: list[float]) -> list[float]:
    norm = math.sqrt(math.fsum(n * n for n in numbers))
    return [n / norm for n in numbers]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# Asking


def test_texts_become_vectors_of_length_one_in_their_order(
    model_server: Any, embedder: Any, kit: Any
) -> None:
    texts = ["softmax", "a matrix product", "softmax", "é"]
    vectors = embedder().embed(texts)
    for text, vector in zip(texts, vectors, strict=True):
        assert vector == pytest.approx(unit(kit.letters(text)), abs=1e-6)
        assert math.hypot(*vector) == pytest.approx(1.0, abs=1e-6)
    (sent,) = model_server.embedding_requests
    assert (sent["model"], sent["input"]) == ("embeds", ["softmax", "a matrix product", "é"])
    assert model_server.keys == [f"Bearer {kit.KEY}"]


def test_many_texts_go_in_batches(model_server: Any, embedder: Any, kit: Any) -> None:
    texts = [f"kernel {'ab' * i}" for i in range(2 * BATCH + 1)]
    made = embedder()
    vectors = made.embed(texts)
    assert [len(r["input"]) for r in model_server.embedding_requests] == [BATCH, BATCH, 1]
    assert vectors[-1] == pytest.approx(unit(kit.letters(texts[-1])), abs=1e-6)
    assert made.spent() == (len(texts), Usage(input_tokens=10 * len(texts), cost_usd=None))
    assert made.spent() == (0, Usage())


@pytest.mark.parametrize(("price", "cost_usd"), [(None, None), (0.0, 0.0), (2.5, 75e-6)])
def test_what_was_asked_is_paid_for_and_what_was_kept_is_not(
    embedder: Any, price: float | None, cost_usd: float | None
) -> None:
    made = embedder(usd_per_mtok=price)
    made.embed(["one", "two"])
    made.embed(["three", "one"])
    assert made.model == "openai/embeds"
    texts, usage = made.spent()
    assert (texts, usage.input_tokens) == (3, 30)
    assert usage.cost_usd == (None if cost_usd is None else pytest.approx(cost_usd))
    made.embed(["one", "two", "three"])
    assert made.spent() == (0, Usage())


def test_a_long_text_is_the_mean_of_its_pieces(model_server: Any, embedder: Any, kit: Any) -> None:
    text = "a" * PIECE_CHARS + "b" * (PIECE_CHARS // 2)
    (vector,) = embedder().embed([text])
    (sent,) = model_server.embedding_requests
    assert "".join(sent["input"]) == text
    one, other = (np.array(unit(kit.letters(piece))) for piece in sent["input"])
    expected = unit(list(one * PIECE_CHARS + other * (PIECE_CHARS // 2)))
    assert vector == pytest.approx(expected, abs=1e-6)


def test_texts_that_a_model_might_not_take_are_sent_as_ones_that_it_does(
    model_server: Any, embedder: Any
) -> None:
    vectors = embedder().embed(["", " \n", "lone \ud800 surrogate"])
    assert len(vectors) == 3
    assert all(piece.strip() for piece in model_server.embedding_requests[0]["input"])


# Keeping


def test_what_was_paid_for_is_not_asked_again_and_comes_back_the_same(
    model_server: Any, embedder: Any
) -> None:
    first = embedder().embed(["one", "two"])
    again = embedder().embed(["two", "three", "one"])
    assert [r["input"] for r in model_server.embedding_requests] == [["one", "two"], ["three"]]
    assert (again[2], again[0]) == (first[0], first[1])
    embedder(model="openai/other").embed(["one"])
    assert len(model_server.embedding_requests) == 3, "another model's vectors are others"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: data.index(b"\n") + 1],
        lambda data: data.replace(b"embedding 1", b"embedding 2"),
        lambda data: data[: data.index(b"\n") + 1] + np.full(27, np.nan, "<f4").tobytes(),
        lambda data: data[: data.index(b"\n") + 1] + np.full(27, np.inf, "<f4").tobytes(),
        lambda data: data[: data.index(b"\n") + 1] + np.zeros(27, "<f4").tobytes(),
        lambda data: data[: data.index(b"\n") + 1] + np.full(27, 3e38, "<f4").tobytes(),
        lambda data: data + bytes(4 * MAX_DIMENSIONS),
        lambda data: b"\x80\x04cos\nsystem\n(S'exit 1'\ntR.",
    ],
)
def test_a_file_that_cannot_be_believed_is_asked_for_again(
    model_server: Any, embedder: Any, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    (first,) = embedder().embed(["one"])
    (path,) = files(tmp_path / "cache")
    good = path.read_bytes()
    path.write_bytes(spoil(good))
    assert embedder().embed(["one"]) == [first]
    assert len(model_server.embedding_requests) == 2
    assert path.read_bytes() == good


def test_another_texts_file_is_not_believed(
    model_server: Any, embedder: Any, tmp_path: Path, kit: Any
) -> None:
    embedder().embed(["one"])
    (path,) = files(tmp_path / "cache")
    other = path.parent.parent / text_id("two")[:2] / text_id("two")
    other.parent.mkdir(exist_ok=True)
    path.rename(other)
    assert embedder().embed(["two"])[0] == pytest.approx(unit(kit.letters("two")), abs=1e-6)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_passed_over(tmp_path: Path, kind: str) -> None:
    cache = EmbeddingCache(tmp_path, "m")
    vector = np.array([0.6, 0.8], np.float32)
    cache.keep(text_id("one"), vector)
    (path,) = files(tmp_path)
    found = cache.find(text_id("one"))
    assert found is not None
    assert np.array_equal(found, vector)
    moved = path.rename(tmp_path / "moved")
    if kind == "link":
        path.symlink_to(moved)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert cache.find(text_id("one")) is None


def test_a_folder_that_cannot_be_written_costs_calls_only(
    model_server: Any, settings: Make, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    made = LiteLlmEmbedder(
        "openai/embeds", settings(), tmp_path / "file", api_base=model_server.url
    )
    assert made.embed(["one"]) == made.embed(["one"])
    assert len(model_server.embedding_requests) == 2


def test_the_folder_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "kbexp" / "embeddings"


# Failing


def answered(*vectors: Any, **more: Any) -> dict[str, Any]:
    data = [{"index": i, "embedding": vector, **more} for i, vector in enumerate(vectors)]
    return {"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1}}


@pytest.mark.parametrize(
    "body",
    [
        answered([1.0, 2.0]),
        answered([1.0, 2.0], [1.0]),
        answered([1.0, 2.0], [0.0, 0.0]),
        answered([1.0], [float("nan")]),
        answered([1.0], ["x"]),
        answered([1.0], []),
        answered([1.0], None),
        answered([1.0], [1e308] * 3),
        answered([1.0] * (MAX_DIMENSIONS + 1), [1.0] * (MAX_DIMENSIONS + 1)),
        answered([1.0], [2.0], [3.0]),
        answered([1.0], [2.0], index=0),
        {"object": "list", "data": {}, "model": "m"},
        b"{not json",
    ],
)
def test_an_answer_that_is_none_is_one_sentence_and_nothing_is_kept(
    model_server: Any, embedder: Any, kit: Any, tmp_path: Path, body: Any
) -> None:
    model_server.embedding_script = [kit.Reply(body)]
    with pytest.raises(KbexpError) as raised:
        embedder().embed(["one", "two"])
    assert "\n" not in str(raised.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (401, "wrong key {key}", KEY_ENV),
        (404, "The model `embeds` does not exist", "algorithm.embedding_model"),
        (500, "broken: {key}", "The server failed"),
        (400, "maximum context length is 8192 tokens", "too long"),
    ],
)
def test_a_failed_call_names_the_settings_of_embeddings_and_no_key(
    model_server: Any, embedder: Any, kit: Any, status: int, message: str, words: str
) -> None:
    model_server.embedding_script = [kit.failure(status, message.format(key=kit.KEY))]
    with pytest.raises(KbexpError, match=words) as raised:
        embedder().embed(["one"])
    said = str(raised.value)
    assert kit.KEY not in said
    assert not re.search(r"\bllm\.(?:model|api)", said)
    assert raised.value.__cause__ is None
    assert len(model_server.embedding_requests) == (2 if status == 500 else 1)


def test_a_failure_that_passes_is_tried_again(model_server: Any, embedder: Any, kit: Any) -> None:
    model_server.embedding_script = [kit.failure(503, "busy"), kit.embeddings]
    assert len(embedder().embed(["one"])) == 1


def test_no_server_and_no_key(
    settings: Make, embedder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(KbexpError, match=r"No server answers at .*algorithm\.embedding_api_base"):
        embedder(api_base=address).embed(["one"])
    monkeypatch.delenv(KEY_ENV)
    with pytest.raises(ModelUnavailable, match=r"algorithm\.embedding_api_key_env") as raised:
        embedder()
    assert "llm" not in str(raised.value)


def test_a_model_that_cannot_be_used_is_left_alone_for_a_while(
    model_server: Any, embedder: Any, kit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_server.embedding_script = [kit.failure(401, "wrong key"), kit.embeddings]
    made = embedder()
    for _ in range(3):
        with pytest.raises(KbexpError, match=KEY_ENV):
            made.embed(["one"])
    assert len(model_server.embedding_requests) == 1
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + PAUSE_S)
    assert len(made.embed(["one"])) == 1


def test_vectors_of_two_lengths_are_not_compared(
    model_server: Any, embedder: Any, kit: Any, tmp_path: Path
) -> None:
    made = embedder()
    made.embed(["one"])
    model_server.embedding_script = [kit.Reply(answered([1.0, 2.0]))]
    with pytest.raises(KbexpError, match="have 27 numbers and 2: delete ") as raised:
        made.embed(["two"])
    assert str(tmp_path) in str(raised.value)


def test_eight_threads(embedder: Any, kit: Any) -> None:
    made = embedder()
    found: dict[str, Any] = {}

    def work(i: int) -> None:
        for j in range(4):
            text = f"kernel {'x' * i}{'y' * j}"
            (found[text],) = made.embed([text])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 32
    for text, vector in found.items():
        assert vector == pytest.approx(unit(kit.letters(text)), abs=1e-6)
