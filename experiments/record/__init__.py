"""What a run directory says: its files as plain rows, the search's parts folded to curves. Loads no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diverget.models.quantisations import IN_FLOAT
from diverget.store import Damaged, Store, plain
from experiments.record.contents import FINDING_ARRAYS, check
from experiments.record.reading import read_json, read_rows, refuse_gone, telling_damage
from relations import TIERS

Row = Mapping[str, Any]

EVERYTHING = "random chain"
"""The name under which `rates.parquet` keeps the draws of all relations together."""

DIVERGENCES = (
    *("revealed_share", "js_divergence", "kl_divergence", "margin_gap", "top1_gap", "k_uncertainty"),
    *("layer_divergence", "novelty"),
)
"""The objectives that are to grow, in reading order: how far the two models part, and what they did not show before."""

DISTANCES = ("severity", "spectral_angle", "rmse", "one_minus_ssim")
"""The objectives that grow as the follow-up leaves its source."""


FEWEST_DRAWS = 30
"""Eligible draws below which a rate is not told."""

FEWEST_BLOCKS = 5
"""Blocks below which a rate is not told: fewer say nothing of how much blocks differ."""


@dataclass(frozen=True)
class Search:
    """The candidates of one pair in the order of their evaluation; every array has one entry a candidate.

    Attributes:
        queries: (m,) int64, spent up to and including each candidate.
        feasible: (m,) bool, inside the validity limits.
        severity: (m,) float64.
        scores: by objective, (m,) float64 in its natural sense.
        patches_revealed: (m,) int64, distinct patches revealed up to and including each candidate.
        outcomes: by outcome, the number of patches over all candidates.
    """

    queries: np.ndarray
    feasible: np.ndarray
    severity: np.ndarray
    scores: Mapping[str, np.ndarray]
    patches_revealed: np.ndarray
    outcomes: Mapping[str, int]

    def best(self, objective: str) -> float | None:
        """The best feasible score, or None without a feasible candidate."""
        scores = self.scores[objective][self.feasible & np.isfinite(self.scores[objective])]
        if not len(scores):
            return None
        return float(scores.min() if objective in DISTANCES else scores.max())


@dataclass(frozen=True)
class Run:
    """One run directory, read. What the run did not reach is empty, or None where it is one thing."""

    path: Path
    manifest: Row
    data: Row | None
    references: Sequence[Row]
    pairs: Sequence[Row]
    baseline: Mapping[str, Row]
    rates: Sequence[Row]
    searches: Mapping[str, Search]
    findings: Sequence[Row]
    archive: Sequence[Row]
    patchwise: Sequence[Row]
    patchwise_times: Sequence[Row]
    gaps: Sequence[Row]
    summary: Row | None
    timing: Row
    quicklook: Mapping[str, np.ndarray]
    attribution: Sequence[Row] = ()
    kernels: Sequence[Row] = ()
    blame: Sequence[Row] = ()
    repair: Row | None = None
    repaired: Sequence[Row] = ()
    doses: Sequence[Row] = ()
    flips: Sequence[Row] = ()
    places: Sequence[Row] = ()
    bands: Sequence[Row] = ()
    calibration: Row | None = None

    @property
    def complete(self) -> bool:
        return self.summary is not None and bool(self.summary["complete"]) and not self.summary["interrupted"]

    @property
    def class_names(self) -> Sequence[str]:
        return self.data["class_names"] if self.data else ()

    def tested(self) -> list[Row]:
        """The pairs under test, without the controls."""
        return [pair for pair in self.pairs if not pair["control"]]

    def controls(self) -> list[Row]:
        """The pairs of a model with itself."""
        return [pair for pair in self.pairs if pair["control"]]

    def found(self, pair: str) -> list[Row]:
        """The findings of one pair that reproduced in a fresh interpreter, in the order of `mildness`."""
        return sorted((f for f in self.findings if f["pair"] == pair and f["confirmed"]), key=mildness)

    def kind(self, finding: int) -> str | None:
        """What a finding is put down to (`diverget.attribution.KINDS`), None where that was not asked."""
        return self._kinds.get(finding)

    @cached_property
    def _kinds(self) -> dict[int, str]:
        return {row["finding"]: row["kind"] for row in self.attribution}

    def found_together(self, pair: str) -> list[Row]:
        """Those of `found` that the search over all patches led to."""
        return [finding for finding in self.found(pair) if finding["candidate"] is not None]

    def rate(self, pair: str, tier: str, relation: str = EVERYTHING) -> Row | None:
        """One row of the rates, or None where it was not measured."""
        for row in self.rates:
            if (row["pair"], row["tier"], row["relation"]) == (pair, tier, relation):
                return row
        return None

    def class_name(self, index: int) -> str:
        """The class's name; its number where the names do not reach."""
        return self.class_names[index] if 0 <= index < len(self.class_names) else f"class {index}"

    def arrays(self, finding: Row) -> dict[str, np.ndarray]:
        """The arrays of one finding, from its own file.

        Raises:
            Damaged: the file is, or lacks an array.
            FileNotFoundError: it is gone.
        """
        return Store(self.path).read_arrays(finding["file"], having=FINDING_ARRAYS)


