"""The compressions by name, their settings, and the networks each of them refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from diverget.models.keras_file import Layer

INTEGERS = ("int8", "int8_io")
"""Quantisations whose ranges quantisation-aware training learns."""


@dataclass(frozen=True)
class Settings:
    """How a compression is done.

    Attributes:
        steps: updates of the weights, one batch each; `pruned_qat` makes as many again for the second half.
        batch: patches in a batch.
        learning_rate: of Adam.
        sparsity: share of zeros that pruning reaches in each kernel.
        clusters: distinct weights of each kernel after clustering.
        student: network of the zoo that is distilled into; None for the layers of the network itself.
        width: share of the student's filters and units that are kept in each layer.
        temperature: by which the logits of both networks are divided in distillation.
        alpha: weight of the loss against the softened teacher; the rest is the loss against the labels.
    """

    steps: int
    batch: int = 32
    learning_rate: float = 1e-4
    sparsity: float = 0.5
    clusters: int = 16
    student: str | None = None
    width: float = 0.5
    temperature: float = 4.0
    alpha: float = 0.9


SHARED = ("steps", "batch", "learning_rate")
"""Settings that every compression reads."""


SETTINGS = tuple(field.name for field in fields(Settings))


@dataclass(frozen=True)
class Compression:
    """A training step before conversion.

    Attributes:
        name: its name in a config.
        summary: one sentence for the report, its limits included.
        quantisation: name of the conversion that follows where none is given.
        integers: the training fixes the ranges of the integers: the conversion belongs to it, and is one of `INTEGERS`.
        settings: names of the settings it reads.
        steps, learning_rate: defaults.
        source: publication.
    """

    name: str
    summary: str
    quantisation: str
    integers: bool
    settings: tuple[str, ...]
    steps: int
    learning_rate: float
    source: str

    def filled(self, given: dict[str, object]) -> Settings:
        """Settings with the defaults of this compression where `given` has none."""
        chosen = {name: value for name, value in given.items() if value is not None}
        return replace(Settings(steps=self.steps, learning_rate=self.learning_rate), **chosen)  # type: ignore[arg-type]


COMPRESSIONS = (
    Compression(
        name="qat",
        summary="Quantisation-aware training: int8 weights and activations are emulated while training goes on. The "
        "ranges of activations start at -6 to 6 and forget that by 0.1 % a step: below 1000 steps they are an "
        "artefact. Conv1D has one scale for all filters; Conv3D is refused, as TFLite leaves it in float.",
        quantisation="int8",
        integers=True,
        settings=SHARED,
        steps=2000,
        learning_rate=1e-4,
        source="Jacob et al. 2018, Quantization and training of neural networks for efficient integer-arithmetic-only "
        "inference, CVPR, 2704-2713; steps and rate by engineering judgement",
    ),
    Compression(
        name="pruning",
        summary="The smallest weights of each kernel become zeros, a growing share over the first three quarters of "
        "the steps. Depthwise kernels are left alone. Files shrink only under compression.",
        quantisation="float32",
        integers=False,
        settings=(*SHARED, "sparsity"),
        steps=1000,
        learning_rate=1e-3,
        source="Zhu and Gupta 2017, To prune, or not to prune, arXiv:1710.01878; steps by engineering judgement",
    ),
    Compression(
        name="clustering",
        summary="The weights of each kernel share a few values, its centroids, which are trained. Depthwise kernels "
        "are left alone. Files shrink only under compression.",
        quantisation="float32",
        integers=False,
        settings=(*SHARED, "clusters"),
        steps=500,
        learning_rate=1e-4,
        source="Han et al. 2016, Deep compression, ICLR, arXiv:1510.00149; steps by engineering judgement",
    ),
    Compression(
        name="pruned_qat",
        summary="Pruning, then quantisation-aware training that keeps the zeros; each with the given steps, and with "
        "the limits of both.",
        quantisation="int8",
        integers=True,
        settings=(*SHARED, "sparsity"),
        steps=2000,
        learning_rate=1e-4,
        source="Zhu and Gupta 2017, arXiv:1710.01878, and Jacob et al. 2018, CVPR, 2704-2713; steps by engineering "
        "judgement",
    ),
    Compression(
        name="distillation",
        summary="A smaller network, trained anew, learns the softened outputs of the reference beside the labels: the "
        "reference's own layers with a share of their filters, or a network of the zoo.",
        quantisation="float32",
        integers=False,
        settings=(*SHARED, "student", "width", "temperature", "alpha"),
        steps=2000,
        learning_rate=2e-3,
        source="Hinton et al. 2015, Distilling the knowledge in a neural network, arXiv:1503.02531; values by "
        "engineering judgement",
    ),
)

NAMES = tuple(entry.name for entry in COMPRESSIONS)

PRUNABLE = (
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "Conv3DTranspose",
    "Dense",
)
"""Layers whose `kernel` is pruned and clustered."""

EMULATED = (
    "Activation",
    "Add",
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "InputLayer",
    "LeakyReLU",
    "MaxPooling1D",
    "MaxPooling2D",
    "Permute",
    "ReLU",
    "Reshape",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
)
"""Layers whose integers tensorflow-model-optimization 0.8 emulates, Conv1D and MaxPooling1D by settings given to it;
a BatchNormalization only behind a 2-D convolution."""


def compression(name: str) -> Compression:
    """The compression called `name`.

    Raises:
        ValueError: there is none.
    """
    for entry in COMPRESSIONS:
        if entry.name == name:
            return entry
    raise ValueError(f"Expected the name of a compression, got {name!r}; choose one of {', '.join(NAMES)}.")


def refusal(layers: Sequence[Layer], compression: Compression, *, keeps_layers: bool = True) -> str | None:
    """Why a network of such layers cannot be compressed that way, with what to do; None where nothing is known against.

    Args:
        keeps_layers: the compressed network has these layers; a student of the zoo has others.

    Source: the registries of tensorflow-model-optimization 0.8.1, and the operators that TFLite leaves in float.
    """
    inside = next((layer.network for layer in layers if layer.network is not None), None)
    if keeps_layers and inside is not None:
        return (
            f"it holds another network, {inside!r}, whose layers no compression reaches: build it of layers alone, or "
            "take distillation with a `student` of the zoo"
        )
    kinds = list(dict.fromkeys(layer.kind for layer in layers))
    if compression.integers:
        three = [layer for layer in layers if layer.kind.startswith("Conv3D")]
        if three:
            more = "" if len(three) == 1 else f" and {len(three) - 1} more"
            return (
                f"TFLite leaves {three[0].kind} {three[0].name!r}{more} in float, so there are no integers of it to "
                "train under: take pruning, clustering or distillation, with int8_lowered for integers throughout"
            )
        unknown = [kind for kind in kinds if kind not in EMULATED]
        if unknown:
            return (
                f"the integers of {', '.join(unknown)} cannot be emulated in training: take pruning, clustering or "
                "distillation, or train elsewhere and give the .tflite file"
            )
    elif compression.name in ("pruning", "clustering") and not set(kinds) & set(PRUNABLE):
        return f"none of its layers has a kernel to work on ({', '.join(PRUNABLE)}): take distillation"
    return None
