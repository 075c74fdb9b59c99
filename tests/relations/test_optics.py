"""Optics against what does not share its code: an analytic curve, a count, a loop."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter
from scipy.ndimage import rotate as turned
from scipy.special import erf

from relations import get
from tests.relations.conftest import HIGH, column, cut, sensor_of


@pytest.mark.parametrize("sigma", [0.2, 0.5, 0.69, 1.3, 1.7])
def test_a_blurred_edge_is_an_error_function(sigma: float) -> None:
    edge = np.zeros((1, 41, 41, 2), np.float32)
    edge[:, :, 21:, 0] = 1
    edge[:, 21:, :, 1] = 1
    y = get("gaussian_blur").apply(edge, None, sensor_of(2), sigma=column(sigma))
    place = np.arange(-8, 10)
    expected = 0.5 * (1 + erf((place - 0.5) / (sigma * np.sqrt(2))))
    np.testing.assert_allclose(y[0, 20, place + 20, 0], expected, atol=1e-4)
    np.testing.assert_allclose(y[0, :, 20, 1], y[0, 20, :, 0], atol=1e-6)


@pytest.mark.parametrize("sigma", [0.69, 1.0, 1.7])
def test_a_blurred_point_keeps_its_light_and_has_the_variance_of_spread_and_pixel(sigma: float) -> None:
    point = np.zeros((1, 31, 25, 3), np.float32)
    point[0, 15, 12] = 100
    y = get("gaussian_blur").apply(point, None, sensor_of(3), sigma=column(sigma)).astype(np.float64)[0, :, :, 1]
    assert y.sum() == pytest.approx(100, rel=1e-5)
    down, across = np.arange(31) - 15, np.arange(25) - 12
    assert (y.sum(axis=1) * down**2).sum() / 100 == pytest.approx(sigma**2 + 1 / 12, rel=0.01)
    assert (y.sum(axis=0) * across**2).sum() / 100 == pytest.approx(sigma**2 + 1 / 12, rel=0.01)


@pytest.mark.parametrize(("tier", "fwhm"), [("in_spec", 1.97), ("stress", 4.0)])
def test_a_good_cameras_spread_becomes_the_one_that_the_bound_is_for(tier: str, fwhm: float) -> None:
    sigma = get("gaussian_blur").bounds(tier)["sigma"][1]
    place = np.arange(61) - 30
    # A point at many places between two pixels: together its images sample the spread densely.
    phases = np.linspace(-0.5, 0.5, 40, endpoint=False)
    spot = np.exp(-0.5 * ((place - phases[:, None]) / (1.1 / 2.3548)) ** 2).astype(np.float32)
    lines = np.ascontiguousarray(np.broadcast_to(spot[:, None, :, None], (40, 3, 61, 1)))
    y = get("gaussian_blur").apply(lines, None, sensor_of(1), sigma=column(*[sigma] * 40))[:, 1, :, 0]
    away = place - phases[:, None]
    variance = (y * away**2).sum() / y.sum() - ((y * away).sum() / y.sum()) ** 2
    assert 2.3548 * np.sqrt(variance) == pytest.approx(fwhm, rel=0.01)


def test_in_spec_no_blur_spreads_light_farther_than_the_gaussian_one() -> None:
    spreads = {}
    for name, param in (("gaussian_blur", "sigma"), ("defocus", "radius"), ("box_blur", "size")):
        value = get(name).bounds("in_spec")[param][1]
        spreads[name] = moments(get(name).apply(point(15), None, sensor_of(1), **{param: column(value)})[0, :, :, 0])[1]
    assert max(spreads["defocus"][0, 0], spreads["box_blur"][0, 0]) <= spreads["gaussian_blur"][0, 0] * 1.01


def test_a_wide_blur_is_scipys_with_the_pixel_added() -> None:
    x = cut(None, rows=2, size=(31, 27, 3)).x
    y = get("gaussian_blur").apply(x, None, sensor_of(3), sigma=column(1.2, 1.7))
    for row, sigma in enumerate((1.2, 1.7)):
        expected = gaussian_filter(x[row].astype(np.float64), np.sqrt(sigma**2 + 1 / 12), axes=(0, 1))
        np.testing.assert_allclose(y[row, 8:-8, 8:-8], expected[8:-8, 8:-8], atol=1e-3 * HIGH, rtol=0)


def test_blur_has_no_steps_over_its_dose() -> None:
    """The kernel's end moves by whole pixels; that must not show."""
    x = cut(None, rows=1, size=(25, 25, 3)).x
    sigma = np.linspace(0.01, 1.7, 400)
    y = get("gaussian_blur").apply(np.repeat(x, 400, axis=0), None, sensor_of(3), sigma=column(*sigma))
    steps = np.abs(np.diff(y[:, 12, 12].astype(np.float64), axis=0)).max(axis=1)
    roughness = np.abs(np.diff(steps))
    assert roughness.max() < 1e-3 * HIGH


