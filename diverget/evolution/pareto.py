"""Fronts, crowding and survival of NSGA-II over many populations at once.

Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE TEVC 6(2), 2002.
"""

from __future__ import annotations

import numpy as np

from diverget.evolution.population import Population
from diverget.evolution.streams import Streams


def ranks_of(people: Population) -> np.ndarray:
    """The number of its front for every feasible individual, (a, p) from 0; p for those that break the limits."""
    f = people.f
    lower = np.zeros((*people.violation.shape, people.violation.shape[1]), dtype=bool)
    higher = lower.copy()
    for one in np.moveaxis(f, 2, 0):
        lower |= one[:, :, None] < one[:, None, :]
        higher |= one[:, :, None] > one[:, None, :]
    dominates = lower & ~higher
    left = people.violation <= 0
    ranks = np.full(left.shape, left.shape[1])
    front = 0
    while left.any():
        first = left & ~(dominates & left[:, :, None]).any(axis=1)
        ranks[first] = front
        left &= ~first
        front += 1
    return ranks


def crowding_of(f: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The crowding distance (a, p) of every individual in its front; infinite at the ends and in fronts of one or two.

    Among equal values of an objective the later individual counts as the farther one, and an objective that is the
    same all over a front tells nothing, as in pymoo.
    """
    a, p, m = f.shape
    front = (np.arange(a)[:, None] * (p + 1) + ranks).ravel()
    total = np.zeros(a * p)
    size = np.bincount(front, minlength=a * (p + 1))
    for value in f.reshape(-1, m).T:
        order = np.lexsort((value, front))
        sorted_, group = value[order], front[order]
        starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
        counts = np.diff(np.append(starts, len(group)))
        with np.errstate(divide="ignore", invalid="ignore"):  # those not looked at are infinite
            extent = np.repeat(sorted_[starts + counts - 1] - sorted_[starts], counts)
            step = (sorted_[1:] - sorted_[:-1]) / extent[1:]
            step = np.where(group[1:] == group[:-1], step, np.inf)
        step = np.concatenate([[np.inf], step, [np.inf]])
        gap = np.where(extent > 0, step[:-1] + step[1:], 0.0)
        total[order] += gap
    return np.where(size[front] <= 2, np.inf, total / m).reshape(a, p)


def survivors(
    people: Population, ranks: np.ndarray, crowding: np.ndarray, keep: int, streams: Streams, patches: np.ndarray
) -> np.ndarray:
    """Who survives, (a, keep): front by front, of the front that does not fit whole the least crowded; then those that
    break the limits, the mildest first. Equal crowding is decided by lot, equal violation by the earlier place.
    """
    p = ranks.shape[1]
    before = (ranks[:, :, None] < ranks[:, None, :]).sum(axis=1)  # those of better fronts
    size = (ranks[:, :, None] == ranks[:, None, :]).sum(axis=1)
    feasible = ranks < p
    split = feasible & (before < keep) & (before + size > keep)
    within = np.where(feasible, np.arange(p), np.argsort(np.argsort(people.violation, axis=1, kind="stable"), axis=1))
    some = np.flatnonzero(split.any(axis=1))
    if len(some):
        drawn = streams.permutations(patches[some], np.ones(len(some), dtype=np.int64), split[some].sum(axis=1))
        patch, person = np.nonzero(split)
        first = np.repeat(np.cumsum(split[some].sum(axis=1)) - split[some].sum(axis=1), split[some].sum(axis=1))
        lot = np.empty(len(patch), dtype=np.int64)
        lot[first + drawn] = np.arange(len(patch))
        order = np.lexsort((-lot, -crowding[patch, person], patch))
        within[patch[order], person[order]] = np.arange(len(order))
    return np.lexsort((within, ranks), axis=-1)[:, :keep]
