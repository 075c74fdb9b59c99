"""Spectral: bands that are lost."""

from __future__ import annotations

import numpy as np

from relations.core import Param, Sensor, relation, switch
from relations.kernels import mixed


def _per_band_uniform(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    return rng.random((1, 1, shape[2]), dtype=np.float32)


@relation(
    params=(
        Param("share", "share of the bands", in_spec=(0.0, 0.05), stress=(0.0, 0.5), neutral=0.0, jumps=True),
        switch("fill", "interpolated", "zero"),
    ),
    draw=_per_band_uniform,
    source=(
        "stress: 0-50 % of the bands, interpolated from their neighbours (RSMT relation 5, Bouchoucha et al. 2023, "
        "code github.com/rached1997/RSMT); in_spec and the bands left empty: engineering judgement"
    ),
)
def band_loss(x: np.ndarray, field: np.ndarray, sensor: Sensor, *, share: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """The patch with a share of its bands lost, and filled in from the nearest bands that survive or left empty.

    x'[b] = x[l] + (x[r] − x[l]) · (λ_b − λ_l) / (λ_r − λ_l) where field[b] < share, with l and r the nearest
    survivors on both sides, or x'[b] = low where fill is 1; x elsewhere

    Without wavelengths the band's number stands in for λ. Beyond the outermost survivor its value is held. The
    band with the highest number in the field is never lost. RSMT takes the mean of the two neighbours of the
    undamaged patch and spares the first and last band; where one band of an even grid is lost that is the same.

    Args:
        x: patches, (n, h, w, b) float32, in the scene's unit.
        field: (n, 1, 1, b), uniform in [0, 1): the share at which each band is lost, so doses nest.
        sensor: gives the low end of the range, and the wavelengths, where there are any.
        share: (n, 1, 1, 1), expected share of the bands lost, in [0, 1]; 0 changes nothing.
        fill: (n, 1, 1, 1), 0 for bands interpolated by the processor, 1 for bands put to the low end of the range.

    Source: R. Bouchoucha et al., Information and Software Technology 162:107281, 2023, and its published code.
    """
    bands = x.shape[3]
    at = np.broadcast_to(field, (len(x), 1, 1, bands))[:, 0, 0]
    number = np.arange(bands)
    place = number.astype(np.float64) if sensor.wavelengths is None else sensor.wavelengths
    alive = (at >= share[:, 0, 0]) | (at == at.max(axis=1, keepdims=True))
    left = np.maximum.accumulate(np.where(alive, number, -1), axis=1)
    right = np.minimum.accumulate(np.where(alive, number, bands)[:, ::-1], axis=1)[:, ::-1]
    left, right = np.where(left < 0, right, left), np.where(right == bands, left, right)
    between = place[right] - place[left]
    weight = np.divide(place - place[left], between, out=np.zeros_like(between), where=between != 0)
    filled = mixed(x, ((left, 1 - weight), (right, weight)))
    np.copyto(filled, np.float32(sensor.low), where=~alive[:, None, None] & (fill >= np.float32(0.5)))
    return filled
