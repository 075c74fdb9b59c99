"""Which bands matter: a finding's change undone group by group of neighbouring bands, or made in one group alone.

The *swing* of a finding is how far the quantised model's preference for the class it leaves over the class it takes
falls from source to follow-up; a group *restores* the share of it that comes back when the group looks as in the
source. The shares of all groups need not sum to 1, for networks are not linear. A group is *needed* by a finding where
it is no longer REVEALED with the group undone, and *enough* where the change of that group alone is REVEALED. None of
these is a rate: findings come from a search.

Source: occlusion as in Zeiler and Fergus, Visualizing and understanding convolutional networks, ECCV 2014, here over
    bands, with the source's own values in place of grey.
"""

from __future__ import annotations

import numpy as np

MOST_GROUPS = 12
"""Groups of bands: about 170 nm each between 400 and 2500 nm, as wide as the windows between the bands of water
vapour (engineering judgement)."""


def groups(bands: int) -> np.ndarray:
    """First and last band of each group, (g, 2) int64: as equal as can be, at most `MOST_GROUPS`."""
    parts = np.array_split(np.arange(bands), min(bands, MOST_GROUPS))
    return np.array([[part[0], part[-1]] for part in parts], dtype=np.int64)


def undone(sources: np.ndarray, follow_ups: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The follow-ups (f, h, w, b) with the bands of `group` (first, last) as in the sources."""
    x = follow_ups.copy()
    x[..., group[0] : group[1] + 1] = sources[..., group[0] : group[1] + 1]
    return x


def shares(sources: np.ndarray, follow_ups: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The share of each group (g, 2) in the squared change of each follow-up, (f, g); a row without change is 0."""
    by_band = ((follow_ups.astype(np.float64) - sources) ** 2).sum(axis=(1, 2))
    found = np.stack([by_band[:, first : last + 1].sum(axis=1) for first, last in among], axis=1)
    return np.asarray(found / np.maximum(found.sum(axis=1, keepdims=True), 1e-300))


def restored(
    source: np.ndarray, follow_up: np.ndarray, x: np.ndarray, left: np.ndarray, taken: np.ndarray
) -> np.ndarray:
    """The share of each swing that a change taken back restores, (f,): 0 for none of it, 1 for all.

    Args:
        source, follow_up, x: (f, k) the quantised model's probabilities on the source, on the follow-up and on the
            follow-up with the change undone in part.
        left, taken: (f,) the classes that it leaves and takes; it prefers `left` on the source, `taken` afterwards.
    """
    rows = np.arange(len(left))
    before, after, part = (p[rows, left].astype(np.float64) - p[rows, taken] for p in (source, follow_up, x))
    return np.asarray((part - after) / (before - after))
