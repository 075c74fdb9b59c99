"""A run directory as a real run leaves it, made of smooth spectra and plausible numbers, in a second."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diverget.archive import kinds
from diverget.tables import ARCHIVE
from tests.experiments.fake_data import described, digits, scene, split_map
from tests.experiments.fake_findings import FINDINGS, finding

CLASSES = (
    "Corn-notill",
    "Soybean-mintill",
    "Woods",
    "Grass-pasture",
    "Bare soil",
    "Buildings-Grass-Trees-Drives",
)
RELATIONS = (
    "sun_elevation",
    "shadow",
    "haze",
    "water_vapour",
    "gaussian_blur",
    "motion_blur",
    "band_shift",
    "smile",
    "gaussian_noise",
    "shot_noise",
    "stripes",
    "dead_lines",
)
REVEALING = np.array([1, 2, 6, 2, 9, 5, 4, 1, 7, 3, 8, 0]) / 1000
STEP = 1 / 256


def build(
    root: Path,
    *,
    images: tuple[int, int, int] | None = None,
    classes: tuple[str, ...] = CLASSES,
    references: tuple[str, ...] = ("hybridsn",),
    quantised: tuple[str, ...] = ("int8",),
    controls: bool = True,
    findings: int = 22,
    labelled: bool = True,
    wavelengths: bool = True,
    evaluations: bool = True,
    complete: bool = True,
    share: float = 0.962,
) -> Path:
    """Writes one run and returns its directory; `images` = (h, w, channels) makes it a run over images."""
    run = root / "pines-0a1b2c3d"
    (run / "findings").mkdir(parents=True)
    (run / "evaluations").mkdir()
    rng = np.random.default_rng(np.random.SeedSequence(7))
    pairs = [
        {"pair": f"{r}/{q}", "reference": r, "quantised": q, "control": False} for r in references for q in quantised
    ] + [{"pair": f"{r}/{r}", "reference": r, "quantised": r, "control": True} for r in references if controls]
    nm = np.concatenate([np.arange(410, 1340, 15.0), np.arange(1450, 1790, 15.0), np.arange(1970, 2450, 15.0)])
    if images:
        nm, cube, truth = None, digits(rng, images), None
    else:
        cube, truth = scene(rng, nm, len(classes))
        nm = nm if wavelengths else None
    _json(run / "manifest.json", _manifest())
    _json(run / "data.json", described(cube, nm, classes, bool(images), labelled))
    _json(run / "models.json", _models(pairs, references, share))
    _json(run / "baseline.json", {p["pair"]: _baseline(rng, p, len(classes), classes, labelled) for p in pairs})
    if not images:
        rgb = cube[..., [30, 16, 9]]
        low, high = np.percentile(rgb, (2, 98), axis=(0, 1))
        np.savez_compressed(
            run / "quicklook.npz",
            rgb=np.uint8(255 * np.clip((rgb - low) / (high - low), 0, 1)),
            split=split_map(truth),
        )
    pq.write_table(
        pa.Table.from_pylist([row for i, p in enumerate(pairs) for row in _rates(p, i)]),
        run / "rates.parquet",
    )
    if evaluations:
        for generation in range(24):
            rows = [row for p in pairs for row in _generation(rng, p, generation)]
            pq.write_table(pa.Table.from_pylist(rows), run / "evaluations" / f"part-{generation:05d}.parquet")
    tested = [p for p in pairs if not p["control"]]
    rows = [
        finding(rng, run, i, tested[i % len(tested)], cube, truth, classes, bool(images), labelled)
        for i in range(findings if tested else 0)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=FINDINGS), run / "findings.parquet")
    pq.write_table(pa.Table.from_pylist(kinds(rows), schema=ARCHIVE), run / "archive.parquet")
    if complete:
        criteria = (
            [
                {"criterion": "agreement >= 0.99", "pair": tested[0]["pair"], "value": 0.9871, "met": False},
                {"criterion": "in_spec revealed_rate <= 0.05", "pair": tested[0]["pair"], "value": 0.031, "met": True},
            ]
            if tested
            else []
        )
        _json(
            run / "summary.json",
            {
                "control_findings": 0,
                "unconfirmed": sum(not row["confirmed"] for row in rows),
                "criteria": criteria,
                "criteria_met": not criteria,
                "complete": True,
                "interrupted": False,
            },
        )
        _json(
            run / "timing.json",
            {
                "stages": [
                    {"stage": "train hybridsn", "seconds": 94.2},
                    {"stage": "rates", "seconds": 61.0},
                    {"stage": "search", "seconds": 312.5},
                ],
                "search": {
                    p["pair"]: {"queries": 24 * 40 * 32, "seconds": 104.2, "queries_per_second": 294.8}
                    for p in pairs
                    if evaluations
                },
            },
        )
    return run


def _json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))


def _manifest() -> dict:
    return {
        "schema": 1,
        "name": "pines",
        "digest": "0a1b2c3d" * 8,
        "config": {
            "scene": {"path": "data/pines.npz"},
            "search": {"optimiser": "nsga2", "budget": 30720, "tier": "in_spec"},
            "seed": 7,
        },
        "versions": {
            "diverget": "0.1.0",
            "python": "3.11.9",
            "numpy": "2.4.6",
            "pymoo": "0.6.2",
            "ai_edge_litert": "2.3.0",
            "tensorflow": None,
        },
        "runtime": {
            "interpreter": "LiteRT 2.3.0",
            "delegate": "XNNPACK",
            "kernels": "builtin",
            "threads": 1,
            "workers": 2,
            "batch": 8,
        },
    }


def _model(name: str, scheme: str, share: float) -> dict:
    small = {"int8": 1_300_000, "float16": 2_600_000}.get(scheme, 5_124_000)
    lacking = [{"op": "CONV_3D", "count": 3, "macs": 23_500_000}] if scheme == "int8" else []
    return {
        "name": name,
        "file": f"models/{name}.tflite",
        "digest": f"{scheme:0<8}".encode().hex() * 4,
        "size_bytes": small,
        "quantisation": scheme,
        "input": [9, 9, 118],
        "output_step": STEP if scheme == "int8" else 1e-4,
        "float_check": None if scheme == "int8" else 3.1e-7,
        "coverage": {
            "share": share if scheme == "int8" else 1.0 if scheme == "float16" else 0.0,
            "kind": scheme,
            "total_macs": 41_300_000,
            "float_ops": lacking,
            "note": "CONV_3D has no int8 kernel." if lacking else "",
        },
    }


def _models(pairs: list[dict], references: tuple[str, ...], share: float) -> dict:
    return {
        "references": [
            {
                "name": r,
                "kind": "zoo",
                "digest": "4e" * 32,
                "file": f"models/{r}.keras",
                "size_bytes": 5_124_000,
                "parameters": 1_280_044,
                "training": {
                    "accuracy": 0.991,
                    "val_accuracy": 0.93,
                    "epochs": 30,
                    "seconds": 94.2,
                    "citation": "Roy et al., IEEE GRSL 17(2), 2020",
                },
                "preprocessing": "Each band is standardised by the training part's mean and deviation.",
            }
            for r in references
        ],
        "pairs": [
            p
            | {
                "reference_model": _model(p["reference"], "float32", share),
                "quantised_model": _model(
                    f"{p['reference']}-{p['quantised']}", "float32" if p["control"] else p["quantised"], share
                ),
            }
            for p in pairs
        ],
    }


def _baseline(rng: np.random.Generator, pair: dict, k: int, classes: tuple[str, ...], labelled: bool) -> dict:
    flips = np.diag(rng.integers(25, 50, k))
    if not pair["control"]:
        flips[0, 1] += 2
        flips[1, 0] += 1
    n = int(flips.sum())
    return {
        "patches": n,
        "labelled": n if labelled else 0,
        "accuracy_reference": 0.931 if labelled else None,
        "accuracy_quantised": None if not labelled else 0.931 if pair["control"] else 0.9235,
        "accuracy_interval_reference": [0.902, 0.955] if labelled else None,
        "agreement": int(np.trace(flips)) / n,
        "flips_to_wrong": 2 * (not pair["control"]),
        "flips_to_right": 1 * (not pair["control"]),
        "flips_wrong_to_wrong": 0,
        "flips": flips.tolist(),
        "confidence_drift": 0.0 if pair["control"] else 0.0124,
        "ties": 5,
        "tied_disagreements": 1,
        "classes_predicted_reference": k,
        "classes_predicted_quantised": k,
        "collapsed": False,
        "per_class": [
            {
                "class": c,
                "n": int(flips[i].sum()),
                "accuracy_reference": 0.93 if labelled else None,
                "accuracy_quantised": 0.92 if labelled else None,
                "agreement": flips[i, i] / flips[i].sum(),
            }
            for i, c in enumerate(classes)
        ],
        "throughput_reference": 412.0,
        "throughput_quantised": 988.0,
    }


def _rates(pair: dict, index: int) -> list[dict]:
    rows = []
    for tier, factor in (("in_spec", 1.0), ("stress", 6.5)):
        for relation, base in (("random chain", 0.031), *zip(RELATIONS, REVEALING, strict=True)):
            rate = 0.0 if pair["control"] else base * factor / (1 + index) if factor > 1 or base != 0.002 else 0.0
            eligible = 930
            revealed = round(rate * eligible)
            rate = revealed / eligible
            rows.append(
                {
                    "pair": pair["pair"],
                    "control": pair["control"],
                    "tier": tier,
                    "relation": relation,
                    "draws": 960,
                    "eligible": eligible,
                    "inherited": 12,
                    "rejected": 18,
                    "tied": revealed // 3,
                    "moved_together": 9,
                    "moved_apart": revealed // 4,
                    "revealed": revealed,
                    "revealed_rate": rate,
                    "revealed_lower": rate * 0.61,
                    "revealed_upper": rate * 1.48 if revealed else 0.0034,
                    "disagreement_rate": rate * 1.25,
                    "disagreement_lower": rate * 0.9,
                    "disagreement_upper": rate * 1.7,
                    "blocks": 21,
                }
            )
    rows.append(
        rows[-1]
        | {
            "relation": "cloud",
            "eligible": 0,
            "rejected": 948,
            "revealed": 0,
            "tied": 0,
            "moved_together": 0,
            "moved_apart": 0,
        }
        | dict.fromkeys(
            (
                "revealed_rate",
                "revealed_lower",
                "revealed_upper",
                "disagreement_rate",
                "disagreement_lower",
                "disagreement_upper",
            ),
            float("nan"),
        )
    )
    return rows


def _generation(rng: np.random.Generator, pair: dict, generation: int) -> list[dict]:
    rows = []
    for i in range(40):
        candidate = generation * 40 + i
        severity = float(np.clip(rng.beta(2, 5 + generation / 3) + 0.01, 0, 1))
        gap = 0.0 if pair["control"] else float(0.12 * np.sqrt(severity) * rng.random() * (0.6 + generation / 30))
        hits = [] if rng.random() > gap * 6 else rng.integers(0, 240, 2).tolist()
        rows.append(
            {
                "pair": pair["pair"],
                "control": pair["control"],
                "generation": generation,
                "candidate": candidate,
                "feasible": bool(rng.random() > 0.2 * severity),
                "severity": severity,
                "value:gaussian_blur.sigma": severity * 2,
                "score:js_divergence": gap,
                "score:severity": severity,
                "score:revealed_share": len(hits) / 32,
                "limit:psnr": 45 - 30 * severity,
                "outcome:INHERITED": 1,
                "outcome:TIED": 1,
                "outcome:MOVED_TOGETHER": 2,
                "outcome:MOVED_APART": 0,
                "outcome:REVEALED": len(hits),
                "outcome:SAME": 27 - len(hits),
                "outcome:INVALID": 1,
                "queries": (candidate + 1) * 32,
                "revealed": [{"patch": p, "reference_class": 1, "quantised_class": 0} for p in hits],
            }
        )
    return rows
