"""Which bands matter: groups that cover all bands once, and a change whose place is planted."""

from __future__ import annotations

import numpy as np
import pytest

from diverget.bands import MOST_GROUPS, groups, restored, shares, undone


@pytest.mark.parametrize("bands", [1, 2, 3, 11, 12, 13, 121, 224])
def test_groups_cover_every_band_once(bands: int) -> None:
    found = groups(bands)
    assert len(found) == min(bands, MOST_GROUPS)
    assert [b for first, last in found for b in range(first, last + 1)] == list(range(bands))
    sizes = found[:, 1] - found[:, 0]
    assert sizes.max() - sizes.min() <= 1


def test_a_planted_change_is_found_where_it_lies() -> None:
    rng = np.random.default_rng(1)
    sources = rng.random((3, 4, 4, 24)).astype(np.float32)
    follow_ups = sources.copy()
    follow_ups[..., 6:8] += 1  # the fourth of twelve pairs of bands
    follow_ups[2] = sources[2]
    among = groups(24)
    np.testing.assert_allclose(shares(sources, follow_ups, among)[:2], np.tile(np.arange(12) == 3, (2, 1)))
    assert not shares(sources, follow_ups, among)[2].any()
    for i, group in enumerate(among):
        np.testing.assert_array_equal(undone(sources, follow_ups, group), sources if i == 3 else follow_ups)
        np.testing.assert_array_equal(undone(follow_ups, sources, group), follow_ups if i == 3 else sources)


def test_the_swing_that_comes_back_is_a_share() -> None:
    source, follow_up = np.array([[0.8, 0.2]] * 4), np.array([[0.3, 0.7]] * 4)
    x = np.array([[0.8, 0.2], [0.3, 0.7], [0.55, 0.45], [0.2, 0.8]])
    left, taken = np.zeros(4, np.int64), np.ones(4, np.int64)
    np.testing.assert_allclose(restored(source, follow_up, x, left, taken), [1, 0, 0.5, -0.2])
