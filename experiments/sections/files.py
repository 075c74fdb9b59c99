"""The last section: the tables of a run, what each holds and by which method."""

from __future__ import annotations

from experiments.record import Run
from experiments.sections.page import Section

COUNTED = "counts; rates with exact binomial intervals on the effective number of draws of a bootstrap over blocks"

TABLES: tuple[tuple[str, str, str], ...] = (
    ("card.json", "the whole statement for machines", "as this page"),
    ("tables/models.csv", "sizes, coverage and digests of both files of a pair", "read from the files"),
    ("tables/split.csv", "patches of every class in each part", "counts"),
    ("tables/baseline.csv", "accuracy, agreement, ties on clean patches, a row a pair", "as baseline.json"),
    ("tables/baseline_classes.csv", "accuracy and agreement on clean patches, class by class", "as baseline.json"),
    ("baseline.json", "accuracy, agreement, ties and flips on clean patches", "counts; an interval over blocks"),
    ("rates.parquet", "outcomes of random draws by relation and tier", COUNTED),
    ("tables/beside.csv", "versions of one network, draw by draw", "Tango on blocks; sign flips, McNemar; Holm"),
    ("doses.parquet", "outcomes of random draws by relation, tier and severity", COUNTED),
    ("flips.parquet", "class moves of those draws by relation, tier and outcome", "counts"),
    ("places.parquet", "outcomes of those draws by patch, with its place in the data", "counts"),
    ("gaps.parquet", "where each model leaves its class, a row a ray", "grid and bisection to the two boundaries"),
    ("tables/gaps.csv", "boundary gaps by relation and by class", "medians; 5 and 95 per cent; shares of rays"),
    ("tables/survival.csv", "survival curves, a row a step", "Kaplan and Meier; Greenwood, log-log"),
    ("tables/survival_groups.csv", "events, censoring and quantiles of every curve", "Kaplan and Meier"),
    ("evaluations/part-*.parquet", "every candidate of the search over all patches", "the optimiser of the config"),
    ("tables/search.csv", "what that search spent and reached, its patches by outcome", "counts"),
    ("patchwise.parquet", "the search of every patch by every arm", "budgets counted in queries a patch"),
    ("tables/arms.csv", "arms on every pair and rung, and against random",
     "Clopper and Pearson; Kaplan and Meier medians; A₁₂, Mann-Whitney, Holm"),
    ("tables/hypervolume.csv", "hypervolume of every front", "reference point severity 1, divergence 0"),
    ("findings.parquet", "every finding, shrunk, confirmed or not", "found by a search: exists, is no rate"),
    ("findings/*.npz", "source, follow-up and outputs of each finding", "float32 arrays as the models saw them"),
    ("archive.parquet", "kinds of findings, each at its mildest", "counts of findings"),
    ("attribution.parquet", "findings under other kernels, threads, runtimes, in float", "every finding asked again"),
    ("kernels.parquet", "clean patches under every kernel set", "counts"),
    ("bands.parquet", "findings with their change undone by groups of bands", "every finding asked again"),
    ("tables/bands.csv", "shares of findings that need a group of bands", "shares of findings, no rates"),
    ("blame.json", "layers, and what their quantisation does to findings", "both networks compared layer by layer"),
    ("tables/blame.csv", "the layers of blame.json, a row a layer", "as blame.json"),
    ("repair.parquet", "repaired models, judged on findings held out", "counts on held-out findings, fresh draws"),
    ("models.json", "the files that were compared, with digests and coverage", "read from the files"),
    ("calibration.json", "which patches set the ranges of integer models", "as drawn"),
    ("data.json", "the data, its digest and the split", "read from the data"),
    ("timing.json", "seconds of each stage", "measured on this machine"),
)  # fmt: skip
"""Every table that the page is made of, in the order of its sections: file, content, method."""


def files(run: Run) -> Section:
    """The tables that this run has; those that are worked out for the page have to be written before."""
    rows = [
        {"file": file, "content": content, "method": method}
        for file, content, method in TABLES
        if file == "card.json" or any(True for _ in run.path.glob(file))
    ]
    return Section("tables", "Tables and methods", "files.html", {"rows": rows, "run": run.path.resolve().name})
