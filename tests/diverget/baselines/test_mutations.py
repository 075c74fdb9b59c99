from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.ndimage import median_filter

from diverget.baselines import mutations
from diverget.baselines.mutations import OPERATORS, mutated
from relations.core import Sensor

SHAPES = [(28, 28, 1), (11, 9, 20), (5, 5, 300), (1, 1, 5), (2, 3, 1)]


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def whole_levels(rows: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng(9).integers(256, size=(rows, *shape)).astype(np.float32)


def fixed(side: int) -> Any:
    """A stream that always draws the blur of `side`."""
    return SimpleNamespace(choice=lambda sides, size: np.full(size, side))


def test_additive_noise_has_the_published_variance() -> None:
    grey = np.full((4, 100, 100, 3), 100.5, dtype=np.float32)
    moved = mutations.gaussian_noise(grey, rng(), False) - grey
    assert abs(moved.mean()) < 0.005
    assert moved.var() == pytest.approx(0.1, rel=0.02)


def test_truncated_noise_darkens_half_of_the_elements_by_a_level() -> None:
    grey = np.full((4, 100, 100, 3), 100, dtype=np.float32)
    moved = mutations.gaussian_noise(grey, rng(), True) - grey
    # -1 where the noise is in (-1, 0): P(-3.16 < Z < 0); below that -2.
    assert (moved == -1).mean() == pytest.approx(0.4992, abs=0.01)
    assert set(np.unique(moved)) <= {-2, -1, 0, 1}
    black = mutated(
        np.zeros((9, 20, 20, 1), np.float32), np.zeros(9, int), rng(), sensor=bytes_sensor(), eight_bit=True
    )
    assert black.max() <= 1, "truncation does not wrap round"


@pytest.mark.parametrize(("shape", "count"), [((28, 28, 1), 2), ((32, 32, 3), 7)])
def test_salt_and_pepper_hit_the_published_number_of_elements(shape: tuple[int, ...], count: int) -> None:
    done = mutations.salt_and_pepper(np.full((4000, *shape), 99, np.float32), rng(), False).reshape(4000, -1)
    salt, pepper = (done == 255).sum(axis=1), (done == 0).sum(axis=1)
    assert salt.max() == pepper.max() == count
    assert (salt + pepper + (done == 99).sum(axis=1) == done.shape[1]).all()
    assert salt.mean() > count - 0.1, "with replacement a few fall on one element"
    assert (done == 255).any(axis=0).mean() > 0.95, "every element can be hit"


def test_multiplicative_noise_draws_mean_and_variance_for_every_image() -> None:
    done = mutations.multiplicative_noise(np.full((3000, 20, 20, 1), 50, np.float32), rng(), False) / 50 - 1
    means, variances = done.mean(axis=(1, 2, 3)), done.var(axis=(1, 2, 3))
    assert (means.min(), means.max()) == pytest.approx((-0.5, 0.5), abs=0.03)
    assert np.quantile(means, [0.25, 0.5, 0.75]) == pytest.approx([-0.25, 0, 0.25], abs=0.03)
    assert np.quantile(variances, [0.25, 0.5, 0.75]) == pytest.approx([0.0125, 0.025, 0.0375], abs=0.002)
    assert variances.max() < 0.07
    assert abs(np.corrcoef(means, variances)[0, 1]) < 0.1


def test_multiplicative_noise_wraps_round_on_bytes_and_is_clipped_otherwise() -> None:
    class Half:
        """Draws the mean 0.5 and the variance 0."""

        def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
            return np.full(size, 0.5 if low < 0 else 0.0)

        def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
            return np.zeros(shape, dtype)

    x = np.full((1, 2, 2, 1), 250, np.float32)
    draws: Any = Half()
    assert (mutated(x, np.array([2]), draws, sensor=bytes_sensor(), eight_bit=True) == 119).all()
    assert (mutated(x, np.array([2]), draws, sensor=bytes_sensor(), eight_bit=False) == 255).all()


def test_values_are_changed_in_0_to_9_elements_to_whole_levels() -> None:
    done = mutations.changed_values(np.full((6000, 28, 28, 1), 0.5, np.float32), rng(), False).reshape(6000, -1)
    hit = (done != 0.5).sum(axis=1)
    assert np.bincount(hit, minlength=10)[:10] == pytest.approx(np.full(10, 600), abs=120)
    assert hit.max() == 9
    values = done[done != 0.5]
    assert (values == np.rint(values)).all()
    assert (values.min(), values.max()) == (0, 255)
    assert values.mean() == pytest.approx(127.5, abs=2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.parametrize(
    ("operator", "sides", "plain"),
    [
        (mutations.box_blur, (1, 2, 3, 4, 5), lambda x, side: cv2.blur(x, (side, side))),
        (mutations.gaussian_blur, (1, 3, 5, 7), lambda x, side: cv2.GaussianBlur(x, (side, side), 0)),
        (mutations.median_blur, (1, 3, 5, 7), lambda x, side: median_filter(x, size=side, mode="nearest")),
    ],
)
def test_blurs_are_opencv_s_band_by_band(
    operator: mutations.Operator,
    sides: tuple[int, ...],
    plain: Callable[[np.ndarray, int], np.ndarray],
    eight_bit: bool,
    shape: tuple[int, int, int],
) -> None:
    levels = whole_levels(3, shape) if eight_bit else rng().random((3, *shape), dtype=np.float32) * 255
    for side in sides:
        done = operator(levels, fixed(side), eight_bit)
        one_by_one = levels.astype(np.uint8) if eight_bit else levels
        expected = np.stack(
            [np.stack([plain(image[..., b].copy(), side) for b in range(shape[2])], axis=2) for image in one_by_one]
        )
        np.testing.assert_allclose(done, expected, rtol=0, atol=0 if eight_bit else 1e-3)
        assert side > 1 or np.array_equal(done, levels)


def test_the_median_of_bytes_is_opencv_s() -> None:
    levels = whole_levels(2, (13, 13, 1))
    for side in (3, 5, 7):
        done = mutations.median_blur(levels, fixed(side), True)
        for image, expected in zip(done, levels.astype(np.uint8), strict=True):
            np.testing.assert_array_equal(image[..., 0], cv2.medianBlur(expected[..., 0], side))


@pytest.mark.parametrize(
    ("operator", "sides"),
    [
        (mutations.box_blur, mutations.BOX),
        (mutations.gaussian_blur, mutations.GAUSSIAN),
        (mutations.median_blur, mutations.MEDIAN),
    ],
)
def test_every_window_is_as_likely(operator: mutations.Operator, sides: tuple[int, ...]) -> None:
    assert sides in ((1, 2, 3, 4, 5), (1, 3, 5, 7))
    image = np.zeros((2000, 9, 9, 1), np.float32)
    image[:, 4, 4] = 255
    image[:, :2] = rng().random((2, 9, 1)) * 255
    done = operator(image, rng(), False).reshape(2000, -1)
    _, counts = np.unique(done, axis=0, return_counts=True)
    assert sorted(counts) == pytest.approx([2000 / len(sides)] * len(sides), abs=90)


def test_blocks_of_blurs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = rng().random((5, 9, 8, 6), dtype=np.float32) * 255
    whole = [mutations.median_blur(levels, rng(seed), False) for seed in range(4)]
    monkeypatch.setattr(mutations, "BLOCK_VALUES", 1)
    monkeypatch.setattr(mutations, "CHANNELS", 4)
    for seed in range(4):
        np.testing.assert_array_equal(mutations.median_blur(levels, rng(seed), False), whole[seed])


def bytes_sensor() -> Sensor:
    return Sensor(0.0, 255.0, signal=np.zeros(1))


@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-300.0, 9000.0), (0.0, 255.0)])
def test_every_operator_stays_in_the_range_and_leaves_its_input_alone(
    shape: tuple[int, ...], eight_bit: bool, low: float, high: float
) -> None:
    x = (low + (high - low) * rng().random((14, *shape))).astype(np.float32)
    before = x.copy()
    done = mutated(
        x, np.arange(14) % 7, rng(), sensor=Sensor(low, high, signal=np.zeros(shape[-1])), eight_bit=eight_bit
    )
    np.testing.assert_array_equal(x, before)
    assert done.dtype == np.float32 and done.shape == x.shape and not np.shares_memory(done, x)
    assert done.min() >= np.float32(low) and done.max() <= np.float32(high)
    levels = (done.astype(np.float64) - low) / (high - low) * 255
    assert eight_bit == bool(np.allclose(levels, np.rint(levels), atol=1e-3))


