"""Whether a model from a file fits the data: the order of its bands, the bands left out, the meaning of its outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diverget.models.model import Input, Model, check_input
from diverget.models.preprocessing import Preprocessing
from diverget.scene import ImageSet
from experiments.data import Material


def in_file_order(prepared: Preprocessing, material: Material) -> Preprocessing:
    """`prepared`, acting on the bands in the order of the data file.

    Loading sorts bands by wavelength, and a model from elsewhere was built on the file's own order. A preprocessing
    that states an order keeps it, and one for another number of bands is left to `check_bands`.
    """
    bands = material.data.origin.get("bands")
    if not bands or prepared.order is not None or prepared.bands not in (None, len(bands)):
        return prepared
    return replace(prepared, order=np.argsort(bands))


def check_fit(model: Model, material: Material) -> None:
    """Return when `model` takes the patches of the data and tells their classes apart.

    Raises:
        ValueError: it does not.
    """
    check_bands(model, material)
    check_input(model, material.patch_shape)
    check_classes(model, material)


def check_bands(model: Input, material: Material) -> None:
    """Return when no band was left out of the data that `model` needs.

    Raises:
        ValueError: the data file calls bands bad, and the model takes another number than the rest.
    """
    origin, count = material.data.origin, material.patch_shape[2]
    if origin.get("file_bands", count) == count:
        return
    prepared = model.preprocessing
    axis = {"centre": 0, "bhw": 0, "1bhw": 1}.get(prepared.layout, 2)
    depth = model.input_shape[axis] if len(model.input_shape) > axis else None
    wanted = depth if prepared.components is None else len(prepared.components)
    if wanted != count:
        raise ValueError(
            f"Expected a model of the {count} bands left of {origin['file']}, got {model.name!r} for {wanted}: the "
            f"header calls {origin['file_bands'] - count} of the {origin['file_bands']} bands bad (bbl), and they were "
            "left out; mend the bad-band list to what the model was trained on, or train a model on the bands left."
        )


def check_classes(model: Model, material: Material) -> None:
    """Return when it is known which output of `model` belongs to which label value.

    Label values are numbered 0..k-1 in ascending order; where the ground truth lacks a value that the model
    knows, that numbering would shift the outputs of all values behind it.

    Raises:
        ValueError: the model has fewer classes than the data, or more, and the label values have gaps.
    """
    data, count = material.data, len(material.class_names)
    if model.classes < count:
        raise ValueError(
            f"Expected a model of at least {count} classes for {data.name}, got {model.classes} from {model.name!r}; "
            "give the model that was trained for these classes."
        )
    if data.labels is None:
        return
    section, first = ("images", 0) if isinstance(data, ImageSet) else ("scene", 1)
    values = data.origin.get("label_values", [])
    if model.classes > count and values and values != list(range(first, first + count)):
        raise ValueError(
            f"Expected the label values {first} to {first + count - 1} without a gap for {model.name!r}, which tells "
            f"{model.classes} classes apart, got {', '.join(map(str, values))} in {data.origin['ground_truth']}: which "
            f"output belongs to which value would be a guess; give the names of all {model.classes} classes under "
            f"`{section}.class_names`, in the order of the outputs (value {first} is the first)."
        )
