"""An invented countryside on a fine grid: a river, a road, fields of two farming systems, woods, hamlets, yards.

The ground is a map of owners: each fine cell belongs to one object (a field, a roof, a stretch of water) of one
material. Fields come from splitting rectangles again and again across their longer side, in a frame that is
turned differently on each bank of the river and gently warped, as land is parcelled out in fact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

DECK = (
    ("maize",) * 2
    + ("soybean",) * 2
    + ("sugar beet",) * 2
    + ("grassland", "grassland", "woodland", "woodland", "stubble", "stubble", "loamy soil", "loamy soil")
    + ("chalky soil", "hamlet", "hamlet", "yard")
)
"""Uses of 18 neighbouring parcels; dealing whole decks puts every class in many separate places."""

Piece = tuple[float, float, float, float]
"""A rectangle (u0, u1, v0, v1) in the frame of one bank."""

PARCEL_PIXELS = 190
"""Aimed area of a parcel: about 0.5 ha at 5 m pixels."""


Add = Callable[..., None]
"""`add(mask, material, surveyed, metres=0)`: a new object on the cells of `mask`."""


@dataclass(frozen=True)
class Ground:
    """What lies where, on a grid `fine` times finer than the scene's pixels.

    Attributes:
        owner: (H·fine, W·fine) int32, the object of each cell.
        material: the material of each object, by name.
        surveyed: (objects,) bool, whether the ground truth knows the object.
        height: (H·fine, W·fine) float64, metres of what stands there: trees and buildings.
    """

    owner: np.ndarray
    material: tuple[str, ...]
    surveyed: np.ndarray
    height: np.ndarray


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], length: float) -> np.ndarray:
    """A random field of mean 0 and about unit variance that varies over `length` cells, (rows, columns)."""
    down, across = (_spline(side, length) for side in shape)
    return 2.09 * down @ rng.standard_normal((down.shape[1], across.shape[1])) @ across.T


def _spline(side: int, length: float) -> np.ndarray:
    """Weights (side, knots) of the cubic B-splines on knots `length` cells apart."""
    knots = int(np.ceil(side / length)) + 3
    away = np.abs(np.arange(side)[:, None] / length + 1 - np.arange(knots))
    near = 2 / 3 - away**2 + away**3 / 2
    return np.where(away < 1, near, np.clip(2 - away, 0, None) ** 3 / 6)


def build(rng: np.random.Generator, *, height: int, width: int, fine: int) -> Ground:
    """The countryside of `height` x `width` pixels, each of `fine` x `fine` cells."""
    shape = (height * fine, width * fine)
    y, x = np.mgrid[: shape[0], : shape[1]] / fine
    bend_y, bend_x = (1.1 * smooth_field(rng, shape, 22 * fine) for _ in range(2))
    water, left_bank = _river(rng, y + bend_y, x + bend_x, height, width)
    road = _road(rng, y + 0.3 * bend_y, x, height, width)

    owner = np.zeros(shape, dtype=np.int32)
    tall = np.zeros(shape)
    material = ["grassland"]
    surveyed = [False]

    def add(mask: np.ndarray, name: str, known: bool, metres: float = 0.0) -> None:
        owner[mask] = len(material)
        tall[mask] = metres
        material.append(name)
        surveyed.append(known)

    parcels = []
    turn = rng.uniform(np.radians(8), np.radians(24))
    for bank, angle in ((left_bank, turn), (~left_bank, turn - rng.uniform(np.radians(20), np.radians(32)))):
        u = (x + bend_x) * np.cos(angle) + (y + bend_y) * np.sin(angle)
        v = (y + bend_y) * np.cos(angle) - (x + bend_x) * np.sin(angle)
        box = (u[bank].min(), u[bank].max(), v[bank].min(), v[bank].max()) if bank.any() else (0, 0, 0, 0)
        for piece in _pieces(rng, box):
            inside = bank & (u >= piece[0]) & (u < piece[1]) & (v >= piece[2]) & (v < piece[3])
            if inside.sum() >= 30 * fine * fine:
                parcels.append((inside, u, v, piece))
    ragged = smooth_field(rng, shape, 2.2 * fine)
    dealt = _dealt(rng, parcels, y, x)
    parcel = np.zeros(shape, dtype=np.int32)
    for number, (use, (inside, *_)) in enumerate(dealt, start=1):
        parcel[inside] = number
        if use == "hamlet":
            add(inside, "grassland", False)
        elif use == "yard":
            add(inside, "concrete" if rng.random() < 0.3 else "asphalt", True)
        else:
            add(inside, use, bool(rng.random() < 0.92), 16.0 if use == "woodland" else 0.0)
            if use == "woodland":
                edge = ndimage.distance_transform_edt(inside) / fine
                add(inside & (edge + 1.1 * ragged < 1.3), "grassland", False)
    _hedges(rng, add, parcel, fine)
    for use, (inside, u, v, piece) in dealt:
        if use == "hamlet":
            _houses(rng, add, inside & ~water & ~road, u, v, piece)
        elif use == "yard":
            _sheds(rng, add, inside & ~water & ~road, u, v, piece)
    banks = ndimage.distance_transform_edt(~water) / fine
    riparian = smooth_field(rng, shape, 9 * fine)
    add((banks < 0.8 + 1.4 * np.clip(riparian, 0, None)) & ~water, "woodland", False, 9.0)
    add(water, "water", True)
    verge = ndimage.binary_dilation(road, iterations=fine // 2) & ~road
    add(verge & ~water, "grassland", False)
    add(road, "asphalt", True)
    return Ground(owner, tuple(material), np.array(surveyed), tall)


def _river(
    rng: np.random.Generator, y: np.ndarray, x: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the river is, and which side is its left bank: a meandering line from the top to the bottom."""
    phase = rng.uniform(0, 2 * np.pi, 3)
    course = width * (0.36 + 0.24 * y / height + 0.09 * np.sin(2 * np.pi * 1.15 * y / height + phase[0]))
    course += width * 0.035 * np.sin(2 * np.pi * 2.9 * y / height + phase[1])
    slope = np.abs(np.gradient(course, axis=0) / np.maximum(np.gradient(y, axis=0), 1e-6))
    half_width = 2.9 + 0.7 * np.sin(2 * np.pi * 1.7 * y / height + phase[2])
    return np.abs(x - course) / np.sqrt(1 + slope**2) < half_width, x < course


