"""What a model under assessment is: a name, a digest, prepared inputs in, probabilities out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from diverget.models.preprocessing import LAYOUTS, Preprocessing


class Input(Protocol):
    """What is known of a model before it is asked: what it takes.

    Attributes:
        name: what the report calls it.
        input_shape: shape of one prepared input, without the batch axis.
        preprocessing: what turns a raw patch into a prepared input.
    """

    @property
    def name(self) -> str: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def preprocessing(self) -> Preprocessing: ...


class Model(Input, Protocol):
    """A classifier of raw patches.

    Attributes:
        digest: SHA-256 of the network file and of the preprocessing.
        classes: number of classes k.
        output_step: two classes closer than this in probability count as tied: one quantum of an output that
            is an integer inside, 1e-4 of a float one.
    """

    @property
    def digest(self) -> str: ...
    @property
    def classes(self) -> int: ...
    @property
    def output_step(self) -> float: ...

    def infer(self, z: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of prepared inputs z (n, *input_shape) float32."""
        ...

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Probabilities (n, k) float32 of raw patches x (n, h, w, b) float32."""
        ...


def batches(
    z: np.ndarray, *, input_shape: tuple[int, ...], rows: int, fixed: bool, name: str
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Prepared inputs z (n, *input_shape) float32 as a network takes them: where each batch starts, its rows, and how
    many of them are no padding.

    Args:
        rows: a batch; the same for all where `fixed`, so that the last is padded with its last row.
        name: of the model, for the error.

    Raises:
        ValueError: z has another shape or type.
    """
    if z.shape[1:] != input_shape or z.dtype != np.float32:
        raise ValueError(
            f"Expected prepared inputs (n, {', '.join(map(str, input_shape))}) float32 for the model {name!r}, got "
            f"shape {z.shape}, {z.dtype}; mend its preprocessing or the patch size."
        )
    for start in range(0, len(z), rows):
        part = z[start : start + rows]
        count = len(part)
        if fixed and count < rows:
            part = np.concatenate([part, np.repeat(part[-1:], rows - count, axis=0)])
        yield start, part, count


def predict_pair(reference: Model, quantised: Model, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, k) of the two models for the same raw patches, prepared once where both prepare alike."""
    if reference.preprocessing.digest != quantised.preprocessing.digest:
        return reference.predict_proba(x), quantised.predict_proba(x)
    z = reference.preprocessing.apply(x)
    return reference.infer(z), quantised.infer(z)


def check_input(model: Input, patch_shape: tuple[int, int, int]) -> None:
    """Return when `model` takes raw patches of `patch_shape` (h, w, b).

    Raises:
        ValueError: its preprocessing expects other bands, or its network another shape.
    """
    preprocessing = model.preprocessing
    if preprocessing.bands not in (None, patch_shape[2]):
        raise ValueError(
            f"Expected patches of {preprocessing.bands} bands for the model {model.name!r}, as its preprocessing says, "
            f"got patches of shape {tuple(patch_shape)}; give the scene or the preprocessing that belongs to it."
        )
    prepared = preprocessing.shape(patch_shape)
    if prepared != model.input_shape:
        fitting = [name for name in LAYOUTS if _laid_out(preprocessing, name, patch_shape) == model.input_shape]
        advice = (
            f"the layout {fitting[0]!r} would fit"
            if fitting
            else "set the patch size, the components or the layout of the preprocessing that the network was built for"
        )
        raise ValueError(
            f"Expected inputs of shape {model.input_shape} for the model {model.name!r}, got {prepared} from patches "
            f"of shape {tuple(patch_shape)} by its preprocessing (layout {preprocessing.layout!r}); {advice}."
        )


def _laid_out(preprocessing: Preprocessing, layout: str, patch_shape: tuple[int, int, int]) -> tuple[int, ...]:
    return replace(preprocessing, layout=layout).shape(patch_shape)


def check_pair(reference: Model, quantised: Model) -> None:
    """Return when the two models tell the same number of classes apart.

    Raises:
        ValueError: they do not.
    """
    if reference.classes != quantised.classes:
        raise ValueError(
            f"Expected two models with the same classes, got {reference.classes} from {reference.name!r} and "
            f"{quantised.classes} from {quantised.name!r}; give the quantised version of the same network."
        )
