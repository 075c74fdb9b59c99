"""The hypervolume of a front, against areas counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from diverget.evolution.volume import MOST_DIVERGENCE, hypervolume


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([], 0.0),
        ([(0.0, 1.0)], 1.0),
        ([(1.0, 1.0)], 0.0),
        ([(0.5, 0.0)], 0.0),
        ([(0.5, 1.0), (0.2, 0.5)], 0.65),
        ([(0.5, 1.0), (0.2, 0.5), (0.6, 0.9), (0.2, 0.5), (np.nan, 1.0), (0.1, np.inf)], 0.65),
    ],
    ids=["nothing", "ideal", "too severe", "no divergence", "two steps", "beaten and broken ones"],
)
def test_areas_by_hand(points: list[tuple[float, float]], area: float) -> None:
    severity, divergence = np.array(points, dtype=np.float64).reshape(-1, 2).T
    assert hypervolume(severity, divergence * MOST_DIVERGENCE) == pytest.approx(area)


def test_random_fronts_as_by_counting_cells() -> None:
    rng = np.random.default_rng(2)
    severity, divergence = rng.integers(0, 21, (2, 30)) / 20
    centre = (np.arange(20) + 0.5) / 20
    beaten = (severity[:, None, None] <= centre[:, None]) & (divergence[:, None, None] >= centre)
    assert hypervolume(severity, divergence * MOST_DIVERGENCE) == pytest.approx(beaten.any(axis=0).mean())
