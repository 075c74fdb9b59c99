"""The machine-readable card of a run: what the report says, as JSON that other programs may rely on."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diverget.attribution import FAR, KINDS
from diverget.store import plain
from experiments.record import EVERYTHING, FEWEST_DRAWS, Row, Run, inseparable, read, spoken
from experiments.wording import count, in_tier, interval, number, percent, plural

SCHEMA = "diverget-card/1"
"""Raised when a key changes its meaning or goes; a new key leaves it."""

RATE_KEYS = (
    "draws", "eligible", "inherited", "rejected", "tied", "moved_together", "moved_apart", "revealed",
    "revealed_rate", "revealed_lower", "revealed_upper",
    "disagreement_rate", "disagreement_lower", "disagreement_upper", "blocks",
    "reference_moved_share", "revealed_given_float_stayed", "enough",
)  # fmt: skip

FINDING_KEYS = (
    "finding", "tier", "chain", "severity", "severity_found", "psnr", "spectral_angle", "patch", "row", "col",
)  # fmt: skip


def card(run_dir: Path) -> dict[str, Any]:
    """The card of the run in `run_dir`, in JSON's own types; what was not reached is None.

    Raises:
        FileNotFoundError: `run_dir` has no manifest.
        ValueError: a file of the run is damaged.
    """
    return card_of(read(run_dir))


def card_of(run: Run) -> dict[str, Any]:
    """The card of a run already read."""
    summary = run.summary or {}
    content = {
        "schema": SCHEMA,
        "name": run.manifest["name"],
        "digest": run.manifest["digest"],
        "complete": run.complete,
        "verdict": verdict(run),
        "criteria_met": summary.get("criteria_met") if summary.get("criteria") else None,
        "criteria": summary.get("criteria", []),
        "control": control(run),
        "unconfirmed": summary.get("unconfirmed"),
        "pairs": [_pair(run, pair) for pair in run.pairs],
        "data": _data(run.data) if run.data else None,
        "references": [
            {key: reference[key] for key in ("name", "kind", "file", "digest", "size_bytes", "parameters")}
            for reference in run.references
        ],
        "calibration": calibration(run),
        "runtime": run.manifest["runtime"],
        "versions": run.manifest["versions"],
        "timing": run.timing,
    }
    return plain(content)


def calibration(run: Run) -> dict[str, Any] | None:
    """How many patches set the ranges of the integer models, from where, and a digest of which they were."""
    if run.calibration is None:
        return None
    ids = ",".join(map(str, run.calibration["ids"]))
    told = {key: run.calibration[key] for key in ("source", "count")}
    return {**told, "digest": hashlib.sha256(ids.encode()).hexdigest()}


def verdict(run: Run) -> str:
    """The run in a sentence or two: the pair that parts most often, and what was found mildest."""
    tested = ranked(run)
    return f"{headline(run)} {how_mild(run, tested[0]) if tested else ''}".strip()


def headline(run: Run) -> str:
    """The first half of the verdict: how often, or why that cannot be said."""
    tested = ranked(run)
    control_state = control(run)
    parts = [] if run.complete else ["Incomplete run."]
    if control_state["passed"] is False:
        parts.append("The control failed: a model differs from itself, so no number below can be trusted.")
    if tested:
        parts.append(how_often(run, tested[0]))
    elif run.controls():
        names = " and ".join(dict.fromkeys(pair["reference"] for pair in run.controls()))
        parts.append(f"Control only: {names} against itself, with {plural(control_state['findings'], 'finding')}.")
    else:
        parts.append("No pair of models was reached.")
    return " ".join(parts)


def ranked(run: Run) -> list[Row]:
    """The pairs under test, the one that parts most often in spec first; then by number of findings."""

    def key(pair: Row) -> tuple[float, int]:
        row = headline_rate(run, pair, "in_spec")
        return -(row["revealed_rate"] if row else 0.0), -len(run.found(pair["pair"]))

    return sorted(run.tested(), key=key)


def headline_rate(run: Run, pair: Row, tier: str) -> Row | None:
    """The rate under chains of all relations, else the highest of a single one; None where too few draws count."""
    whole = run.rate(pair["pair"], tier)
    if whole and whole["enough"]:
        return whole
    rows = [row for row in run.rates if row["pair"] == pair["pair"] and row["tier"] == tier and row["enough"]]
    return max(rows, key=lambda row: row["revealed_rate"], default=None)


def sentence(run: Run, pair: Row) -> str:
    """What is known of one pair under test, in plain words: how often, then how mild."""
    return f"{how_often(run, pair)} {how_mild(run, pair)}".strip()


def how_often(run: Run, pair: Row) -> str:
    """The rate in spec as a sentence."""
    sensor = "a flying sensor" if run.data and run.data["kind"] == "scene" else "a real sensor"
    row = headline_rate(run, pair, "in_spec")
    name = spoken(pair)
    under = f"Under distortions {sensor} is measured to produce, {name}"
    if row is None:
        whole = run.rate(pair["pair"], "in_spec")
        why = f" ({why_not(whole)})" if whole else ""
        return f"How often {name} parts from float under in-spec distortions was not measured{why}."
    alone = "" if row["relation"] == EVERYTHING else f" under {row['relation']} alone"
    moved = f"float itself left its class in {percent(row['reference_moved_share'])} of them"
    if not row["revealed"]:
        return (
            f"{under} left float's class in none of {count(row['eligible'])} draws{alone} "
            f"(at most {percent(row['revealed_upper'])}); {moved}."
        )
    return (
        f"{under} left its class while float stayed in {percent(row['revealed_rate'])} "
        f"({interval(row['revealed_lower'], row['revealed_upper'])}) of the random draws{alone}; {moved}."
    )


def why_not(row: Row) -> str:
    """Why a rate is not told although it was drawn: too few draws, or too few count, or they lie too close together."""
    if row["eligible"] == row["draws"] < FEWEST_DRAWS:
        return f"{plural(row['draws'], 'draw')}, and {FEWEST_DRAWS} are needed"
    if row["eligible"] < FEWEST_DRAWS:
        agreed = " and on patches in agreement" if row["inherited"] else ""
        return f"only {count(row['eligible'])} of {count(row['draws'])} draws were within the limits{agreed}"
    return f"its draws lie in {plural(row['blocks'], 'block')} only"


def how_mild(run: Run, pair: Row) -> str:
    """The mildest finding as a sentence; that there is none; empty where nothing was searched."""
    found = run.found(pair["pair"])
    if found:
        first = found[0]
        return (
            f"Mildest found {in_tier(first['tier'])}: {first['chain']} (severity {number(first['severity'], 2)}) turns "
            f"{run.class_name(first['reference_class'])} into {run.class_name(first['quantised_class'])}. "
            f"{to_blame(run, pair)}"
        ).strip()
    spent = queries(run, pair["pair"])
    if not spent:
        return ""
    if not run.searches[pair["pair"]].feasible.any():
        return (
            f"No candidate in {count(spent)} queries of the search was inside the limits, so nothing follows from it."
        )
    return f"The search found none in {count(spent)} queries."


ACQUITTED = {
    "compression": "there before anything is quantised",
    "kernel": "gone where the same networks run in another way",
    "runtime": "gone where the same networks run in another way",
}
"""Why a flip of each kind is not one of quantisation."""


def to_blame(run: Run, pair: Row) -> str:
    """What the findings of a pair are put down to, where not all of them are put down to quantisation; else empty."""
    kinds = attributed(run, pair["pair"])
    found = run.found(pair["pair"])
    mildest = run.kind(found[0]["finding"]) if found else None
    if kinds is None or mildest is None:
        return ""
    total = sum(kinds.values())
    trained = inseparable(pair)
    cause = "the compressed version, training and quantisation together," if trained else "quantisation"
    if kinds["quantisation"] == total:
        return (
            f"To blame is {cause} for the run has no float network of what {trained} left, which would tell them apart."
            if trained
            else ""
        )
    rounding = _of_rounding(run, pair) if kinds["kernel"] else ""
    others = [kind for kind in ACQUITTED if kinds[kind]]
    why = " or ".join(dict.fromkeys(ACQUITTED[kind] for kind in others))
    if mildest == "quantisation":
        return (
            f"{cause[0].upper()}{cause[1:]} is to blame for {count(kinds['quantisation'])} of "
            f"{plural(total, 'finding')}; the others are {why}.{rounding}"
        )
    if kinds["quantisation"]:
        return (
            f"That one is a {mildest} flip, {ACQUITTED[mildest]}; {cause} is to blame for "
            f"{count(kinds['quantisation'])} of {plural(total, 'finding')}.{rounding}"
        )
    every = " or ".join(f"a {kind} flip" for kind in others)
    which = "The finding" if total == 1 else f"Each of the {count(total)} findings"
    return f"{which} is {every}, {why}: {cause} is not to blame.{rounding}"


def _of_rounding(run: Run, pair: Row) -> str:
    """That kernel flips are no fault of a kernel, where no kernel set is another model on clean patches; else empty."""
    clean = [row for row in run.kernels if row["pair"] == pair["pair"]]
    if not clean or any(far(row, clean) for row in clean):
        return ""
    return (
        " On clean patches all kernel sets agree as often: these kernel flips lie close to a boundary, within the "
        "rounding of the kernels, and are no fault of one."
    )


def far(row: Row, clean: Sequence[Row]) -> bool:
    """Whether the clean agreement under a kernel set is far from that under the run's own of the same side."""
    own = own_kernels(clean, row["side"])
    return row["agreement"] is not None and abs(row["agreement"] - own["agreement"]) > FAR