def _road(rng: np.random.Generator, y: np.ndarray, x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where the road is: a gently curved line from the left to the right, about two pixels wide, and a branch."""
    phase = rng.uniform(0, 2 * np.pi)
    line = height * (0.60 - 0.20 * x / width + 0.05 * np.sin(2 * np.pi * x / width + phase))
    branch = width * (0.80 - 0.07 * y / height + 0.02 * np.sin(2 * np.pi * y / height + phase))
    return (np.abs(y - line) < 1.15) | ((np.abs(x - branch) < 0.75) & (y > line))


def _pieces(rng: np.random.Generator, box: Piece) -> list[Piece]:
    """`box` split across its longer side until the parts have a parcel's area."""
    u0, u1, v0, v1 = box
    if (u1 - u0) * (v1 - v0) < PARCEL_PIXELS * rng.uniform(0.8, 1.8):
        return [box]
    cut = rng.uniform(0.36, 0.64)
    if (u1 - u0) * rng.uniform(0.75, 1.35) > v1 - v0:
        middle = u0 + cut * (u1 - u0)
        return _pieces(rng, (u0, middle, v0, v1)) + _pieces(rng, (middle, u1, v0, v1))
    middle = v0 + cut * (v1 - v0)
    return _pieces(rng, (u0, u1, v0, middle)) + _pieces(rng, (u0, u1, middle, v1))


def _dealt(rng: np.random.Generator, parcels: list, y: np.ndarray, x: np.ndarray) -> list:
    """Every parcel with its use: neighbours, in the order of a winding walk, share a shuffled deck."""
    strip = 32.0
    centres = [(y[parcel[0]].mean(), x[parcel[0]].mean()) for parcel in parcels]
    walk = sorted(
        range(len(parcels)),
        key=lambda i: (centres[i][0] // strip, centres[i][1] * (-1) ** int(centres[i][0] // strip)),
    )
    uses: list[str] = []
    while len(uses) < len(walk):
        uses += [DECK[i] for i in rng.permutation(len(DECK))]
    return [(use, parcels[i]) for use, i in zip(uses, walk, strict=False)]


def _houses(rng: np.random.Generator, add: Add, free: np.ndarray, u: np.ndarray, v: np.ndarray, piece: Piece) -> None:
    """Tiled roofs of farms and terraces in rows along a lane, with trees between them."""
    u0, u1, v0, v1 = piece
    for row in np.arange(v0 + 3.0, v1 - 1.6, 6.0):
        for place in np.arange(u0 + 3.6, u1 - 2.0, 7.6):
            du, dv = rng.uniform(-0.4, 0.4, 2)
            half_u, half_v = rng.uniform(2.2, 3.1), rng.uniform(1.6, 2.1)
            house = free & (np.abs(u - place - du) < half_u) & (np.abs(v - row - dv) < half_v)
            if house.any():
                add(house, "tiled roof", True, 7.0)
            tree = free & ((u - place - 3.8) ** 2 + (v - row - du) ** 2 < rng.uniform(0.5, 1.1) ** 2)
            if tree.any() and rng.random() < 0.6:
                add(tree, "woodland", False, 8.0)


def _sheds(rng: np.random.Generator, add: Add, free: np.ndarray, u: np.ndarray, v: np.ndarray, piece: Piece) -> None:
    """A few large halls under painted metal, side by side on a paved yard."""
    u0, u1, v0, v1 = piece
    if u1 - u0 < v1 - v0:
        u, v, u0, u1, v0, v1 = v, u, v0, v1, u0, u1
    edges = np.linspace(u0 + 1.2, u1 - 1.2, max(2, int((u1 - u0) // 7.5)) + 1)
    for left, right in pairwise(edges):
        low, high = v0 + rng.uniform(1.5, 2.5), v1 - rng.uniform(1.5, 4.0)
        hall = free & (u > left + 0.7) & (u < right - 1.1) & (v > low) & (v < high)
        if hall.any():
            add(hall, "painted metal roof", True, 10.0)


def _hedges(rng: np.random.Generator, add: Add, parcel: np.ndarray, fine: int) -> None:
    """Hedgerows and farm tracks along some of the boundaries between parcels."""
    border = np.zeros(parcel.shape, dtype=bool)
    border[1:] |= parcel[1:] != parcel[:-1]
    border[:, 1:] |= parcel[:, 1:] != parcel[:, :-1]
    near = ndimage.distance_transform_edt(~border) / fine
    choice = smooth_field(rng, parcel.shape, 14 * fine)
    ragged = smooth_field(rng, parcel.shape, 1.3 * fine)
    add((near < 0.55 + 0.2 * ragged) & (choice > 0.75), "woodland", False, 4.0)
    add((near < 0.45) & (choice < -0.9), "chalky soil", False)