def test_the_range_is_mapped_linearly() -> None:
    """The same draws on the same image in another unit are the same image in that unit."""
    levels = rng().random((21, 12, 12, 3), dtype=np.float32) * 255
    operators = np.arange(21) % 7
    plain = mutated(levels, operators, rng(), sensor=bytes_sensor(), eight_bit=False)
    sensor = Sensor(1000.0, 3550.0, signal=np.zeros(3))
    other = mutated(1000 + 10 * levels, operators, rng(), sensor=sensor, eight_bit=False)
    np.testing.assert_allclose(other, 1000 + 10 * plain, atol=0.02)


def test_each_row_meets_its_own_operator() -> None:
    x = rng().random((70, 15, 15, 2), dtype=np.float32)
    sensor = Sensor(0.0, 1.0, signal=np.zeros(2))
    # Additive noise hits every value by little, salt and pepper few by much.
    done = np.abs(mutated(x, np.arange(70) % 2, rng(), sensor=sensor, eight_bit=False) - x)
    assert ((done[::2] > 1e-6).mean(axis=(1, 2, 3)) > 0.98).all() and done[::2].max() < 7 / 255
    assert ((done[1::2] > 1e-6).sum(axis=(1, 2, 3)) <= 2).all() and done[1::2].max() > 0.5


def test_bytes_divided_by_255_come_back_to_the_bit() -> None:
    x = (np.arange(256, dtype=np.float32) / np.float32(255)).reshape(1, 16, 16, 1)
    done = mutated(x, np.array([1]), rng(), sensor=Sensor(0.0, 1.0, signal=np.zeros(1)), eight_bit=True)
    assert (done != x).sum() <= 2


def test_the_seven_stand_in_the_published_order() -> None:
    assert [operator.__name__ for operator in OPERATORS] == [
        "gaussian_noise",
        "salt_and_pepper",
        "multiplicative_noise",
        "changed_values",
        "box_blur",
        "gaussian_blur",
        "median_blur",
    ]
