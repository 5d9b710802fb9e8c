"""How algorithms are compared: figures whose answers are known."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from kbexp.verdict import Interval

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_a_figure_is_the_geometric_mean_and_its_interval_that_of_other_seeds() -> None:
    from standings import middle

    # Tasks differ by much and seeds by nothing: nothing is uncertain about these tasks.
    alike = np.log(np.array([[2.0] * 5, [8.0] * 5]))
    figure = middle(alike)
    assert (figure.value, figure.low, figure.high) == pytest.approx((4.0, 4.0, 4.0))
    # All four draws are the lower seed's in one resample of 16, which is more than 2.5 %.
    apart = middle(np.log(np.array([[1.0, 4.0], [1.0, 4.0]])))
    assert apart.value == pytest.approx(2.0)
    assert (apart.low, apart.high) == (pytest.approx(1.0), pytest.approx(4.0))


def test_p_is_the_share_of_sign_flips_that_come_as_far() -> None:
    from standings import paired

    theirs = np.zeros((2, 5))
    better = theirs + 0.1
    found = paired(better, theirs)
    assert found.p == pytest.approx(2 / 2**10)
    assert found.ratio.value == pytest.approx(math.exp(0.1))
    assert (found.won, found.lost) == (2, 0)
    ours = np.array([[0.3, -0.1, 0.2, 0.05, 0.4], [-0.2, -0.15, 0.1, 0.25, -0.35]])
    flips = np.array(list(itertools.product([-1, 1], repeat=10)))
    means = np.abs((flips * ours.ravel()).mean(axis=1))
    share = float((means >= abs(ours.mean()) - 1e-12).mean())
    found = paired(ours, theirs)
    assert found.p == pytest.approx(share)
    assert (found.won, found.lost) == (1, 1)
    assert paired(theirs, ours).p == pytest.approx(share)


def test_p_values_are_adjusted_for_their_number() -> None:
    from standings import holm

    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_plot_has_a_panel_for_each_algorithm(tmp_path: Path) -> None:
    from standings import draw

    curves = {
        name: [(n, Interval(1 + n / 10, 1.0, 1.2 + n / 10)) for n in range(1, 6)]
        for name in ("ps", "beam", "random")
    }
    draw(tmp_path / "plot.svg", curves)
    first = (tmp_path / "plot.svg").read_text()
    assert first.count("FillBetweenPolyCollection") == 3
    draw(tmp_path / "again.svg", curves)
    assert (tmp_path / "again.svg").read_text() == first
