"""What stands between a raw patch and a network: shift, scale, projection, and the axes the network wants."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

LAYOUTS = {
    "hwb": "patches (h, w, bands)",
    "hwb1": "patches (h, w, bands, 1) for 3-D convolutions",
    "bhw": "patches (bands, h, w), channels first",
    "1bhw": "patches (1, bands, h, w) for 3-D convolutions, channels first",
    "centre": "the spectrum (bands, 1) of the centre pixel",
}
"""The axes of a prepared input, by name."""

KEYS = ("shift", "scale", "components", "layout", "order")
SMALLEST_SHARE = 1e-10
"""Components with a smaller share of the variance than this are rounding errors of float32 data."""


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Prepared inputs z = ((x[order] - shift) / scale) @ components, laid out for the network.

    Attributes:
        shift: (b,) float32 in the unit of the scene, or (1,) where all bands share one number.
        scale: (b,) or (1,) float32 in the unit of the scene, never 0.
        components: (b, K) float32, or None where the bands stay as they are (K = b).
        layout: `hwb` (n, h, w, K), `hwb1` (n, h, w, K, 1), `bhw` (n, K, h, w), `1bhw` (n, 1, K, h, w) or `centre`
            (n, K, 1), the centre pixel alone.
        order: (b,) int64, where each band that the network knows stands in a raw patch; None where both agree.

    Raises:
        ValueError: shapes that do not fit together, values that are not finite, a scale of 0, another layout, an
            order that is no permutation.
    """

    shift: np.ndarray
    scale: np.ndarray
    components: np.ndarray | None
    layout: str
    order: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.layout, str) or self.layout not in LAYOUTS:
            raise ValueError(
                f"Expected the layout of a preprocessing to be one of {', '.join(LAYOUTS)}, got {self.layout!r}; "
                f"choose the one that gives the network its axes: {LAYOUTS}."
            )
        for name in ("shift", "scale", "components"):
            value = getattr(self, name)
            if value is None and name == "components":
                continue
            with np.errstate(over="ignore"):  # Too large a number is told below, as infinite.
                array = np.array(value, dtype=np.float32, ndmin=1, order="C")
            if array.ndim != (2 if name == "components" else 1) or not array.size or not np.isfinite(array).all():
                wanted = "a (bands, K) matrix" if name == "components" else "a number or one number a band"
                raise ValueError(
                    f"Expected {wanted} of finite values as {name!r} of a preprocessing, got shape {array.shape} "
                    f"with {np.count_nonzero(~np.isfinite(array))} values that are not finite; mend that entry."
                )
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if not self.scale.all():
            raise ValueError(
                f"Expected a scale other than 0 in every band of a preprocessing, got 0 in band(s) "
                f"{np.flatnonzero(self.scale == 0)[:5].tolist()}; use 1 for a band without contrast."
            )
        if self._fitted is not None and {len(self.shift), len(self.scale)} - {1, self._fitted}:
            raise ValueError(
                f"Expected shift, scale and components of a preprocessing to agree in bands, got {len(self.shift)}, "
                f"{len(self.scale)} and {None if self.components is None else len(self.components)}; "
                "give one number, or one a band."
            )
        if self.order is not None:
            order = np.array(self.order, dtype=np.int64, ndmin=1)
            if not np.array_equal(np.sort(order), np.arange(len(order))) or self._fitted not in (None, len(order)):
                raise ValueError(
                    f"Expected an order of a preprocessing that names each of its {self._fitted or len(order)} bands "
                    f"once, counted from 0, got {len(order)} entries {order[:8].tolist()}; mend or remove it."
                )
            order.setflags(write=False)
            object.__setattr__(self, "order", order)

    @property
    def bands(self) -> int | None:
        """The bands expected of a raw patch; None where any number will do."""
        return self._fitted if self.order is None else len(self.order)

    @property
    def _fitted(self) -> int | None:
        if self.components is not None:
            return len(self.components)
        longest = max(len(self.shift), len(self.scale))
        return longest if longest > 1 else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides a prepared input."""
        found = sha256(self.layout.encode())
        arrays: tuple[np.ndarray | None, ...] = (self.shift, self.scale, self.components)
        for array in arrays:
            found.update(b"-" if array is None else repr(array.shape).encode() + array.astype("<f4").tobytes())
        if self.order is not None and self._moves:
            found.update(b"order" + self.order.astype("<i8").tobytes())
        return found.hexdigest()

    @cached_property
    def _moves(self) -> bool:
        """Whether the order is another than the one of a raw patch."""
        return self.order is not None and bool((np.diff(self.order) < 0).any())

    @cached_property
    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Matrix (b, K) and bias (K,) of z = x @ matrix + bias, composed in float64, float32."""
        assert self.components is not None
        matrix = self.components.astype(np.float64) / self.scale.astype(np.float64)[:, None]
        bias = -np.broadcast_to(self.shift.astype(np.float64), (len(matrix),)) @ matrix
        return np.ascontiguousarray(matrix, dtype=np.float32), bias.astype(np.float32)

    def shape(self, patch_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """The shape of one prepared input, without the batch axis, of a raw patch (h, w, b)."""
        height, width, bands = patch_shape
        depth = bands if self.components is None else self.components.shape[1]
        return {
            "hwb": (height, width, depth),
            "hwb1": (height, width, depth, 1),
            "bhw": (depth, height, width),
            "1bhw": (1, depth, height, width),
            "centre": (depth, 1),
        }[self.layout]

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Prepared inputs z (n, *shape) float32 of raw patches x (n, h, w, b) float32.

        With components, z is one product x @ matrix + bias a patch, shift and scale folded in; a patch gets the
        same bits alone and in any batch. A preprocessing that changes nothing may return a view of `x`.

        Raises:
            ValueError: `x` is no float32 batch of patches, or has another number of bands.
        """
        if x.ndim != 4 or x.dtype != np.float32:
            raise ValueError(
                f"Expected raw patches (n, h, w, b) float32, got shape {x.shape}, {x.dtype}; stack and cast them."
            )
        if self.bands not in (None, x.shape[3]):
            raise ValueError(
                f"Expected patches of {self.bands} bands, as this preprocessing was fitted on, got {x.shape[3]} in "
                f"patches of shape {x.shape[1:]}; use the scene it belongs to, or fit it anew."
            )
        count, height, width, bands = x.shape
        if self.layout == "centre":
            x = x[:, height // 2, width // 2, None, None]
        if self.order is not None and self._moves:
            x = np.take(x, self.order, axis=-1)
        if self.components is None:
            z = x
            if self.shift.any():
                z = z - self.shift
            if (self.scale != 1).any():
                z = np.divide(z, self.scale, out=None if z is x else z)
        else:
            # One product per patch, never one over the batch: BLAS picks its kernel, and so the last bits, by
            # the number of rows.
            matrix, bias = self._affine
            rows = np.ascontiguousarray(x).reshape(count, -1, bands)
            z = np.matmul(rows, matrix)
            z += bias
        if self.layout.endswith("bhw"):
            z = np.ascontiguousarray(np.moveaxis(z.reshape(count, height, width, z.shape[-1]), 3, 1))
        return z.reshape(count, *self.shape((height, width, bands)))

    def save(self, path: Path) -> None:
        """Write the small JSON file that `load` reads back bit for bit."""
        content = {
            "shift": self.shift.tolist() if len(self.shift) > 1 else self.shift.tolist()[0],
            "scale": self.scale.tolist() if len(self.scale) > 1 else self.scale.tolist()[0],
            "components": None if self.components is None else self.components.tolist(),
            "layout": self.layout,
        }
        if self.order is not None:
            content["order"] = self.order.tolist()
        Path(path).write_text(json.dumps(content) + "\n", encoding="utf-8")

    def describe(self) -> str:
        """One sentence for the report."""
        steps = ["with the bands in the order of the data file"] if self._moves else []
        if self.shift.any():
            steps.append(f"minus {_told(self.shift)}")
        if (self.scale != 1).any():
            steps.append(f"divided by {_told(self.scale)}")
        if self.components is not None:
            steps.append(f"projected from {len(self.components)} bands on {self.components.shape[1]} components")
        return f"Raw values {', '.join(steps) or 'as they are'}, given to the network as {LAYOUTS[self.layout]}."


def _told(values: np.ndarray) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.6g}" if low == high else f"one number a band ({low:.4g} to {high:.4g})"


def identity(layout: str = "hwb") -> Preprocessing:
    """A preprocessing that leaves the values as they are."""
    return Preprocessing(shift=np.zeros(1), scale=np.ones(1), components=None, layout=layout)


def fit(pixels: np.ndarray, *, pca: int | None, whiten: bool, layout: str) -> Preprocessing:
    """The preprocessing learned from training pixels: bands centred, then brought to unit variance or projected.

    Without `pca` each band is divided by its standard deviation (`whiten`), or all by the root mean variance.
    With `pca` the centred bands are divided by the root mean variance and projected on the `pca` leading
    eigenvectors of their covariance, each divided by its standard deviation (`whiten`) or not. The sign of a
    component is the one that makes its largest weight positive. A band without contrast is only centred.

    Args:
        pixels: (N, b) training spectra in the unit of the scene; never assessment pixels.
        pca: number of components K, or None.
        whiten: unit variance in every output.
        layout: one of `LAYOUTS`.

    Raises:
        ValueError: too few pixels, values that are not finite, more components than the pixels carry.

    Source: Roy et al. 2020, HybridSN, IEEE GRSL 17(2), section II: PCA over the spectrum, whitened in the
    published code.
    """
    pixels = np.asarray(pixels)
    if pixels.ndim != 2 or len(pixels) < 2 or not pixels.shape[1] or not np.isfinite(pixels).all():
        raise ValueError(
            f"Expected at least 2 training pixels (N, bands) of finite values, got shape {pixels.shape}; "
            "give the valid pixels of the training blocks."
        )
    bands = pixels.shape[1]
    mean = pixels.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((bands, bands))
    for start in range(0, len(pixels), 65536):
        centred = pixels[start : start + 65536] - mean
        covariance += centred.T @ centred
    covariance /= len(pixels) - 1
    variance = covariance.diagonal()
    common = np.sqrt(variance.mean()) or 1.0
    if pca is None:
        deviation = np.sqrt(variance) if whiten else np.full(bands, common)
        scale = np.where(deviation > 0, deviation, 1.0)
        return Preprocessing(shift=mean, scale=scale, components=None, layout=layout)
    values, vectors = np.linalg.eigh(covariance / common**2)
    values, vectors = values[::-1], vectors[:, ::-1]
    carried = int(np.count_nonzero(values > SMALLEST_SHARE * max(values[0], 0.0)))
    if not 1 <= pca <= carried:
        raise ValueError(
            f"Expected a number of principal components from 1 to {carried}, what {len(pixels)} training pixels of "
            f"{bands} bands carry, got pca={pca}; ask for fewer, or give more training pixels."
        )
    vectors = vectors[:, :pca]
    largest = np.abs(vectors).argmax(axis=0)
    components = vectors * np.sign(vectors[largest, np.arange(pca)])
    if whiten:
        components = components / np.sqrt(values[:pca])
    return Preprocessing(shift=mean, scale=np.array([common]), components=components, layout=layout)


def load(path: Path) -> Preprocessing:
    """The preprocessing written in a small JSON file.

    `{"shift": number or list, "scale": number or list, "components": [[...], ...] or null, "layout": "hwb",
    "order": list or null}`; what is left out does nothing: shift 0, scale 1, no components, layout `hwb`, the bands as
    they come. A list has one entry a band, `components` one row a band.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a preprocessing file (JSON), found nothing at {path}; write one with the keys {', '.join(KEYS)}."
        )
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected JSON in the preprocessing file {path}, got text that does not parse ({error}); "
            f"write an object with the keys {', '.join(KEYS)}."
        ) from None
    if not isinstance(content, dict) or set(content) - set(KEYS):
        found = sorted(set(content) - set(KEYS)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"Expected an object with the keys {', '.join(KEYS)} in the preprocessing file {path}, got {found}; "
            "rename or remove what is not among them."
        )
    arrays: dict[str, np.ndarray | None] = {}
    for key, default in (("shift", 0.0), ("scale", 1.0), ("components", None)):
        value = content.get(key, default)
        try:
            with np.errstate(over="ignore"):
                array = None if value is None and key == "components" else np.array(value, np.float32, ndmin=1)
            arrays[key] = array
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"Expected numbers under {key!r} in the preprocessing file {path}, got {str(value)[:80]}; "
                "write a number, a list with one number a band, or for components a list of equally long rows."
            ) from None
    order = content.get("order")
    if order is not None and not (isinstance(order, list) and all(type(i) is int and 0 <= i < 10**6 for i in order)):
        raise ValueError(
            f"Expected a list of band numbers, counted from 0, under 'order' in the preprocessing file {path}, got "
            f"{str(order)[:80]}; mend or remove it."
        )
    try:
        return Preprocessing(**arrays, layout=content.get("layout", "hwb"), order=order)  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{error} It was read from {path}.") from None
