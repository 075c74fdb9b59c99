"""Findings of a run of `fake_run`: their rows and their arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.ndimage import gaussian_filter, uniform_filter1d

CHAINS = (
    ("gaussian_blur {:.2f} px", "gaussian_blur.sigma"),
    ("stripes 0.02 share of the columns, {:.3f} share of the signal", "stripes.gain"),
    ("haze {:.3f} optical depth at 550 nm", "haze.optical_depth"),
    ("gaussian_noise {:.3f} share of the signal", "gaussian_noise.sigma"),
)


FINDINGS = pa.schema(
    [("finding", pa.int64()), ("pair", pa.string()), ("control", pa.bool_())]
    + [(name, pa.int64()) for name in ("patch", "row", "col", "label", "reference_class", "quantised_class")]
    + [
        (n, pa.float64())
        for n in (
            "severity",
            "severity_found",
            "psnr",
            "spectral_angle",
            "reference_margin",
            "quantised_margin",
        )
    ]
    + [
        *[(name, pa.string()) for name in ("rung", "tier", "found_by", "relation", "family", "chain", "values")],
        ("candidate", pa.int64()),
        ("confirmed", pa.bool_()),
        ("file", pa.string()),
    ]
)


def finding(
    rng: np.random.Generator,
    run: Path,
    i: int,
    pair: dict,
    cube: np.ndarray,
    truth: np.ndarray | None,
    classes: tuple[str, ...],
    images: bool,
    labelled: bool,
) -> dict:
    severity = 0.02 + 0.012 * ((i * 7) % 23)
    margin = 2
    if images:
        row, col, kept, other = i % len(cube), 0, i % len(classes), (i + 1 + i % 2) % len(classes)
        source = np.pad(cube[row], ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    else:
        row, col = (int(v) for v in rng.integers(8, (cube.shape[0] - 8, cube.shape[1] - 8)))
        kept, source = int(truth[row, col]), cube[row - 6 : row + 7, col - 6 : col + 7]
        other = (kept + 1 + i % 2) % len(classes)
    after = gaussian_filter(source, (0.3 + 2 * severity, 0.3 + 2 * severity, 0)) * (1 + 0.6 * severity * (-1) ** i)
    after = (
        after
        + uniform_filter1d(rng.standard_normal(source.shape[-1]), 3, mode="nearest") * severity * 0.1 * source.mean()
    )
    after = after[margin:-margin, margin:-margin].astype(np.float32)
    source = source.astype(np.float32)
    file = f"findings/{i:04d}.npz"
    k = len(classes)
    tops = [belief(rng, k, kept, other, lead) for lead in (1.6, 1.3, 0.5, -0.3)]
    np.savez_compressed(
        run / file,
        source=source,
        follow_up=after,
        margins=np.array([margin, 0]),
        field0_stripes=np.zeros((1, 9, 1), np.float32),
        **dict(zip(("reference_source", "quantised_source", "reference", "quantised"), tops, strict=True)),
    )
    steps = [CHAINS[(i + j) % len(CHAINS)] for j in range(1 + i % 2)]
    return {
        "finding": i,
        "pair": pair["pair"],
        "control": pair["control"],
        "patch": i * 3,
        "row": row,
        "col": col,
        "label": kept if labelled else -1,
        "reference_class": kept,
        "quantised_class": other,
        "severity": severity,
        "severity_found": severity * 2.1,
        "psnr": 48 - 70 * severity,
        "spectral_angle": 0.2 * severity,
        "reference_margin": float(tops[2][kept] - tops[2][other]),
        "quantised_margin": float(tops[3][other] - tops[3][kept]),
        "rung": "stress, psnr 20",
        "tier": "stress",
        "found_by": "nsga2",
        "relation": steps[0][1].partition(".")[0],
        "family": ("optics", "radiometry", "sensor")[i % 3],
        "chain": " → ".join(words.format(severity * 3) for words, _ in steps),
        "values": json.dumps({key: severity * 3 for _, key in steps}),
        "candidate": 40 + i,
        "confirmed": i % 9 != 8,
        "file": file,
    }


def belief(rng: np.random.Generator, k: int, kept: int, other: int, lead: float) -> np.ndarray:
    logits = rng.normal(-1.5, 0.5, k)
    logits[kept], logits[other] = 2 + lead / 2, 2 - lead / 2
    p = np.exp(logits)
    return (p / p.sum()).astype(np.float32)