def point(size: int, bands: int = 1) -> np.ndarray:
    """One pixel of 1 in the middle of a dark patch."""
    x = np.zeros((1, size, size, bands), np.float32)
    x[0, size // 2, size // 2] = 1
    return x


def moments(light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroid (2,) from the middle, and second moments about the middle (2, 2): of rows, then of columns."""
    light = light.astype(np.float64)
    grid = np.indices(light.shape) - (np.array(light.shape).reshape(2, 1, 1) - 1) / 2
    total = light.sum()
    return (grid * light).sum(axis=(1, 2)) / total, np.einsum("aij,bij,ij->ab", grid, grid, light) / total


@pytest.mark.parametrize(("length", "angle"), [(0.7, 20), (3, 0), (4.5, 90), (6, 30), (9, 135), (9, 63), (8.2, 180)])
def test_a_moving_point_leaves_a_line_of_that_length_and_direction(length: float, angle: float) -> None:
    y = get("motion_blur").apply(point(21), None, sensor_of(1), length=column(length), angle=column(angle))[0, :, :, 0]
    assert y.sum() == pytest.approx(1, rel=1e-5)
    centroid, second = moments(y)
    np.testing.assert_allclose(centroid, 0, atol=1e-5)
    # Up is towards lower row numbers. A point between pixels is shared by two: f · (1 − f) more along each axis.
    way = np.linspace(-length / 2, length / 2, 20001)
    direction = np.array([-np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
    part = (way[:, None] * direction) % 1
    expected = length**2 / 12 * np.outer(direction, direction) + np.diag((part * (1 - part)).mean(axis=0))
    np.testing.assert_allclose(second, expected, atol=0.01)


@pytest.mark.parametrize("length", [3.0, 6.0, 9.0])
def test_an_edge_seen_in_motion_is_a_ramp_of_the_motions_length(length: float) -> None:
    edge = np.zeros((1, 31, 31, 2), np.float32)
    edge[:, :, 16:, 0] = 1
    edge[:, 16:, :, 1] = 1
    both = np.repeat(edge, 2, axis=0)
    y = get("motion_blur").apply(both, None, sensor_of(2), length=column(length, length), angle=column(0, 90))
    place = np.arange(31) - 15.5
    ramp = np.clip(place / length + 0.5, 0, 1)
    on_ramp = np.abs(np.abs(place) - length / 2) > 0.5
    np.testing.assert_allclose(y[0, 15, on_ramp, 0], ramp[on_ramp], atol=0.01)
    np.testing.assert_allclose(y[1, on_ramp, 15, 1], ramp[on_ramp], atol=0.01)
    np.testing.assert_allclose(y[0, ..., 1], edge[0, ..., 1], atol=1e-6)
    np.testing.assert_allclose(y[1, ..., 0], edge[0, ..., 0], atol=1e-6)


@pytest.mark.parametrize("radius", [0.6, 1.0, 2.0, 2.7, 4.0])
def test_a_point_out_of_focus_is_an_even_disk(radius: float) -> None:
    y = get("defocus").apply(point(13), None, sensor_of(1), radius=column(radius))[0, :, :, 0].astype(np.float64)
    # The disk on a fine grid, each of its points shared by the pixels around it.
    fine = np.arange(-4.995, 5, 0.01)
    inside = np.where(fine[:, None] ** 2 + fine**2 <= radius**2, 1.0, 0.0)
    tent = np.maximum(0, 1 - np.abs(np.arange(-6, 7)[:, None] - fine))
    disk = tent @ inside @ tent.T / inside.sum()
    np.testing.assert_allclose(y, disk, atol=0.12 * disk.max())
    assert np.abs(y - disk).sum() < 0.1
    assert y.sum() == pytest.approx(1, rel=1e-5)
    _, second = moments(y)
    _, expected = moments(disk)
    np.testing.assert_allclose(second, expected, atol=0.02)
    assert radius**2 / 4 < second[0, 0] < radius**2 / 4 + 0.25
    for same in (y.T, y[::-1], y[:, ::-1], np.rot90(y)):
        np.testing.assert_allclose(same, y, atol=1e-6)


@pytest.mark.parametrize(("share", "reach"), [(0.02, 2.0), (0.3, 3.0), (0.1, 4.0)])
def test_stray_light_keeps_all_light_and_puts_a_share_of_it_far_away(share: float, reach: float) -> None:
    y = get("stray_light").apply(point(61), None, sensor_of(1), share=column(share), reach=column(reach))
    y = y[0, :, :, 0].astype(np.float64)
    assert y.sum() == pytest.approx(1, rel=1e-5)
    variance = reach**2 + 1 / 12
    down, across = np.indices((61, 61)) - 30
    halo = share * np.exp(-(down**2 + across**2) / (2 * variance)) / (2 * np.pi * variance)
    away = (down**2 + across**2 > 0) & (down**2 + across**2 < (3 * reach) ** 2)
    np.testing.assert_allclose(y[away], halo[away], rtol=0.08)
    assert y[30, 30] == pytest.approx(1 - share + halo[30, 30], rel=1e-3)


def test_an_even_scene_scatters_into_itself() -> None:
    flat = np.full((1, 9, 9, 2), 700, np.float32)
    y = get("stray_light").apply(flat, None, sensor_of(2), share=column(0.3), reach=column(4))
    np.testing.assert_allclose(y, flat, rtol=1e-6)


@pytest.mark.parametrize("size", [3, 5])
def test_an_odd_box_is_the_mean_of_so_many_pixels(size: int) -> None:
    x = cut(None, rows=2, size=(12, 11, 3)).x
    y = get("box_blur").apply(x, None, sensor_of(3), size=column(size, size))
    expected = uniform_filter(x.astype(np.float64), size=(1, size, size, 1))
    inner = slice(size // 2, -(size // 2))
    np.testing.assert_allclose(y[:, inner, inner], expected[:, inner, inner], rtol=1e-5)


@pytest.mark.parametrize("size", [1.4, 2.0, 2.7, 4.0])
def test_a_box_between_odd_sizes_covers_its_outermost_pixels_in_part(size: float) -> None:
    y = get("box_blur").apply(point(11), None, sensor_of(1), size=column(size))[0, :, :, 0]
    fine = np.linspace(-size / 2, size / 2, 200001)
    line = np.bincount(np.rint(fine).astype(int) + 5, minlength=11) / len(fine)
    np.testing.assert_allclose(y, np.outer(line, line), atol=1e-4)


@pytest.mark.parametrize(("size", "trim"), [((9, 7, 5), 0), ((1, 1, 3), 0), ((6, 1, 300), 0), ((11, 10, 520), 2)])
def test_the_median_is_that_of_each_patch_and_band_alone(size: tuple[int, int, int], trim: int) -> None:
    x = cut(None, rows=4, size=size).x
    y = get("median_blur").apply(x, None, sensor_of(size[2]), radius=column(2, 0, 1, 2), trim=trim)
    kept = slice(trim, -trim if trim else None)
    for row, radius in enumerate((2, 0, 1, 2)):
        window = 2 * radius + 1
        expected = median_filter(x[row], size=(window, window, 1), mode="nearest")
        assert np.array_equal(y[row], expected[kept, kept])
    alone = cv2.medianBlur(np.ascontiguousarray(x[0, :, :, -1]), 5)
    assert np.array_equal(y[0, :, :, -1], alone[kept, kept])


def test_a_median_removes_a_stuck_pixel_and_keeps_an_edge() -> None:
    x = np.full((1, 9, 9, 1), 100, np.float32)
    x[:, :, 5:] = 900
    stuck = x.copy()
    stuck[0, 3, 2] = HIGH
    assert np.array_equal(get("median_blur").apply(stuck, None, sensor_of(1), radius=column(1)), x)


@pytest.mark.parametrize(("down", "across"), [(1, 0), (0, 2), (-3, 1), (2, -3)])
def test_a_shift_by_whole_pixels_is_a_roll(down: int, across: int) -> None:
    x = cut(None, rows=2, size=(12, 11, 4)).x
    y = get("translation").apply(x, None, sensor_of(4), down=column(down, down), across=column(across, across))
    rolled = np.roll(x, (-down, -across), axis=(1, 2))
    assert np.array_equal(y[:, 3:-3, 3:-3], rolled[:, 3:-3, 3:-3])


@pytest.mark.parametrize(("down", "across"), [(0.5, 0.0), (-0.92, 1.09), (2.3, -1.7)])
def test_a_shift_by_parts_of_a_pixel_moves_a_wave_by_its_phase(down: float, across: float) -> None:
    wave = lambda i, j: 1000 + 500 * np.sin(2 * np.pi * i / 9 + 0.4) * np.cos(2 * np.pi * j / 11)  # noqa: E731
    i, j = np.indices((25, 27)).astype(float)
    x = wave(i, j)[None, :, :, None].astype(np.float32)
    y = get("translation").apply(x, None, sensor_of(1), down=column(down), across=column(across))
    inner = slice(5, -5)
    np.testing.assert_allclose(y[0, inner, inner, 0], wave(i + down, j + across)[inner, inner], atol=0.03 * 500)


@pytest.mark.parametrize("turns", [-2, -1, 1, 2])
@pytest.mark.parametrize("side", [1, 6, 9])
def test_a_quarter_turn_is_rot90(turns: int, side: int) -> None:
    x = cut(None, rows=2, size=(side, side, 5)).x
    x[:, ::2] = 0  # beside which any trace of a neighbour would show
    y = get("rotation").apply(x, None, sensor_of(5), angle=column(90 * turns, 90 * turns))
    assert np.array_equal(y, np.rot90(x, turns, axes=(1, 2)))


def test_half_a_turn_of_an_oblong_patch_reverses_both_directions() -> None:
    x = cut(None, rows=1, size=(6, 9, 5)).x
    y = get("rotation").apply(x, None, sensor_of(5), angle=column(180))
    assert np.array_equal(y, x[:, ::-1, ::-1])


@pytest.mark.parametrize("angle", [-170.0, -30.0, -2.0, 2.0, 30.0, 75.0])
def test_a_spot_is_carried_counter_clockwise_about_the_middle(angle: float) -> None:
    i, j = np.indices((31, 31)) - 15
    x = np.exp(-(i**2 + (j - 7) ** 2) / (2 * 1.8**2)).astype(np.float32)[None, :, :, None]
    y = get("rotation").apply(x, None, sensor_of(1), angle=column(angle))[0, :, :, 0]
    turn = np.deg2rad(angle)
    expected = np.exp(-((i + 7 * np.sin(turn)) ** 2 + (j - 7 * np.cos(turn)) ** 2) / (2 * 1.8**2))
    np.testing.assert_allclose(y, expected, atol=0.01)


@pytest.mark.parametrize("angle", [-20.0, 2.0, 45.0])
def test_a_turn_is_scipys(angle: float) -> None:
    x = gaussian_filter(cut(None, rows=1, size=(30, 30, 2)).x, (0, 2, 2, 0))
    y = get("rotation").apply(x, None, sensor_of(2), angle=column(angle))
    expected = turned(x, angle, axes=(2, 1), reshape=False, order=3)
    np.testing.assert_allclose(y[:, 8:-8, 8:-8], expected[:, 8:-8, 8:-8], atol=0.003 * HIGH)


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.95, 1.4, 2.0, 5.0])
def test_a_spot_is_magnified_about_the_middle(factor: float) -> None:
    size = 61
    wide = 2.5 / min(1, factor)
    i, j = np.indices((size, size)) - (size - 1) / 2
    spot = lambda i, j: np.exp(-((i + 1.5) ** 2 + (j - 2) ** 2) / (2 * wide**2))  # noqa: E731
    x = spot(i, j)[None, :, :, None].astype(np.float32)
    y = get("zoom").apply(x, None, sensor_of(1), factor=column(factor))[0, :, :, 0]
    inner = slice(25, 36) if factor < 1 else slice(10, 51)
    expected = spot(i / factor, j / factor)
    np.testing.assert_allclose(y[inner, inner], expected[inner, inner], atol=0.02)


def test_zooming_out_averages_what_it_can_no_longer_show() -> None:
    checks = (np.indices((1, 41, 41)).sum(axis=0) % 2 * 1000.0).astype(np.float32)[..., None]
    y = get("zoom").apply(checks, None, sensor_of(1), factor=column(0.5), trim=13)
    np.testing.assert_allclose(y, 500, atol=1)
    near = get("zoom").apply(checks, None, sensor_of(1), factor=column(2), trim=13)
    assert near.min() < 300 and near.max() > 700


@pytest.mark.parametrize(("slope", "step"), [(1.0, 0.0), (-0.4, 0.0), (0.0, 0.7), (0.15, -0.2), (-1.0, -1.0)])
@pytest.mark.parametrize("with_wavelengths", [True, False])
def test_each_band_of_a_point_moves_as_stated(slope: float, step: float, with_wavelengths: bool) -> None:
    centres = np.array([450.0, 700.0, 999.0, 1000.0, 1400.0, 2450.0]) if with_wavelengths else None
    y = (
        get("misregistration")
        .apply(point(11, 6), None, sensor_of(6, centres), slope=column(slope), step=column(step))[0]
        .astype(np.float64)
    )
    place = np.arange(6) / 5 if centres is None else (centres - 450) / 2000
    shift = slope * (place - 0.5) + step * (np.arange(6) >= 3)
    seen = (y.sum(axis=0) * (np.arange(11) - 5)[:, None]).sum(axis=0)
    np.testing.assert_allclose(seen, -shift, atol=1e-5)
    np.testing.assert_allclose(y.sum(axis=(0, 1)), 1, rtol=1e-5)
    assert np.array_equal(np.flatnonzero(y.any(axis=(1, 2))), [5])


def test_bands_that_are_not_shifted_keep_their_bits_and_one_band_has_no_other_to_miss() -> None:
    patches = cut(None, rows=2, size=(6, 7, 5))
    apply = get("misregistration").apply
    y = apply(patches.x, None, sensor_of(5), slope=column(0, 0), step=column(1, -0.3))
    assert np.array_equal(y[..., :3], patches.x[..., :3])
    assert np.array_equal(y[0, :, :-1, 3:], patches.x[0, :, 1:, 3:])
    alone = np.ascontiguousarray(patches.x[..., :1])
    assert np.array_equal(apply(alone, None, sensor_of(1), slope=column(1, -1), step=column(1, 1)), alone)


@pytest.mark.parametrize("size", [(4, 9, 1), (1, 1, 1), (5, 1, 2), (3, 6, 2)])
def test_few_shifted_bands_do_not_depend_on_the_batch(size: tuple[int, int, int]) -> None:
    x = cut(None, rows=9, size=size).x
    sensor = sensor_of(size[2], np.array([1100.0, 1200.0])[: size[2]])
    slope, step = np.random.default_rng(5).uniform(-1, 1, (2, 9)).astype(np.float32)[..., None, None, None]
    step[:3] *= 0.1
    apply = get("misregistration").apply
    together = apply(x, None, sensor, slope=slope, step=step)
    for rows in (slice(0, 1), slice(0, 3), slice(4, 5), slice(5, None), slice(None, None, -2)):
        apart = apply(x[rows], None, sensor, slope=slope[rows], step=step[rows])
        assert apart.tobytes() == together[rows].tobytes()


@pytest.mark.parametrize(
    ("name", "bounds", "shape", "pixels"),
    [
        ("motion_blur", {"length": (0, 9)}, (9, 9), 5),
        ("box_blur", {"size": (1, 5)}, (9, 9), 2),
        ("translation", {"down": (-0.92, 1.09), "across": (0, 0)}, (9, 9), 3),
        ("rotation", {"angle": (-180, 180)}, (25, 25), 7),
        ("rotation", {"angle": (-2, 2)}, (25, 25), 3),
        ("rotation", {"angle": (0, 90)}, (1, 1), 2),
        ("zoom", {"factor": (0.5, 2)}, (9, 9), 8),
        ("zoom", {"factor": (1, 5)}, (9, 9), 1),
        ("misregistration", {"slope": (-1, 1), "step": (-1, 1)}, (9, 9), 3),
    ],
)
def test_the_margin_is_what_the_geometry_needs(
    name: str, bounds: dict[str, tuple[float, float]], shape: tuple[int, int], pixels: int
) -> None:
    assert get(name).margin_for(bounds, shape) == pixels
