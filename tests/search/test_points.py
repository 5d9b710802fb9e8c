"""Points: the nearest by sketches is the nearest."""

from __future__ import annotations

import numpy as np
import pytest

from kbexp.search.points import BLOCK, SHORTLIST, Points


@pytest.mark.parametrize("dimension", [8, 300])
@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_the_nearest_of_many_is_found(dimension: int, noise: float) -> None:
    rng = np.random.default_rng(0)
    count = BLOCK + 10 * SHORTLIST
    points = rng.standard_normal((count, dimension)).astype(np.float16)
    points /= np.linalg.norm(points.astype(np.float32), axis=1)[:, None].astype(np.float16)
    held = Points()
    for number, point in enumerate(points):
        held.add(f"{number:06}", point)
    assert len(held) == count
    for number in rng.integers(0, count, 20):
        away = noise * rng.standard_normal(dimension) / dimension**0.5
        place = (points[number] + away).astype(np.float16)
        distances = np.linalg.norm(points.astype(np.float64) - place.astype(np.float64), axis=1)
        distance, name = held.nearest(place)
        assert distance == pytest.approx(distances.min(), abs=1e-6)
        assert name == f"{distances.argmin():06}"
        since = int(number) + 1
        if since < count:  # none is near any more: one that is about as near will do
            later, _ = held.nearest(place, since)
            nearest = distances[since:].min()
            assert nearest - 1e-6 <= later <= 1.05 * nearest


def test_of_none_none_is_near() -> None:
    assert Points().nearest([1.0, 0.0]) == (float("inf"), "")


def test_of_equals_the_lower_name_counts() -> None:
    points = Points()
    for name in ("c", "a", "b"):
        points.add(name, [0.0, 1.0])
    assert points.nearest([0.0, 1.0]) == (0.0, "a")
    assert points.nearest([0.0, 1.0], since=2) == (0.0, "b")
    with pytest.raises(ValueError, match="dimension 2"):
        points.add("d", [0.0, 1.0, 2.0])
