"""Statistics of every relation on the fixture scene, and the file that keeps them.

Bless a change of behaviour with `python -m tests.relations.bless`, then read the diff.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from relations import ALL, Relation
from tests.relations.conftest import cut, distorted, dose

GOLDEN = Path(__file__).parents[1] / "golden" / "relations.json"

Statistics = dict[str, float]


def statistics(relation: Relation) -> Statistics:
    """A few numbers that any change of the relation moves, on 8 patches of 9 x 7 x 31 in the stress tier."""
    patches = cut(relation, rows=8, size=(9, 7, 31), seed=20)
    y = distorted(relation, patches, dose(relation, rows=8, seed=21)).astype(np.float64)
    change = y - patches.x
    weight = np.cos(np.arange(y.size)).reshape(y.shape)
    return {
        "mean": float(y.mean()),
        "std": float(y.std()),
        "mean change": float(change.mean()),
        "mean absolute change": float(np.abs(change).mean()),
        "largest change": float(np.abs(change).max()),
        "share moved": float((change != 0).mean()),
        "weighted": float(np.abs(weight * y).mean()),
    }


def main() -> None:
    """Write the golden file anew."""
    GOLDEN.parent.mkdir(exist_ok=True)
    goldens = {name: statistics(relation) for name, relation in sorted(ALL.items())}
    GOLDEN.write_text(json.dumps(goldens, indent=2) + "\n", encoding="utf-8")
    print(f"{len(goldens)} relations blessed in {GOLDEN}; read the diff before you commit it.")


if __name__ == "__main__":
    main()
