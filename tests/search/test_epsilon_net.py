"""The ε-net: what counts as near, and who is admitted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.kernel import Kernel
from kbexp.search.epsilon_net import EpsilonNet, embed, tokens

SOURCE = '''
import torch
from torch.utils.cpp_extension import load_inline

SRC = """
#include <math.h>
extern "C" void scale(const float* x, float* y, long n) {
    // one pass over all elements
    for (long i = 0; i < n; i++) y[i] = x[i] * 2.5f;  /* twice and a half */
}
"""

class ModelNew(torch.nn.Module):
    def __init__(self):
        super().__init__()  # nothing to hold

    def forward(self, x):
        """Scale."""
        y = torch.empty_like(x)
        lib.scale(x.data_ptr(), y.data_ptr(), x.numel())
        return y
'''

OTHER = """
import torch

class ModelNew(torch.nn.Module):
    def forward(self, a, b):
        return torch.softmax(a @ b.transpose(-1, -2), dim=-1).contiguous()
"""


def distance(one: str, other: str) -> float:
    return float(np.linalg.norm(embed(one) - embed(other)))


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.replace("# nothing to hold", "# whatever"),
        SOURCE.replace("// one pass over all elements", ""),
        SOURCE.replace("/* twice and a half */", "/* 2.5 */"),
        SOURCE.replace("    ", "\t"),
        SOURCE + "\n\n# the end\n",
    ],
)
def test_comments_and_white_space_do_not_count(other: str) -> None:
    assert other != SOURCE
    assert distance(SOURCE, other) == 0.0


def test_larger_changes_lie_farther() -> None:
    constant = distance(SOURCE, SOURCE.replace("2.5f", "3.5f"))
    renamed = distance(SOURCE, SOURCE.replace("y", "out"))
    other = distance(SOURCE, OTHER)
    assert 0 < constant < 0.2 < renamed < other <= math.sqrt(2)


def test_floor_division_is_no_comment() -> None:
    assert tokens("x = a // b + c") == ["x", "=", "a", "/", "/", "b", "+", "c"]


@given(st.text())
def test_any_text_has_a_vector(text: str) -> None:
    norm = float(np.linalg.norm(embed(text)))
    assert norm == 0.0 or math.isclose(norm, 1.0)


@pytest.mark.parametrize(
    "text", ["", "def f(:\n  '''", "\x00", "\ud800", "(" * 5000, "\t x\n  y\n z"]
)
def test_texts_that_python_refuses(text: str) -> None:
    assert np.isfinite(embed(text)).all()


def kernels(*texts: str) -> dict[int, Kernel]:
    return {number: Kernel(text) for number, text in enumerate(texts)}


def test_farthest_first() -> None:
    held = [Kernel("a b c d e f g h")]
    proposed = kernels("a b c d e f g i", "p q r s t u v w", "a b c d x y z h")
    admitted, dropped = EpsilonNet(0.1).admit(held, proposed)
    assert admitted == [1, 2, 0]
    assert dropped == []


def test_what_is_near_is_dropped_for_what_it_is_near_to() -> None:
    held = [Kernel("a b c d e f g h"), Kernel("p q r s t")]
    proposed = kernels("a b c  d e f g h", "1 2 3 4 5", "1 2 3 4  5", "p q r  s t")
    admitted, dropped = EpsilonNet(0.1).admit(held, proposed)
    assert admitted == [1]  # the lower number of two equals
    assert [(d.number, d.nearest_id, d.distance) for d in dropped] == [
        (0, held[0].id, 0.0),
        (2, proposed[1].id, 0.0),
        (3, held[1].id, 0.0),
    ]


WORDS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=8).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=5), st.lists(WORDS, max_size=8), st.floats(0.01, 1.4))
def test_the_net_is_a_net(held: list[str], proposed: list[str], epsilon: float) -> None:
    """Everything admitted lies apart; everything dropped lies near something held."""
    net = EpsilonNet(epsilon)
    holding = [Kernel(text) for text in held]
    coming = kernels(*proposed)
    admitted, dropped = net.admit(holding, coming)
    assert sorted([*admitted, *(d.number for d in dropped)]) == sorted(coming)
    points = [kernel.source for kernel in holding]
    for number in admitted:
        source = coming[number].source
        assert min(distance(source, point) for point in points) > epsilon
        points.append(source)
    for drop in dropped:
        nearest = min(distance(coming[drop.number].source, point) for point in points)
        assert nearest <= epsilon
        assert drop.distance == pytest.approx(nearest)
    for cut in range(len(admitted) + 1):  # cut halfway, it goes on as it would have
        first = admitted[:cut]
        rest = {n: kernel for n, kernel in coming.items() if n not in first}
        again, _ = net.admit([*holding, *(coming[n] for n in first)], rest)
        assert [*first, *again] == admitted
