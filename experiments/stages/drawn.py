"""What a run keeps of every single random draw and clean patch, so that two models can be set beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from diverget.outcome import Outcome
from diverget.patches import Patches
from diverget.store import Store

CLEAN = "clean.npz"


@dataclass(frozen=True, eq=False)
class Drawn:
    """The random draws of one pair.

    Attributes:
        patches: (n,) ids of the patches; blocks: (n,) the block of each.
        outcomes: by tier and relation, the `Outcome` of every draw, (n, draws) uint8.
    """

    patches: np.ndarray
    blocks: np.ndarray
    outcomes: Mapping[tuple[str, str], np.ndarray]


@dataclass(frozen=True, eq=False)
class Clean:
    """What all pairs say of the clean patches.

    Attributes:
        patches: (n,) ids; blocks: (n,) the block of each; labels: (n,) class or `UNLABELLED`.
        said: by pair, (n,) the class that the quantised model gives.
        apart: by pair, (n,) bool, whether the two models disagree beyond ties.
        assessed, assessed_blocks: (m,) ids and blocks of the patches that are searched.
    """

    patches: np.ndarray
    blocks: np.ndarray
    labels: np.ndarray
    said: Mapping[str, np.ndarray]
    apart: Mapping[str, np.ndarray]
    assessed: np.ndarray
    assessed_blocks: np.ndarray


def drawn_file(number: int) -> str:
    """Where the draws of the pair of that number are kept."""
    return f"rates/outcomes-{number:02d}.npz"


def keep_drawn(
    store: Store, number: int, pair: str, patches: Patches, outcomes: Mapping[tuple[str, str], np.ndarray]
) -> None:
    """Write the draws of one pair."""
    store.write_arrays(
        drawn_file(number),
        {
            "pair": np.array(pair),
            "patches": patches.ids,
            "blocks": patches.blocks,
            **{f"{tier}:{relation}": found for (tier, relation), found in outcomes.items()},
        },
    )


def read_drawn(store: Store) -> dict[str, Drawn]:
    """The draws by pair; empty of a run that kept none.

    Raises:
        Damaged: a file is.
    """
    found = {}
    for path in sorted(store.path("rates").glob("outcomes-*.npz")):
        arrays = store.read_arrays(f"rates/{path.name}", having=("pair", "patches", "blocks"))
        found[str(arrays["pair"])] = Drawn(
            arrays["patches"],
            arrays["blocks"],
            {tuple(name.split(":", 1)): kept for name, kept in arrays.items() if ":" in name},  # type: ignore[misc]
        )
    return found


def keep_clean(
    store: Store,
    patches: Patches,
    said: Mapping[str, np.ndarray],
    apart: Mapping[str, np.ndarray],
    *,
    assessed: np.ndarray,
    assessed_blocks: np.ndarray,
) -> None:
    """Write `clean.npz`; `said` and `apart` are by pair, as in `Clean`."""
    store.write_arrays(
        CLEAN,
        {
            "patches": patches.ids,
            "blocks": patches.blocks,
            "labels": patches.labels,
            "assessed": assessed,
            "assessed_blocks": assessed_blocks,
            **{f"said:{pair}": classes.astype(np.int32) for pair, classes in said.items()},
            **{f"apart:{pair}": differ for pair, differ in apart.items()},
        },
    )


def read_clean(store: Store) -> Clean | None:
    """What `keep_clean` wrote; None of a run that kept none.

    Raises:
        Damaged: the file is.
    """
    if not store.has(CLEAN):
        return None
    wanted = ("patches", "blocks", "labels", "assessed", "assessed_blocks")
    arrays = store.read_arrays(CLEAN, having=wanted)

    def by_pair(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(f"{kind}:"): kept for name, kept in arrays.items() if name.startswith(f"{kind}:")}

    return Clean(**{name: arrays[name] for name in wanted}, said=by_pair("said"), apart=by_pair("apart"))


def revealed_in_both(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcomes of the same draws as hits, three arrays (n, draws) bool: REVEALED of each of two, eligible for both.

    Eligible is a draw inside the limits on a patch on which the two of a pair agree. Where one run has more draws a
    patch, its first ones are those of the other.
    """
    draws = min(first.shape[1], second.shape[1])
    first, second = first[:, :draws], second[:, :draws]
    out = (Outcome.INVALID, Outcome.INHERITED)
    both = ~np.isin(first, out) & ~np.isin(second, out)
    return first == Outcome.REVEALED, second == Outcome.REVEALED, both
