"""Random numbers of many patches at once, each patch from a stream of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np


class Streams:
    """One generator a patch. What a patch draws depends on nothing but its own course.

    Every draw is one short call a patch; the numbers of all patches come back as one array, patch by patch.
    """

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self._of = tuple(generators)

    @classmethod
    def of(cls, rng: np.random.Generator, members: np.ndarray) -> Streams:
        """Streams told apart by the positions `members` (n,) in the problem, under one number drawn from `rng`."""
        root = int(rng.integers(np.iinfo(np.int64).max))
        return cls([np.random.default_rng(np.random.SeedSequence([root, int(member)])) for member in members])

    def random(self, patches: np.ndarray, counts: np.ndarray, *shape: int) -> np.ndarray:
        """Uniform numbers in [0, 1): `counts[i]` rows of `shape` for `patches[i]`, (sum of counts, *shape)."""
        return np.concatenate(
            [self._of[patch].random((count, *shape)) for patch, count in zip(patches, counts, strict=True)]
        )

    def integers(self, patches: np.ndarray, counts: np.ndarray, high: int) -> np.ndarray:
        """Whole numbers from 0 to `high` - 1, `counts[i]` of them for `patches[i]`."""
        return np.concatenate(
            [self._of[patch].integers(high, size=count) for patch, count in zip(patches, counts, strict=True)]
        )

    def permutations(self, patches: np.ndarray, times: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """For `patches[i]` as many permutations as `times[i]`, each of 0 to `sizes[i]` - 1, one after the other."""
        drawn = [
            self._of[patch].permutation(size)
            for patch, count, size in zip(patches, times, sizes, strict=True)
            for _ in range(count)
        ]
        return np.concatenate(drawn) if drawn else np.zeros(0, dtype=np.int64)


class Dealt:
    """Stands where pymoo's operators draw from a generator, and deals out numbers that the streams drew.

    An operator works on the rows of all patches at once and asks for numbers of all of them; a generator would mix the
    patches' streams.
    """

    def __init__(self, uniform: Iterable[np.ndarray], whole: np.ndarray | None = None) -> None:
        self._uniform = iter([numbers for numbers in uniform if numbers.size])
        self._whole = iter(() if whole is None else whole.tolist())

    def random(self, size: int | tuple[int, ...]) -> np.ndarray:
        """The next numbers; `size` must be theirs."""
        shape = size if isinstance(size, tuple) else (size,)
        if 0 in shape:
            return np.zeros(shape)
        numbers = next(self._uniform)
        assert numbers.shape == shape
        return numbers

    def integers(self, high: int) -> int:
        """The next whole number."""
        return int(next(self._whole))
