"""The ε-net: who is admitted, who is dropped, and what becomes of kernels without a vector."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbexp.candidate import Vector
from kbexp.errors import KbexpError
from kbexp.kernel import Kernel
from kbexp.search.epsilon_net import Dropped, EpsilonNet
from kbexp.search.trigrams import Trigrams, embed

HALF = 1e-3
"""What half precision may move a distance by."""


def distance(one: str, other: str) -> float:
    return float(np.linalg.norm(embed(one) - embed(other)))


def kernels(*texts: str) -> dict[int, Kernel]:
    return {number: Kernel(text) for number, text in enumerate(texts)}


def admit(
    epsilon: float, held: Sequence[Kernel], proposed: dict[int, Kernel]
) -> tuple[list[int], list[Dropped]]:
    """Do as a search does: drop what is near, admit the farthest, again and again."""
    net = EpsilonNet(epsilon, Trigrams())
    assert net.recall(held, proposed.values()) == ""
    left, admitted, dropped = dict(proposed), list[int](), list[Dropped]()
    while True:
        number, drops = net.sift(left)
        for drop in drops:
            del left[drop.number]
        dropped += drops
        if number is None:
            return admitted, dropped
        admitted.append(number)
        net.hold(left.pop(number))


def test_farthest_first() -> None:
    held = [Kernel("a b c d e f g h")]
    proposed = kernels("a b c d e f g i", "p q r s t u v w", "a b c d x y z h")
    admitted, dropped = admit(0.1, held, proposed)
    assert admitted == [1, 2, 0]
    assert dropped == []


def test_what_is_near_is_dropped_for_what_it_is_near_to() -> None:
    held = [Kernel("a b c d e f g h"), Kernel("p q r s t")]
    proposed = kernels("a b c  d e f g h", "1 2 3 4 5", "1 2 3 4  5", "p q r  s t")
    admitted, dropped = admit(0.1, held, proposed)
    assert admitted == [1]  # the lower number of two equals
    assert sorted((d.number, d.nearest_id, d.distance) for d in dropped) == [
        (0, held[0].id, 0.0),
        (2, proposed[1].id, 0.0),
        (3, held[1].id, 0.0),
    ]


WORDS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=8).map(" ".join)


@given(
    st.lists(WORDS, min_size=1, max_size=5),
    st.lists(WORDS, max_size=8, unique=True),
    st.floats(0.01, 1.4),
)
def test_the_net_is_a_net(held: list[str], proposed: list[str], epsilon: float) -> None:
    """Everything admitted lies apart; everything dropped lies near something held."""
    holding = [Kernel(text) for text in held]
    coming = kernels(*proposed)
    admitted, dropped = admit(epsilon, holding, coming)
    assert sorted([*admitted, *(d.number for d in dropped)]) == sorted(coming)
    points = [kernel.source for kernel in holding]
    for number in admitted:
        source = coming[number].source
        assert min(distance(source, point) for point in points) > epsilon - HALF
        points.append(source)
    for drop in dropped:
        assert drop.distance <= epsilon
        (nearest,) = {p for p in points if Kernel(p).id == drop.nearest_id}
        assert drop.distance == pytest.approx(
            distance(coming[drop.number].source, nearest), abs=HALF
        )
    for cut in range(len(admitted) + 1):  # cut halfway, it goes on as it would have
        first = admitted[:cut]
        rest = {n: kernel for n, kernel in coming.items() if n not in first}
        again, _ = admit(epsilon, [*holding, *(coming[n] for n in first)], rest)
        assert [*first, *again] == admitted


class Broken:
    """An embedder whose service is down."""

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        raise KbexpError("The embedding service does not answer: start it.")


def test_without_vectors_everything_is_admitted() -> None:
    net = EpsilonNet(0.5, Broken())
    fault = net.recall([Kernel("a b c d")], [Kernel("a b c  d")])
    assert "does not answer: start it" in fault
    number, dropped = net.sift(kernels("a b c  d"))
    assert (number, dropped) == (0, [])


@pytest.mark.parametrize("vector", [[], [1.0], [math.nan, 0.0], [[1.0, 0.0]], [math.inf, 1.0]])
def test_what_is_no_vector_is_refused(vector: Vector) -> None:
    net = EpsilonNet(0.5, Broken())
    held = Kernel("held")
    net.place(held, [0.0, 1.0])
    net.hold(held)
    with pytest.raises(ValueError, match="no vector"):
        net.place(Kernel("other"), vector)
