"""Token trigrams: what counts as near."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.search.trigrams import Trigrams, embed, tokens

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
    assert norm == 0.0 or math.isclose(norm, 1.0, rel_tol=1e-6)


@pytest.mark.parametrize(
    "text", ["", "def f(:\n  '''", "\x00", "\ud800", "(" * 5000, "\t x\n  y\n z"]
)
def test_texts_that_python_refuses(text: str) -> None:
    assert np.isfinite(embed(text)).all()


def test_an_embedder_gives_a_vector_a_text() -> None:
    one, other = Trigrams().embed([SOURCE, OTHER])
    assert list(one) == embed(SOURCE).tolist()
    assert len(one) == len(other)
    assert one != other
