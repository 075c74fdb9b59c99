"""Radiometry against what does not share its code: an analytic curve, a count, a loop."""

from __future__ import annotations

import numpy as np

from relations import get, spectral_angle
from tests.relations.conftest import HIGH, LOW, column, cut


def test_brightness_scales_and_keeps_the_spectral_angle() -> None:
    patches = cut(None, rows=3, size=(9, 7, 31))
    y = get("brightness").apply(patches.x, None, patches.sensor, gain=column(-0.5, 0.05, 0.5))
    np.testing.assert_allclose(y.sum(axis=(1, 2, 3)) / patches.x.sum(axis=(1, 2, 3)), [0.5, 1.05, 1.5], rtol=1e-5)
    assert spectral_angle(patches.x, y).max() < 1e-3


def test_offset_adds_a_share_of_the_range_and_keeps_contrasts() -> None:
    patches = cut(None, rows=2, size=(9, 7, 31))
    y = get("offset").apply(patches.x, None, patches.sensor, level=column(-0.1, 0.02))
    np.testing.assert_allclose(
        (y - patches.x).mean(axis=(1, 2, 3)), [-0.1 * (HIGH - LOW), 0.02 * (HIGH - LOW)], rtol=1e-4
    )
    np.testing.assert_allclose(y.std(axis=(1, 2)), patches.x.std(axis=(1, 2)), rtol=1e-4)
