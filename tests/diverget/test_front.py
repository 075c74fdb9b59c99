"""Fronts against the definition in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from diverget.front import Front


def beaten(i: int, patches: np.ndarray, severity: np.ndarray, divergence: np.ndarray) -> bool:
    """Whether another follow-up of the patch is no worse in both and better in one, or the same and earlier."""
    for j in range(len(patches)):
        if j == i or patches[j] != patches[i] or severity[j] > severity[i] or divergence[j] < divergence[i]:
            continue
        if severity[j] < severity[i] or divergence[j] > divergence[i] or j < i:
            return True
    return False


@pytest.mark.parametrize("seed", range(20))
def test_a_front_holds_what_nothing_beats(seed: int) -> None:
    rng = np.random.default_rng(seed)
    patches, severity = rng.integers(0, 4, 60), rng.integers(0, 12, 60) / 12
    divergence = rng.integers(0, 9, 60) / 9
    front = Front.empty()
    for part in np.array_split(np.arange(60), 5):
        front = front.joined(Front(patches[part], severity[part], divergence[part]))
    expected = sorted(
        (int(patches[i]), float(severity[i]), float(divergence[i]))
        for i in range(60)
        if not beaten(i, patches, severity, divergence)
    )
    assert list(zip(front.patches, front.severity, front.divergence, strict=True)) == expected


def test_an_empty_front_stays_empty() -> None:
    assert len(Front.empty().joined(Front.empty()).patches) == 0
