"""Distances between kernels whose difference is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kbexp.app.calibrate import KINDS, Pair, Spread, between, pairs, spreads
from kbexp.proposals.offline.playbook import ENTRIES
from kbexp.search.trigrams import Trigrams, tokens


def test_pairs_differ_by_what_they_say() -> None:
    found = pairs()
    assert {pair.kind for pair in found} == set(KINDS)
    assert all(pair.one != pair.other for pair in found)
    assert not any("# playbook:" in text for pair in found for text in (pair.one, pair.other))
    for pair in found:
        if pair.kind == "a comment":
            assert tokens(pair.one) == tokens(pair.other)
        if pair.kind in ("a constant", "a name"):
            one, other = tokens(pair.one), tokens(pair.other)
            assert len(one) == len(other)
            assert one != other
    assert sum(pair.kind == "a comment" for pair in found) == sum(
        len(entry.variants) for entry in ENTRIES.values()
    )
    assert pairs() == found


def test_the_default_epsilon_lies_where_constants_are() -> None:
    found = {spread.kind: spread for spread in spreads(Trigrams(), pairs())}
    assert found["a comment"].quantiles == (0.0, 0.0, 0.0)
    low, _, high = found["a constant"].quantiles
    assert low < 0.1 < high
    assert high < found["a name"].quantiles[0]


def test_an_epsilon_lies_between_two_kinds_or_there_is_none() -> None:
    found = [Spread("a", 3, (0.0, 0.1, 0.2)), Spread("b", 3, (0.4, 0.5, 0.6))]
    assert between(found, "a", "b") == pytest.approx(0.3)
    assert between(found, "b", "a") is None
    (spread, *_) = spreads(Trigrams(), [Pair("a comment", "x = 1", "x = 2")])
    assert spread.quantiles[0] > 0


def test_the_script_prints_a_table_or_a_sentence(repository: Path) -> None:
    script = str(repository / "scripts" / "calibrate_epsilon.py")

    def run(*given: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, script, *given], capture_output=True, text=True)

    done = run()
    assert done.returncode == 0, done.stderr
    assert "holds a comment back and lets a constant pass" in done.stdout
    assert all(kind in done.stdout for kind in KINDS)
    refused = run("--model", "openai/x", "--api-key-env", "KBEXP_NO_SUCH_KEY")
    assert refused.returncode == 3
    assert "KBEXP_NO_SUCH_KEY" in refused.stderr
    assert "Traceback" not in refused.stderr