def own_kernels(clean: Sequence[Row], side: str) -> Row:
    """Of the kernel sets of a side on clean patches the one that the run had."""
    return next(row for row in clean if row["side"] == side and row["own"])


def attributed(run: Run, pair: str) -> dict[str, int] | None:
    """How many confirmed findings of a pair are put down to what, None where nobody asked."""
    kinds = [run.kind(finding["finding"]) for finding in run.found(pair)]
    if not any(row["pair"] == pair for row in (*run.attribution, *run.kernels)):
        return None
    return {kind: kinds.count(kind) for kind in KINDS}


def queries(run: Run, pair: str) -> int | None:
    """What the search of one pair spent, None where it did not start."""
    if pair in run.searches and len(run.searches[pair].queries):
        return int(run.searches[pair].queries[-1])
    return None


def partings(run: Run, pair: str) -> dict[str, int]:
    """How often the two sides of a pair parted while they agreed on the source, by where that was seen.

    "findings" confirmed or not, "draws" of rates and doses, follow-ups "searched" over all patches, and "patches" whose
    own search came upon it.
    """
    drawn = [row for row in (*run.rates, *run.doses) if row["pair"] == pair]
    outcomes = run.searches[pair].outcomes if pair in run.searches else {}
    return {
        "findings": sum(row["pair"] == pair for row in run.findings),
        "draws": sum(row["revealed"] + row["moved_apart"] for row in drawn),
        "searched": outcomes.get("REVEALED", 0) + outcomes.get("MOVED_APART", 0),
        "patches": sum(row["apart"] is not None for row in run.patchwise if row["pair"] == pair),
    }