def mildness(finding: Row) -> tuple[int, float, int]:
    """What findings are sorted by, the mildest first: in spec before under stress, for a severity is a share of the
    bounds of its own tier."""
    return TIERS.index(finding["tier"]), finding["severity"], finding["finding"]


def spoken(pair: Row) -> str:
    """What the report calls a pair: `int8 hybridsn`, or `hybridsn against itself`."""
    return f"{pair['reference']} against itself" if pair["control"] else f"{pair['quantised']} {pair['reference']}"


def unquantised(pair: Row) -> dict[str, Any] | None:
    """The facts of the network that the compression of a version left, in float.

    None without a compression, for one that trains under integers, and for what was quantised after it in runs of
    earlier versions.
    """
    version: dict[str, Any] = pair["quantised_model"]
    told = version.get("compression", {})
    found: dict[str, Any] | None = version if told.get("quantisation") in IN_FLOAT else told.get("unquantised")
    return found


def inseparable(pair: Row) -> str | None:
    """The compression of a version of which the run has no float network, so that it is one with the quantisation."""
    return None if unquantised(pair) else pair["quantised_model"].get("compression", {}).get("name")


def flip(pair: Row, kind: str | None) -> str | None:
    """What a page calls a flip of `pair` that is put down to `kind`."""
    return "training and quantisation" if kind == "quantisation" and inseparable(pair) else kind


def of_sides(pairs: Iterable[Row]) -> list[str]:
    """What the two files of pairs under test say against reading them as float against quantised, each note once."""
    found = []
    for pair in pairs:
        reference, quantised = pair["reference_model"], pair["quantised_model"]
        if reference["coverage"] and reference["coverage"]["kind"] != "float32":
            found.append(
                f"The reference {pair['reference']} is itself quantised ({reference['coverage']['kind']}): what is "
                "called float here is that file, and two quantised networks are compared; give the float network as "
                "the reference to learn what quantisation does."
            )
        if reference["digest"] == quantised["digest"]:
            found.append(
                f"Both sides of {spoken(pair)} are the same network, run in the same way: that pair is a control in "
                "effect, and says nothing of quantisation."
            )
    return list(dict.fromkeys(found))


def read(run_dir: Path) -> Run:
    """What stands in `run_dir`; only the manifest must exist.

    Raises:
        FileNotFoundError: there is no manifest.
        ValueError: the manifest has a schema this version does not know, a file is damaged or lacks a key, or one of a
            complete run is gone.
    """
    store = Store(Path(run_dir))
    with telling_damage(store):
        return _read(store)


def page_of_several(place: Path) -> str:
    """Of what `place` holds the page, a sweep or a study; empty where of neither."""
    return next((kind for kind in ("sweep", "study") if (place / f"{kind}.json").is_file()), "")


def refuse_page(place: Path) -> None:
    """Return where `place` is no folder of the page of several runs.

    Raises:
        ValueError: it is.
    """
    kind = page_of_several(place)
    if kind:
        raise ValueError(
            f"Expected the directory of one run, got {place}, the page of a {kind}; its runs lie beside it, and "
            f"{kind}.json names them."
        )


