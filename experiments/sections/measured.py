"""The sections that hold measurements: baseline, rates, search, flips. Each says in a sentence what a chart shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from experiments.charts import figures
from experiments.record import (
    DIVERGENCES,
    EVERYTHING,
    FEWEST_BLOCKS,
    FEWEST_DRAWS,
    Row,
    Run,
    Search,
    spoken,
)
from experiments.record.card import control, ranked, why_not
from experiments.sections import flip_matrices, gallery
from experiments.sections.page import Plot, Section
from experiments.wording import count, interval, listed, number, percent, plural, points


def baseline(run: Run) -> Section:
    """The two models on clean patches: what any accuracy script would have said."""
    columns = [(pair, run.baseline[pair["pair"]]) for pair in run.tested() if pair["pair"] in run.baseline]
    labelled = any(row["accuracy_reference"] is not None for _, row in columns)
    plots = [_clean_flips(run, pair, row, number=i) for i, (pair, row) in enumerate(columns) if _apart(row)]
    values = {
        "names": [spoken(pair) for pair, _ in columns],
        "rows": [(pair["pair"], row) for pair, row in columns],
        "metrics": _metrics([row for _, row in columns], labelled=labelled),
        "plots": plots,
        "classes": [(spoken(pair), row["per_class"]) for pair, row in columns],
        "labelled": labelled,
    }
    return Section("baseline", "Baseline on clean patches", "baseline.html", values)


def _apart(row: Row) -> int:
    """How many clean patches the two models see differently; the diagonal may be stored or left 0."""
    flips = np.array(row["flips"], dtype=np.int64)
    return int(flips.sum() - np.trace(flips))


def _clean_flips(run: Run, pair: Row, row: Row, *, number: int) -> Plot:
    flips = np.array(row["flips"], dtype=np.int64)
    name, apart = spoken(pair), _apart(row)
    svg = figures.matrix(
        flips,
        [run.class_name(c) for c in range(len(flips))],
        x=f"{pair['quantised']} says",
        y="float says",
        name=f"clean-{number}",
        label=f"Clean disagreements of {name}, class by class.",
    )
    reading = (
        f"{plural(apart, 'clean patch', 'clean patches')} of {count(row['patches'])} {'is' if apart == 1 else 'are'} "
        "seen differently before any distortion. Such patches are INHERITED and never counted as findings. "
        "A full column would mean that one class swallows the others."
    )
    return Plot(f"Clean disagreements, {name}", svg, reading)


def _metrics(rows: Sequence[Row], *, labelled: bool) -> list[tuple[str, list[str], str]]:
    """(metric, one value a pair, what it means)."""

    def line(what: str, value: Callable[[Row], str], meaning: str) -> tuple[str, list[str], str]:
        return what, [value(row) for row in rows], meaning

    def accuracy(row: Row) -> str:
        ends = row["accuracy_interval_reference"]
        return percent(row["accuracy_reference"]) + (f" ({interval(*ends)})" if ends else "")

    def change(row: Row) -> str:
        known = None not in (row["accuracy_quantised"], row["accuracy_reference"])
        return points(row["accuracy_quantised"] - row["accuracy_reference"] if known else None)

    def classes(row: Row) -> str:
        return f"{count(row['classes_predicted_reference'])} → {count(row['classes_predicted_quantised'])}"

    def speed(row: Row) -> str:
        return f"{number(row['throughput_reference'])} → {number(row['throughput_quantised'])}"

    accuracies = [
        line("float accuracy", accuracy, "with its 95 % interval over spatial blocks"),
        line("quantised accuracy", lambda row: percent(row["accuracy_quantised"]), "on the same patches"),
        line("accuracy change", change, "the one number usually reported; flips both ways cancel in it"),
        line("right → wrong", lambda row: count(row["flips_to_wrong"]), "harm: float was right, quantised is not"),
        line(
            "wrong → right", lambda row: count(row["flips_to_right"]), "luck, not merit: as much a change as the last"
        ),
        line("wrong → other wrong", lambda row: count(row["flips_wrong_to_wrong"]), "invisible to accuracy"),
    ]
    return [
        line("patches", lambda row: count(row["patches"]), "assessed; none seen in training or calibration"),
        line("top-1 agreement", lambda row: percent(row["agreement"]), "both choose the same class; needs no labels"),
        *(accuracies if labelled else []),
        line("confidence drift", lambda row: number(row["confidence_drift"]), "mean change of p of float's class"),
        line("near ties", lambda row: count(row["ties"]), "quantised patches whose top two lie within one output step"),
        line(
            "of these, disagreeing",
            lambda row: count(row["tied_disagreements"]),
            "decided by the order of the classes alone; not counted as divergence",
        ),
        line("classes predicted", classes, "float → quantised; far fewer would be a collapse"),
        line("patches per second", speed, "float → quantised, on this machine, not on the target"),
    ]


def rates(run: Run) -> Section:
    """How often: random draws alone, never what a search found."""
    blocks = []
    for i, pair in enumerate(ranked(run)):
        rows = [row for row in run.rates if row["pair"] == pair["pair"]]
        if rows:
            name = spoken(pair)
            rows = _by_relation(rows)
            svg = figures.rates(rows, name=f"rates-{i}", label=f"Rates of {name} by relation and tier, with intervals.")
            plot = Plot(f"How often {name} leaves while float stays", svg, _rates_reading(rows))
            blocks.append({"name": name, "rows": [{**row, "why_not": why_not(row)} for row in rows], "plot": plot})
    values = {
        "blocks": blocks,
        "control": control(run),
        "everything": EVERYTHING,
        "split": run.data["split"] if run.data else None,
        "fewest": (FEWEST_DRAWS, FEWEST_BLOCKS),
    }
    return Section("rates", "How often: random draws", "rates.html", values)


def _by_relation(rows: Sequence[Row]) -> list[Row]:
    """The draws of all relations first, then relation by relation, the highest rate first."""
    highest: dict[str, float] = {}
    for row in rows:
        highest[row["relation"]] = max(
            highest.get(row["relation"], 0.0), row["revealed_rate"] if row["enough"] else 0.0
        )
    return sorted(
        rows, key=lambda row: (row["relation"] != EVERYTHING, -highest[row["relation"]], row["relation"], row["tier"])
    )


def _rates_reading(rows: Sequence[Row]) -> str:
    told = [row for row in rows if row["relation"] != EVERYTHING and row["tier"] == "in_spec" and row["enough"]]
    single = [row for row in told if row["revealed"]]
    if not single:
        said = "In spec, no relation alone made the quantised model leave; the bars show what is still not ruled out."
    else:
        top = max(single, key=lambda row: row["revealed_rate"])
        close = {row["relation"] for row in single if row["revealed_upper"] >= top["revealed_lower"]}
        rest = sorted(close - {top["relation"]})
        said = f"In spec, {top['relation']} parts the two most often, on {percent(top['revealed_rate'])} of the draws"
        said += f"; the intervals of {listed(rest, most=4)} overlap, so the order is not settled." if rest else "."
    return (
        f"{said} Dots are rates, bars 95 % intervals; each panel has a scale of its own, and an interval that leaves "
        "it ends in an arrow. A relation without a dot was not measured: too few of its draws count."
    )


def search(run: Run) -> Section:
    """Whether and how mild: what the search spent and reached."""
    searches = [(pair, run.searches[pair["pair"]]) for pair in run.tested() if pair["pair"] in run.searches]
    plots = []
    if searches:
        svg = figures.curves(
            [(spoken(pair), s.queries, s.patches_revealed) for pair, s in searches],
            x="queries",
            y="distinct patches",
            name="revealed",
            label="Distinct patches revealed so far against queries.",
        )
        plots.append(Plot("Patches revealed so far", svg, _convergence_reading(searches)))
    plots += [
        _best_so_far(searches, objective)
        for objective in DIVERGENCES
        if searches and objective in searches[0][1].scores
    ]
    for i, (pair, s) in enumerate(searches):
        objective = next((o for o in ("js_divergence", "margin_gap", "revealed_share") if o in s.scores), None)
        if objective:
            plots.append(_front(spoken(pair), s, objective, number=i))
    rows = [
        {
            "pair": pair["pair"],
            "name": spoken(pair),
            "queries": int(s.queries[-1]),
            "candidates": len(s.queries),
            "feasible": int(s.feasible.sum()),
            "revealed": int(s.patches_revealed[-1]),
            "best": {o: s.best(o) for o in DIVERGENCES if o in s.scores},
            "found": run.found_together(pair["pair"]),
            "outcomes": s.outcomes,
            "speed": run.timing["search"].get(pair["pair"], {}).get("queries_per_second"),
        }
        for pair, s in searches
    ]
    return Section("search", "Whether and how mild: search", "search.html", {"rows": rows, "plots": plots})


def _best_so_far(searches: Sequence[tuple[Row, Search]], objective: str) -> Plot:
    series = []
    for pair, s in searches:
        usable = s.feasible & np.isfinite(s.scores[objective])
        series.append((spoken(pair), s.queries[usable], np.maximum.accumulate(s.scores[objective][usable])))
    svg = figures.curves(
        series, x="queries", y=objective, name=f"best-{objective}", label=f"Best {objective} so far against queries."
    )
    reading = (
        "Only candidates inside the validity limits count. A curve that still climbs at its end says that a larger "
        "budget would find more."
    )
    return Plot(f"Best {objective} so far", svg, reading)


def _front(name: str, s: Search, objective: str, *, number: int) -> Plot:
    points = np.column_stack([s.severity, s.scores[objective]])[s.feasible]
    svg = figures.front(
        points,
        x="severity",
        y=objective,
        name=f"front-{number}",
        label=f"{objective} against severity of {name}, with the Pareto front.",
    )
    reading = (
        f"Each of the {count(len(points))} dots is a candidate inside the limits; the line joins those that no milder "
        "one beats. The further left it rises, the less it takes."
    )
    return Plot(f"Divergence against severity, {name}", svg, reading)


def _convergence_reading(searches: Sequence[tuple[Row, Search]]) -> str:
    said = []
    for pair, s in searches:
        total = int(s.patches_revealed[-1])
        if total:
            first = int(s.queries[np.argmax(s.patches_revealed > 0)])
            half = int(s.queries[np.argmax(s.patches_revealed >= total / 2)])
            said.append(
                f"{spoken(pair)}: the first after {count(first)} queries, half of {count(total)} after {count(half)}"
            )
        else:
            said.append(f"{spoken(pair)}: none in {count(int(s.queries[-1]))} queries")
    return "; ".join(said) + ". One query is one patch through one model."


def flips(run: Run) -> Section:
    """Which classes random draws and findings leave, and for which."""
    by_pair = [(pair, run.found(pair["pair"])) for pair in run.tested()]
    plots = [_flips(run, pair, found, number=i) for i, (pair, found) in enumerate(by_pair) if found]
    every = [finding for _, found in by_pair for finding in found]
    values = {
        "drawn": flip_matrices.drawn(run),
        "most_pairs": flip_matrices.MOST_PAIRS,
        "plots": plots,
        "at_work": gallery.relations_at_work(every),
        "found": len(every),
    }
    return Section("flips", "Which classes flip", "flips.html", values)


def _flips(run: Run, pair: Row, found: Sequence[Row], *, number: int) -> Plot:
    left, taken = ([f[key] for f in found] for key in ("reference_class", "quantised_class"))
    k = max(len(run.class_names), 1 + max(left + taken))
    counts = np.zeros((k, k), dtype=np.int64)
    np.add.at(counts, (left, taken), 1)
    hit, gain = counts.sum(axis=1), counts.sum(axis=0)
    name = spoken(pair)
    svg = figures.matrix(
        counts,
        [run.class_name(c) for c in range(k)],
        x=f"{pair['quantised']} goes to",
        y="float stays with",
        name=f"flips-{number}",
        label=f"Findings of {name} by class left and class taken.",
    )
    reading = (
        f"Recheck {run.class_name(int(hit.argmax()))} first: {count(int(hit.max()))} of "
        f"{plural(len(found), 'finding')} leave it; {run.class_name(int(gain.argmax()))} gains most "
        f"({count(int(gain.max()))}). "
        "These count what the search found, not how often it happens."
    )
    return Plot(f"Class left → class taken, {name}", svg, reading)