def control(run: Run) -> dict[str, Any]:
    """The result of each model against itself; `passed` is None where no control ran."""
    names = [pair["pair"] for pair in run.controls()]
    parted = Counter[str]()
    for name in names:
        parted.update(partings(run, name))
    found = (run.summary or {}).get("control_findings") or parted["findings"]
    drawn = [row for row in (*run.rates, *run.doses) if row["control"]]
    walked = [row for row in run.patchwise if row["control"]]
    reached = bool(names) and (any(row["control"] for row in run.rates) or any(n in run.searches for n in names))
    told = (run.summary or {}).get("control_passed")
    if not names and told is not False:
        told = None
    return {
        "pairs": names,
        "findings": found,
        "revealed_draws": sum(row["revealed"] for row in drawn),
        "draws": sum(row["draws"] for row in drawn),
        "parted_patches": parted["patches"],
        "queries": sum(queries(run, name) or 0 for name in names) + sum(row["spent"] for row in walked),
        "passed": not found and not parted.total() and told is not False if reached or found else told,
    }


def _pair(run: Run, pair: Row) -> dict[str, Any]:
    name = pair["pair"]
    reference, quantised = pair["reference_model"], pair["quantised_model"]
    sides = {"reference": reference, "quantised": quantised}
    baseline = run.baseline.get(name)
    return {
        "pair": name,
        "reference": pair["reference"],
        "quantised": pair["quantised"],
        "control": pair["control"],
        "verdict": None if pair["control"] else sentence(run, pair),
        "size": {
            "reference_bytes": reference["size_bytes"],
            "quantised_bytes": quantised["size_bytes"],
            "ratio": reference["size_bytes"] / quantised["size_bytes"],
        },
        "digests": {"reference": reference["digest"], "quantised": quantised["digest"]},
        "kernels": {side: model.get("kernels") for side, model in sides.items()},
        "threads": {side: model.get("threads") for side, model in sides.items()},
        "runtimes": {side: model.get("runtime") for side, model in sides.items()},
        "coverage": quantised["coverage"]
        and {key: quantised["coverage"][key] for key in ("share", "kind", "total_macs", "float_ops")},
        "baseline": None
        if baseline is None
        else {k: v for k, v in baseline.items() if k not in ("flips", "per_class")},
        "rates": {
            tier: {
                row["relation"]: {key: row[key] for key in RATE_KEYS}
                for row in run.rates
                if row["pair"] == name and row["tier"] == tier
            }
            for tier in ("in_spec", "stress")
        },
        "search": _search(run, name),
        "findings": _findings(run, name),
        "attribution": _attribution(run, pair),
    }