def _read(store: Store) -> Run:
    refuse_page(store.root)
    if not store.has("manifest.json"):
        raise FileNotFoundError(
            f"Expected a run directory with manifest.json, got {store.root}: name a directory below runs/, "
            "or start one with `diverget run`."
        )
    manifest = store.read_json("manifest.json")
    schema = manifest.get("schema") if isinstance(manifest, Mapping) else None
    if schema != 1:
        raise ValueError(
            f"Expected schema 1 in {store.path('manifest.json')}, got {schema!r}: "
            "render the report with the version of diverget that made the run."
        )

    def content(name: str, default: Any) -> Any:
        if not store.has(name):
            return default
        return plain(read_json(store, name))

    def rows(name: str, kind: str = "") -> list[Row]:
        if not store.has(name):
            return []
        found: list[Row] = plain(read_rows(store, name, kind))
        return found

    def parts(folder: str) -> list[Path]:
        return sorted(store.path(folder).glob("part-*.parquet"))

    manifest = content("manifest.json", None)
    summary = content("summary.json", None)
    if summary is not None:
        refuse_gone(store, manifest["config"])
    models = content("models.json", {"references": [], "pairs": []})
    timing = content("timing.json", {"stages": [], "search": {}})
    searches = _searches(parts("evaluations"))
    if summary is not None:
        _refuse_gone_parts(searches, timing["search"], store.path("evaluations"))
    rates = rows("rates.parquet") or [
        row for part in parts("rates") for row in rows(f"rates/{part.name}", "rates.parquet")
    ]
    return Run(
        path=store.root,
        manifest=manifest,
        data=content("data.json", None),
        references=models["references"],
        pairs=models["pairs"],
        baseline=content("baseline.json", {}),
        rates=[_with_shares(row) for row in rates],
        searches=searches,
        findings=rows("findings.parquet"),
        archive=rows("archive.parquet"),
        patchwise=rows("patchwise.parquet"),
        patchwise_times=content("patchwise.json", []),
        gaps=rows("gaps.parquet")
        or [row for part in parts("gaps") for row in rows(f"gaps/{part.name}", "gaps.parquet")],
        summary=summary,
        timing=timing,
        quicklook=store.read_arrays("quicklook.npz") if store.has("quicklook.npz") else {},
        attribution=rows("attribution.parquet"),
        kernels=rows("kernels.parquet"),
        blame=content("blame.json", {"pairs": []})["pairs"],
        repair=content("repair.json", None),
        repaired=rows("repair.parquet"),
        doses=[_with_shares(row) for row in rows("doses.parquet")],
        flips=rows("flips.parquet"),
        places=rows("places.parquet"),
        bands=rows("bands.parquet"),
        calibration=content("calibration.json", None),
    )


def _with_shares(row: Row) -> Row:
    """A row of the rates with how often float itself moved, the rate where it did not, and whether that is enough.

    A share of nothing is None.
    """
    eligible, moved = row["eligible"], row["moved_together"] + row["moved_apart"]
    stayed = eligible - moved
    return {
        **row,
        "reference_moved_share": moved / eligible if eligible else None,
        "revealed_given_float_stayed": row["revealed"] / stayed if stayed else None,
        "enough": enough(row),
    }


def enough(row: Row) -> bool:
    """Whether a row of the rates rests on enough draws and blocks to be told as a rate."""
    return bool(row["eligible"] >= FEWEST_DRAWS and row["blocks"] >= FEWEST_BLOCKS)


def _searches(parts: Sequence[Path]) -> dict[str, Search]:
    """The searches by pair, in the order of the parts."""
    if not parts:
        return {}
    wanted = ("pair", "feasible", "severity", "queries", "revealed")
    tables = []
    for part in parts:
        try:
            names = pq.read_schema(part).names
            columns = [n for n in names if n in wanted or n.startswith(("score:", "outcome:"))]
            table = pq.read_table(part, columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise Damaged(f"Expected Parquet in {part}, got damage", "remove that file and run again.") from error
        check(dict.fromkeys(table.column_names), dict.fromkeys(wanted), file=part)
        tables.append(table)
    table = pa.concat_tables(tables, promote_options="default")
    pair = np.asarray(table["pair"].to_pylist())
    return {
        str(name): _search(table.filter(pa.array(pair == name)))
        for name in sorted(set(pair), key=lambda n: int(np.argmax(pair == n)))
    }


def _refuse_gone_parts(searches: Mapping[str, Search], spent: Mapping[str, Row], folder: Path) -> None:
    """Return where a complete run has every candidate that its searches paid for; each costs as many queries.

    Raises:
        Damaged: a part of `folder` is gone. What is gone reads like candidates that were never asked for.
    """
    for pair, told in spent.items():
        queries = searches[pair].queries if pair in searches else np.zeros(0, np.int64)
        kept = len(queries) * int(queries[0]) if len(queries) else 0
        if kept != told["queries"]:
            raise Damaged(f"Expected every part of the search of {pair} in {folder}, got fewer", "run again.")


def _search(table: pa.Table) -> Search:
    table = table.sort_by("queries")

    def numbers(column: str) -> np.ndarray:
        return np.array(table[column].to_pylist(), dtype=np.float64)

    return Search(
        queries=numbers("queries").astype(np.int64),
        feasible=np.array(table["feasible"].to_pylist(), dtype=bool),
        severity=numbers("severity"),
        scores={
            name: numbers(f"score:{name}")
            for name in (*DIVERGENCES, *DISTANCES)
            if f"score:{name}" in table.column_names
        },
        patches_revealed=_distinct_so_far(table["revealed"].to_pylist()),
        outcomes={
            name.removeprefix("outcome:"): int(np.nansum(numbers(name)))
            for name in table.column_names
            if name.startswith("outcome:")
        },
    )


def _distinct_so_far(revealed: Sequence[Sequence[Row] | None]) -> np.ndarray:
    """How many distinct patches the rows have named up to and including each row."""
    seen: set[int] = set()
    counts = []
    for row in revealed:
        seen.update(int(hit["patch"]) for hit in row or ())
        counts.append(len(seen))
    return np.array(counts, dtype=np.int64)
