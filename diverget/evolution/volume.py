"""The hypervolume of a front: how much of the plane of severity and divergence it beats, as one number."""

from __future__ import annotations

import numpy as np

MOST_DIVERGENCE = float(np.log(2))
"""The Jensen-Shannon divergence of two models that share no class, in nats."""


def hypervolume(severity: np.ndarray, divergence: np.ndarray) -> float:
    """The share of [0, 1] × [0, ln 2] that points beat: those as severe or more, and diverging no more.

    The reference point is severity 1 and divergence 0, the worst of both; the ideal, ln 2 at severity 0, has 1.
    Points that are not finite do not count; without any it is 0.

    Args:
        severity: (n,) in [0, 1], to be small; divergence: (n,) Jensen-Shannon in nats, to be large.

    Source: Zitzler and Thiele, Multiobjective optimization using evolutionary algorithms - a comparative case study,
        PPSN V, 1998; the indicator is pymoo's.
    """
    from pymoo.indicators.hv import HV

    points = np.column_stack([severity, -np.asarray(divergence) / MOST_DIVERGENCE]).astype(np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return 0.0
    order = np.lexsort((points[:, 1], points[:, 0]))
    best = np.minimum.accumulate(points[order, 1])
    ahead = np.concatenate([[True], best[1:] < best[:-1]])  # only the front adds to it, and pymoo is slow on the rest
    return float(HV(ref_point=np.array([1.0, 0.0]))(points[order][ahead]))
