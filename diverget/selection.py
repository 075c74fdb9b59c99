"""DFLARE's rules that hold whatever is mutated: which operator is tried next, what is new, what is accepted.

Every function works on n chains at once.

Source: Tian et al., Finding Deviated Behaviors of the Compressed DNN Models for Image Classifications, ACM TOSEM 2023,
    doi 10.1145/3583564; code https://github.com/yqtianust/DFlare ; port https://github.com/Artistzq/dnc_toolkit
    (read for the facts; no code is taken from either).
"""

from __future__ import annotations

import numpy as np

DELTA = 1e-3
"""δ, what difference of probabilities novelty is worth: the threshold of the authors' code, in H an independent
port's."""

NOVEL = 0.5
"""A pair of probability vectors is new beyond this squared Euclidean distance from every known one: the authors'
code."""

NONE = -1
"""In place of an operator, before the first acceptance."""

ANEW = 0.5
"""Share of the mutations that draw their coordinates anew from the whole unit interval; the others move them by"""

STEP = 0.1
"""this standard deviation, reflected at 0 and 1. DFLARE's operators have no strength to move, so both are engineering
judgement: steps to climb, draws so as not to stay on one hill."""


def from_the_last(useful: np.ndarray, tried: np.ndarray, last: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The operators to try next (n,): Metropolis-Hastings from the rank of the last accepted one.

    Proposals are uniform and repeated until one is taken, as published, so the choice has probability proportional to
    min(1, (1 − p)^(k_new − k_last)), p one over the number of operators; it is drawn so at once. Uniform before the
    first acceptance. This is the rule as described: the look-up of the last rank is mended.

    Args:
        useful, tried: (n, operators) how often each was; last: (n,) the last accepted one, or `NONE`.
    """
    ranks = ranked(useful, tried, rng)
    came = np.take_along_axis(ranks, np.maximum(last, 0)[:, None], axis=1)
    stay = 1 - 1 / ranks.shape[1]
    return drawn(np.where(last[:, None] == NONE, 1.0, stay ** np.maximum(ranks - came, 0)), rng)


def ranked(useful: np.ndarray, tried: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rank of every operator, (n, operators): 0 for the best score, equal scores in random order."""
    score = useful / (tried + 1e-7)
    order = np.lexsort((rng.random(score.shape), -score), axis=1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return ranks


def drawn(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One column of each row (n, m) with probability proportional to its weight, (n,)."""
    upto = np.cumsum(weights, axis=1)
    return np.minimum((upto <= rng.random((len(weights), 1)) * upto[:, -1:]).sum(axis=1), weights.shape[1] - 1)


def not_below(difference: np.ndarray, novel: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which mutants are accepted, (n,) bool, and H = |difference| / δ + novelty: when H is at least the best."""
    merit = np.abs(difference) / DELTA + novel
    return merit >= best, merit


def unseen(known: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Which states (..., n, 2k) are new to their patch, (..., n) bool.

    Args:
        known: (slots, n, 2k) float32, the states of every patch, infinity in slots not yet used.
        states: float32, both models' probabilities side by side.
    """
    nearest = np.full(states.shape[:-1], np.inf)
    for slot in known:
        np.minimum(nearest, ((slot - states) ** 2).sum(axis=-1), out=nearest)
    return nearest > NOVEL


def remembered(known: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which states (n, 2k) are new to their patch, and the memory with them in it; `known` is written to."""
    novel = unseen(known, states)
    used = np.isfinite(known[:, :, 0]).sum(axis=0)
    if (used[novel] == len(known)).any():
        known = np.concatenate([known, np.full_like(known, np.inf)])
    known[used[novel], np.flatnonzero(novel)] = states[novel]
    return novel, known


def moved(u: np.ndarray, which: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The points u (n, d) of the unit cube with the coordinates `which` (n, d) mutated, by a step or drawn anew."""
    stepped = 1 - np.abs(1 - np.abs(u + STEP * rng.standard_normal(u.shape)))
    anew = rng.random((len(u), 1)) < ANEW
    return np.where(which, np.where(anew, rng.random(u.shape), np.clip(stepped, 0, 1)), u)
