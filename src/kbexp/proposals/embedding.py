"""Kernels as vectors by an embedding model behind LiteLLM; what was paid for is kept on disk."""

from __future__ import annotations

import math
import random
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kbexp.candidate import Usage, Vector
from kbexp.config import LlmConfig
from kbexp.errors import KbexpError, ModelUnavailable
from kbexp.kernel import text_id
from kbexp.proposals.embedding_cache import MAX_DIMENSIONS, EmbeddingCache
from kbexp.proposals.failures import CallFailed
from kbexp.proposals.litellm_setup import import_litellm
from kbexp.proposals.llm import Llm
from kbexp.proposals.pricing import usage_of
from kbexp.proposals.retries import with_retries, within

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

BATCH = 32
"""Pieces a call; providers take from 96 (Cohere) to 2,048 (OpenAI)."""

PIECE_CHARS = 12_000
"""Longer texts are embedded in pieces: most models take 8,192 tokens, and a token of code has two
characters or more."""

PAUSE_S = 60.0
"""How long a model that cannot be used is left alone: a search does not wait for it every time."""


_NOTHING = 0, Usage()
"""What was used before anything was asked."""


class LiteLlmEmbedder:
    """Embeds texts with any embedding model that LiteLLM reaches; may be called from any thread.

    Vectors have length one, so that distances mean the same for every model: from 0 to 2. A text
    in several pieces is the mean of theirs. `llm` gives the limits of a call and its retries.
    Raises ModelUnavailable for a key that is named and not there, before anything is asked.
    """

    def __init__(
        self,
        model: str,
        llm: LlmConfig,
        folder: Path,
        *,
        api_base: str | None = None,
        api_key_env: str | None = None,
        usd_per_mtok: float | None = None,
    ) -> None:
        self._config = replace(
            llm,
            model=model,
            api_base=api_base,
            api_key_env=api_key_env,
            models=[],
            extra={},
            input_usd_per_mtok=usd_per_mtok,
            cached_input_usd_per_mtok=None,
            output_usd_per_mtok=None if usd_per_mtok is None else 0.0,
        )
        self._cache = EmbeddingCache(folder, f"{model}\n{api_base or ''}")
        self._lock = threading.Lock()
        self._dimensions = 0
        self._gone = 0.0, ""
        self._spent = _NOTHING
        try:
            self._llm = Llm(self._config)
        except KbexpError as error:
            raise type(error)(_in_our_words(str(error))) from None

    @property
    def model(self) -> str:
        """The model's name."""
        return self._config.model

    def spent(self) -> tuple[int, Usage]:
        """Return what was used since this was last asked: how many texts, and their usage.

        The price is None where that of any of them is not known. What came from the cache was
        paid for before.
        """
        with self._lock:
            spent, self._spent = self._spent, _NOTHING
        return spent

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Return a vector of length one for each text; raises KbexpError where there is none."""
        found: dict[str, npt.NDArray[np.float32]] = {}
        for text in dict.fromkeys(texts):
            if (kept := self._cache.find(text_id(text))) is not None:
                found[text] = kept
        new = [text for text in dict.fromkeys(texts) if text not in found]
        pieces = [piece for text in new for piece in _pieces(text)]
        vectors = []
        for start in range(0, len(pieces), BATCH):
            vectors += self._ask(pieces[start : start + BATCH])
        for text in new:
            lengths = [len(piece) for piece in _pieces(text)]
            found[text] = _mean(vectors[: len(lengths)], lengths)
            del vectors[: len(lengths)]
            self._cache.keep(text_id(text), found[text])
        for vector in found.values():
            self._check_dimensions(len(vector))
        return [found[text].astype("float64").tolist() for text in texts]

    def _ask(self, pieces: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        """Ask for the vectors of some pieces; raises KbexpError."""
        config, key = self._config, self._llm.api_key()
        settings: dict[str, Any] = {
            "model": config.model,
            "timeout": config.timeout_s,
            # Both OpenAI's client and LiteLLM would try again on their own and hide the cause.
            "max_retries": 0,
            "num_retries": 0,
            "drop_params": True,
            "encoding_format": "float",
        }
        optional = {"api_base": config.api_base, "api_key": key}
        settings |= {name: value for name, value in optional.items() if value is not None}

        def call() -> Any:
            litellm = import_litellm()
            return within(
                config.timeout_s, lambda: litellm.embedding(input=list(pieces), **settings)
            )

        rng = random.Random(text_id("\0".join(pieces)))
        self._check_gone()
        try:
            response = with_retries(call, config, rng, key if config.api_key_env else None)
        except (CallFailed, ModelUnavailable) as error:
            sentence = _in_our_words(str(error))
            if isinstance(error, ModelUnavailable):
                self._gone = time.monotonic() + PAUSE_S, sentence
        else:
            self._count(response, len(pieces))
            return _vectors(response, len(pieces), config.model)
        raise KbexpError(sentence)

    def _check_gone(self) -> None:
        """Raise KbexpError at once where no call could succeed a moment ago."""
        until_s, sentence = self._gone
        if time.monotonic() < until_s:
            raise KbexpError(sentence)

    def _count(self, response: Any, pieces: int) -> None:
        used = usage_of(response, self._config)
        with self._lock:
            texts, before = self._spent
            both = before.cost_usd, used.cost_usd
            cost_usd = None if None in both else sum(usd or 0.0 for usd in both)
            tokens = before.input_tokens + used.input_tokens
            self._spent = texts + pieces, Usage(input_tokens=tokens, cost_usd=cost_usd)

    def _check_dimensions(self, dimensions: int) -> None:
        """Raise KbexpError where vectors of one model differ in length: they cannot be compared."""
        with self._lock:
            self._dimensions = self._dimensions or dimensions
            if dimensions != self._dimensions:
                raise KbexpError(
                    f"The embeddings of {self._config.model} have {self._dimensions} numbers and "
                    f"{dimensions}: delete {self._cache.folder}, where those of an earlier version "
                    "may lie."
                )


def _pieces(text: str) -> list[str]:
    """Return a text in pieces that a model takes; a text of white space alone is one all the same.

    Lone surrogates, which a text of a model may hold, cannot be sent.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    pieces = [text[i : i + PIECE_CHARS] for i in range(0, len(text), PIECE_CHARS)]
    return [piece for piece in pieces if piece.strip()] or ["(empty)"]