def _search(run: Run, name: str) -> dict[str, Any] | None:
    if name not in run.searches:
        return None
    search = run.searches[name]
    found = run.found_together(name)
    return {
        "queries": queries(run, name),
        "candidates": len(search.queries),
        "feasible": int(search.feasible.sum()),
        "best": {objective: search.best(objective) for objective in search.scores},
        "patches_revealed": int(search.patches_revealed[-1]) if len(search.patches_revealed) else 0,
        "findings": len(found),
        "mildest_severity": found[0]["severity"] if found else None,
        "seconds": run.timing["search"].get(name, {}).get("seconds"),
        "outcomes": search.outcomes,
    }


def _findings(run: Run, name: str) -> dict[str, Any]:
    found = run.found(name)
    flips = Counter((f["reference_class"], f["quantised_class"]) for f in found)
    return {
        "count": len(found),
        "unconfirmed": sum(f["pair"] == name and not f["confirmed"] for f in run.findings),
        "mildest": {key: found[0][key] for key in FINDING_KEYS} | _classes(run, found[0]) if found else None,
        "flips": [
            {"from": run.class_name(a), "to": run.class_name(b), "count": n}
            for (a, b), n in sorted(flips.items(), key=lambda item: (-item[1], item[0]))
        ],
    }


def _attribution(run: Run, pair: Row) -> dict[str, Any] | None:
    name, trained = pair["pair"], inseparable(pair)
    kinds = attributed(run, name)
    if kinds is None:
        return None
    keys = ("side", "kernels", "own", "patches", "agreement", "accuracy", "tied", "drift")
    return {
        "findings": kinds | {"compression": None if trained else kinds["compression"]},
        "inseparable": trained,
        "clean": [{key: row[key] for key in keys} for row in run.kernels if row["pair"] == name],
    }


def _classes(run: Run, finding: Row) -> dict[str, str]:
    return {
        "from": run.class_name(finding["reference_class"]),
        "to": run.class_name(finding["quantised_class"]),
    }


def _data(data: Row) -> dict[str, Any]:
    keys = ("name", "kind", "digest", "shape", "value_range", "unit", "labelled", "masked", "warnings")
    split = ("protocol", "description", "patch", "counts", "assessed", "leakage", "notes")
    return {key: data[key] for key in keys} | {
        "bands": data["shape"][-1],
        "classes": len(data["class_names"]),
        "split": {key: data["split"][key] for key in split} | {"rated": data["split"].get("rated")},
    }
