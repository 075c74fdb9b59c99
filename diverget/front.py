"""Fronts of divergence against severity, one a patch: what no other follow-up of the patch beats in both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Front:
    """Follow-ups by patch, in each patch from the mildest on, (f,) each.

    Attributes:
        patches: positions.
        severity: to be small; divergence: to be large, at least 0.
    """

    patches: np.ndarray
    severity: np.ndarray
    divergence: np.ndarray

    @classmethod
    def empty(cls) -> Front:
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))

    def joined(self, other: Front) -> Front:
        """The fronts of both together: what is as mild as another and diverges no more is left out."""
        patches, severity, divergence = (
            np.concatenate([getattr(self, name), getattr(other, name)])
            for name in ("patches", "severity", "divergence")
        )
        order = np.lexsort((-divergence, severity, patches))
        patches, severity, divergence = patches[order], severity[order], divergence[order]
        start = np.concatenate([[True], patches[1:] != patches[:-1]]) if len(patches) else np.zeros(0, dtype=bool)
        # Within a patch the largest divergence so far: ranks by patch never fall, so one running maximum serves all.
        rank = np.empty(len(patches), dtype=np.int64)
        rank[np.lexsort((divergence, patches))] = np.arange(len(patches))
        before = np.maximum.accumulate(rank)
        least = np.concatenate([[-1.0], divergence[np.argsort(rank)][before[:-1]]]) if len(patches) else np.zeros(0)
        kept = start | (divergence > least)
        return Front(patches[kept], severity[kept], divergence[kept])