def _vectors(response: Any, count: int, model: str) -> list[npt.NDArray[np.float64]]:
    """Return a response's vectors in the order of the question; raises KbexpError for any other."""
    import numpy as np

    found: dict[int, npt.NDArray[np.float64]] = {}
    data = getattr(response, "data", None)
    for place, item in enumerate(data if isinstance(data, list) else []):
        index = _part(item, "index")
        numbers = _part(item, "embedding")
        if not isinstance(numbers, list) or not 0 < len(numbers) <= MAX_DIMENSIONS:
            break
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            break
        vector = np.array(numbers, dtype=np.float64)
        with np.errstate(over="ignore"):
            length = float(np.linalg.norm(vector))
        if not 0 < length < math.inf:
            break
        found[index if isinstance(index, int) else place] = vector
    if sorted(found) != list(range(count)) or len({len(v) for v in found.values()}) != 1:
        raise KbexpError(
            f"The embedding model {model} did not answer with {count} vectors of one length: "
            "check algorithm.embedding_model."
        )
    return [found[i] for i in range(count)]


def _part(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, dict) else getattr(item, name, None)


def _mean(
    vectors: Sequence[npt.NDArray[np.float64]], weights: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Return the mean of the directions of some vectors, itself of length one.

    Rounded as the cache rounds it, so that a vector is the same whether it comes from there or not.
    """
    import numpy as np

    total = np.sum(
        [w * (v / np.linalg.norm(v)) for v, w in zip(vectors, weights, strict=True)], axis=0
    )
    norm = float(np.linalg.norm(total))
    return np.asarray(total / norm if norm > 0 else vectors[0], dtype=np.float32)


def _in_our_words(sentence: str) -> str:
    """Name the settings of the embedding model where those of a language model were meant."""
    sentence = re.sub(r"\bllm\.(api_key_env|api_base|model)\b", r"algorithm.embedding_\1", sentence)
    return sentence.replace(", or choose llm=offline", "")
