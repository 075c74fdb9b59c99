"""Whether two runs may be set beside each other: what is refused, what is told, and which pairs belong together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.record import Row, Run
from experiments.wording import listed


def caveats(a: Run, b: Run) -> list[str]:
    """What differs between two runs that can be compared, a sentence each.

    Raises:
        ValueError: they cannot: one is not finished, failed its control, or was measured on other data, patches,
            relations or limits. All reasons are told.
    """
    unfit = [*_unfit(a, "A"), *_unfit(b, "B")]
    if unfit:
        raise ValueError(
            f"Expected two finished runs whose control passed, got {a.path.name} and {b.path.name}: {'; '.join(unfit)}."
        )
    reasons = _different_ground(a, b)
    if reasons:
        raise ValueError(
            f"Expected two runs that measured the same, got {a.path.name} and {b.path.name}: {'; '.join(reasons)}. "
            "Run both with one config in which only the quantised version differs."
        )
    return _told(a, b)


def _unfit(run: Run, side: str) -> list[str]:
    """Why a run has nothing that could be compared, and what to do."""
    if not run.complete or run.data is None:
        return [f"{side} is not finished; the command that began it goes on"]
    if (run.summary or {}).get("control_passed") is False:
        return [f"in {side} a model parts from itself; trust no number of it and see its report"]
    return []


LACKS = " kept no "
"""Between a run and what it lacks, in the words of `lacking`."""


def lacking(a: Run, b: Run, kept: tuple[Any, Any], what: str) -> str | None:
    """Which run kept nothing of `what`, where one did not."""
    names = [
        f"{side} ({run.path.resolve().name})" for side, run, its in zip("AB", (a, b), kept, strict=True) if its is None
    ]
    return f"{' and '.join(names)}{LACKS}{what}" if names else None


def together(reasons: Sequence[str]) -> str:
    """Reasons in a sentence, each once: all that one run lacks in one place, and the figures of one reason likewise."""
    ends: dict[tuple[str, str], list[str]] = {}
    for reason in dict.fromkeys(reasons):
        head, link, end = reason.partition(LACKS)
        if not link and reason.endswith(")"):
            head, link, end = reason.removesuffix(")").rpartition(" (")
        ends.setdefault((head, link) if link else (reason, ""), []).append(end)
    told = []
    for (head, link), each in ends.items():
        listing = listed(each, most=3, last="or" if link == LACKS else "and")
        told.append(f"{head}{link}{listing}{')' if link == ' (' else ''}")
    return "; ".join(told)


def _different_ground(a: Run, b: Run) -> list[str]:
    """Why the draws of two runs are not the same draws."""
    assert a.data is not None and b.data is not None
    one, two = a.manifest["config"], b.manifest["config"]
    parts = (("data", "digest"), ("sensor range", "value_range"), ("classes", "class_names"))
    other = [what for what, key in parts if a.data[key] != b.data[key]]
    found = [f"other {listed(other)}"] if other else []
    if a.data["split"]["patch"] != b.data["split"]["patch"]:
        found.append(f"patches of {a.data['split']['patch']} and {b.data['split']['patch']} pixels")
    split = [name for name in one["split"] if name != "calibration" and one["split"][name] != two["split"].get(name)]
    if split:
        found.append(f"another split ({listed(split)})")
    if one["seed"] != two["seed"]:
        found.append(f"the seeds {one['seed']} and {two['seed']}")
    if one["relations"] != two["relations"]:
        names = [{entry["name"] for entry in config["relations"]} for config in (one, two)]
        alone = sorted(names[0] ^ names[1])
        found.append(f"other relations ({listed(alone)})" if alone else "other bounds of the relations")
    if one["tier"] != two["tier"]:
        found.append(f"the tiers {one['tier']} and {two['tier']}")
    if one["limits"] != two["limits"]:
        found.append(f"the limits {one['limits']} and {two['limits']}")
    return found


def _told(a: Run, b: Run) -> list[str]:
    one, two = a.manifest["config"], b.manifest["config"]
    found = []
    uncontrolled = [side for side, run in (("A", a), ("B", b)) if not run.controls()]
    if uncontrolled:
        found.append(
            f"No control was run in {listed(uncontrolled)}: whether a model there parts from itself was not tested."
        )
    versions = a.manifest["versions"], b.manifest["versions"]
    other = [
        f"{name} {versions[0].get(name)} → {versions[1].get(name)}"
        for name in sorted(versions[0].keys() | versions[1].keys())
        if versions[0].get(name) != versions[1].get(name)
    ]
    if other:
        found.append(f"The runs were made with other versions: {listed(other, most=12)}.")
    if one["rates"]["tiers"] != two["rates"]["tiers"]:
        found.append("Draws were made in other tiers; only those of both are compared.")
    if one["rates"]["draws"] != two["rates"]["draws"]:
        fewer = min(one["rates"]["draws"], two["rates"]["draws"])
        found.append(f"The runs have different numbers of draws; the first {fewer} a patch are compared.")
    if one["split"]["calibration"] != two["split"]["calibration"]:
        found.append("The models were calibrated on different numbers of patches.")
    if one["search"] != two["search"]:
        found.append("The searches differ in method or budget, so the counts of findings do not compare.")
    if one["patchwise"] != two["patchwise"]:
        found.append("The per-patch searches differ; only arms with the same budget on the same limits are compared.")
    return found


def pair_caveats(first: Row, second: Row) -> list[str]:
    """What differs between the sides of two pairs beyond the quantised network."""
    names = f"{first['pair']} and {second['pair']}" if first["pair"] != second["pair"] else first["pair"]
    found = []
    if first["reference_model"]["digest"] != second["reference_model"]["digest"]:
        found.append(
            f"{names}: the float networks differ, so a difference is that of two pairs and not of quantisation alone."
        )
    for side in ("reference", "quantised"):
        ways = [{key: pair[f"{side}_model"].get(key) for key in ("kernels", "threads", "runtime")}
                for pair in (first, second)]  # fmt: skip
        if ways[0] != ways[1]:
            found.append(f"{names}: the {side} models run under other kernels, threads or runtimes.")
    return found


def matched(a: Run, b: Run, pair_a: str | None, pair_b: str | None) -> tuple[list[tuple[Row, Row]], list[str]]:
    """The pairs that belong together, and what is left out: those asked for, else those of one name, else the only two.

    Raises:
        ValueError: none belong together, or an asked one does not exist.
    """
    ours, theirs = ({pair["pair"]: pair for pair in run.tested()} for run in (a, b))
    if pair_a is not None or pair_b is not None:
        first = _chosen(ours, pair_a, pair_b, "A")
        return [(first, _chosen(theirs, pair_b, first["pair"], "B"))], []
    common = [name for name in ours if name in theirs]
    if common:
        alone = [
            f"Only {side} has {listed(left)}; not compared."
            for side, left in (("A", [n for n in ours if n not in theirs]), ("B", [n for n in theirs if n not in ours]))
            if left
        ]
        return [(ours[name], theirs[name]) for name in common], alone
    if len(ours) == len(theirs) == 1:
        return [(next(iter(ours.values())), next(iter(theirs.values())))], []
    raise ValueError(
        f"Expected pairs of one name in both runs, got {listed(list(ours)) or 'none'} in A and "
        f"{listed(list(theirs)) or 'none'} in B; name two with --pair-a and --pair-b."
    )


def _chosen(pairs: dict[str, Any], asked: str | None, other: str | None, side: str) -> Row:
    if asked is None:
        asked = other if other in pairs else next(iter(pairs)) if len(pairs) == 1 else None
    if asked not in pairs:
        raise ValueError(
            f"Expected the name of a pair of {side}, got {asked or 'none'}; there {'are' if len(pairs) > 1 else 'is'} "
            f"{listed(list(pairs)) or 'none'}, choose with --pair-{side.lower()}."
        )
    row: Row = pairs[asked]
    return row


def ladder(run: Run) -> Sequence[str]:
    """The rungs of a run's per-patch search, in their order."""
    return list(dict.fromkeys(row["rung"] for row in run.patchwise))
