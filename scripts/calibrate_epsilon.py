"""Measures how far apart kernels lie by a model of embeddings, to choose algorithm.epsilon by.

With no model it measures the token trigrams that are used without one. The kernels are those of
the offline playbook, some hundreds; what is asked of a model is kept in the user's cache.
"""

from __future__ import annotations

import argparse
import itertools
import sys

from kbexp.app.calibrate import KINDS, between, pairs, spreads
from kbexp.candidate import Embedder
from kbexp.config import LlmConfig
from kbexp.errors import KbexpError


def main() -> int:
    """Print a table of distances and two values of ε; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="LiteLLM's name of a model of embeddings")
    parser.add_argument("--api-base", help="the address of a server of your own")
    parser.add_argument("--api-key-env", help="the environment variable that holds the key")
    given = parser.parse_args()
    try:
        embedder = _embedder(given.model, given.api_base, given.api_key_env)
        found = spreads(embedder, pairs())
    except KbexpError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"distances by {given.model or 'token trigrams'}, of 10 %, half and 90 % of the pairs")
    for spread in found:
        low, middle, high = spread.quantiles
        print(f"  {spread.kind:14} {spread.pairs:4} pairs  {low:.3f}  {middle:.3f}  {high:.3f}")
    for kind, larger in itertools.pairwise(KINDS[:-1]):
        epsilon = between(found, kind, larger)
        if epsilon is None:
            print(f"no epsilon tells {kind} from {larger}")
        else:
            print(f"algorithm.epsilon={epsilon:.2g} holds {kind} back and lets {larger} pass")
    return 0


def _embedder(model: str | None, api_base: str | None, api_key_env: str | None) -> Embedder:
    if model is None:
        from kbexp.search.trigrams import Trigrams

        return Trigrams()
    from kbexp.proposals.embedding import LiteLlmEmbedder
    from kbexp.proposals.embedding_cache import default_folder

    return LiteLlmEmbedder(
        model, LlmConfig(), default_folder(), api_base=api_base, api_key_env=api_key_env
    )


if __name__ == "__main__":
    raise SystemExit(main())
