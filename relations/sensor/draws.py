"""Fields of independent values, float32, of any shape that broadcasts to the scene's."""

from __future__ import annotations

import numpy as np

Shape = tuple[int, int, int]


def normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Standard normal."""
    return rng.standard_normal(shape, dtype=np.float32)


def uniform(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Uniform in [0, 1)."""
    return rng.random(shape, dtype=np.float32)


def signed_uniform(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Uniform in [−1, 1)."""
    return 2 * rng.random(shape, dtype=np.float32) - 1
