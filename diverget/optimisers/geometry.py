"""The survival of AGE-MOEA in NumPy.

pymoo's own needs Numba, whose fast mathematics gives other last digits on other machines. This gives what pymoo's
gives without Numba.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TINY = 1e-8
"""Lengths below this count as this, so that nothing is divided by 0."""

CURVATURES = (0.1, 20.0)
"""The norms between which a front's shape is told; below the first it counts as flat."""


def survive(scores: np.ndarray, fronts: Sequence[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who survives, with what rank and what crowding distance (the larger the better).

    Args:
        scores: (m, k) to minimise.
        fronts: the rows of each non-dominated front, best first, as many as it takes to reach `count`.
        count: how many survive.

    Returns:
        (m,) bool, (m,) int64 and (m,) float64.

    Source: Panichella, An adaptive evolutionary algorithm based on non-Euclidean geometry for many-objective
        optimization, GECCO 2019, as carried out in pymoo 0.6.2.
    """
    rank = np.full(len(scores), np.iinfo(np.int64).max)
    for number, front in enumerate(fronts):
        rank[front] = number
    last = len(fronts) - 1
    kept = rank < last
    crowding = np.zeros(len(scores))
    first = scores[rank == 0]
    ideal = first.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        crowding[rank == 0], norm, scale = _spread(first, ideal)
        for number in range(1, last):
            away = np.abs(scores[rank == number] / scale - ideal)
            crowding[rank == number] = 1 / (away**norm).sum(axis=1) ** (1 / norm)
    cut = np.flatnonzero(rank == last)
    order = np.argsort(crowding[cut])[::-1]
    kept[cut[order[: count - kept.sum()]]] = True
    return kept, rank, crowding


def _spread(front: np.ndarray, ideal: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """The crowding distances of the first front, the norm that fits its shape, and the scale of its objectives."""
    front = np.round(front, 12)
    members, objectives = front.shape
    crowding = np.zeros(members)
    if members < objectives:
        return crowding, 1.0, front.max(axis=0)
    front = front - ideal
    corners = _corners(front)
    scale = _intercepts(front, corners)
    front = front / scale
    crowding[corners] = np.inf
    norm = _shape(front, corners)
    lengths = np.linalg.norm(front, norm, axis=1)
    lengths[lengths < TINY] = 1
    apart = (np.abs(front[:, None] - front) ** norm).sum(axis=2) ** (1 / norm)
    apart = np.maximum(apart, TINY) / lengths[:, None]
    chosen = np.zeros(members, dtype=bool)
    chosen[corners] = True
    left = np.flatnonzero(~chosen).tolist()
    while left:
        to_chosen = apart[chosen][:, left].T
        near = np.partition(to_chosen, 1, axis=1)[:, :2].sum(axis=1) if chosen.sum() > 1 else to_chosen[:, 0]
        best = int(near.argmax())
        crowding[left[best]] = near[best]
        chosen[left.pop(best)] = True
    return crowding, norm, scale


def _corners(front: np.ndarray) -> np.ndarray:
    """For each objective the row nearest to its axis, no row twice."""
    members, objectives = front.shape
    if members <= objectives:
        return np.arange(members)
    corners = np.zeros(objectives, dtype=np.int64)
    for axis, along in enumerate(1e-6 + np.eye(objectives)):
        away = _from_line(front, along)
        away[corners[:axis]] = np.inf
        corners[axis] = away.argmin()
    return corners


def _from_line(points: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Squared distances of points from the line through the origin along `along`."""
    share = points @ along / (along @ along)
    return np.asarray(((points - share[:, None] * along) ** 2).sum(axis=1))


def _intercepts(front: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Where the plane through the corners cuts the axes; the front's largest values where it does not cut them."""
    scale = front.max(axis=0)
    try:
        plane = np.linalg.solve(front[corners], np.ones(front.shape[1]))
    except np.linalg.LinAlgError:
        plane = np.zeros(front.shape[1])
    if np.isfinite(plane).all() and (plane > 0).all() and np.isfinite(1 / plane).all():
        scale = 1 / plane
    scale[scale == 0] = 1.0
    return scale


def _shape(front: np.ndarray, corners: np.ndarray) -> float:
    """The p of the p-norm whose unit sphere the front resembles, told at the row in the middle of the front."""
    objectives = front.shape[1]
    away = _from_line(front, np.ones(objectives))
    away[corners] = np.inf
    norm = np.log(objectives) / np.log(1 / front[away.argmin()].mean())
    if np.isnan(norm) or norm <= CURVATURES[0]:
        return 1.0
    return float(min(norm, CURVATURES[1]))
