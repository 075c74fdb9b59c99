"""What the zoo knows of a network: how it is built and trained, and how it was published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np

from diverget.models import preprocessing
from diverget.models.preprocessing import Preprocessing

Build = Callable[[ModuleType, tuple[int, ...], int], Any]


@dataclass(frozen=True)
class Architecture:
    """A network with the settings it is trained under.

    Attributes:
        name: its name in a config.
        build: `build(keras, input_shape, classes) -> model`, not compiled, softmax outputs (n, classes).
        pca: principal components of the spectrum, at the most; None for the bands themselves.
        whiten: every input of unit variance.
        layout: axes of the prepared input.
        smallest_patch: least side of a patch in pixels.
        epochs, batch, learning_rate: defaults of the training, which is Adam whatever was published.
        source: publication.
        summary: one sentence for the report.
        data: the section of a config it learns from: `scene` (patches around a pixel) or `images`.
        smallest_depth: least number of bands, channels or components of the prepared input.
        published_patch: side in pixels of the patches or images it was published for; None where the sizes are ours.
        published_components: components or bands it was published for, in words.
        published_training: optimiser, rate, batch and epochs as published, in words, and by whom where that is not
            `source`; empty where unknown.
    """

    name: str
    build: Build
    pca: int | None
    whiten: bool
    layout: str
    smallest_patch: int
    epochs: int
    batch: int
    learning_rate: float
    source: str
    summary: str
    data: Literal["scene", "images"] = "scene"
    smallest_depth: int = 1
    published_patch: int | None = None
    published_components: str = ""
    published_training: str = ""

    @property
    def axes(self) -> int:
        """Of one prepared input."""
        return {"hwb1": 4, "hwb": 3, "centre": 2}[self.layout]

    def takes(self, axes: int) -> bool:
        """Whether prepared inputs of so many axes can be given to this network: of four the last holds one value, and
        is left out for a network of three."""
        return axes == self.axes or (axes, self.axes) == (4, 3)

    @property
    def published(self) -> str:
        """The published setting in words; empty where there is none."""
        side = "" if self.published_patch is None else f"{self.published_patch} × {self.published_patch} pixels"
        return "; ".join(text for text in (side, self.published_components, self.published_training) if text)

    @property
    def usual(self) -> str:
        """The setting where a config says nothing else, in words; the side of the patches is the config's."""
        whole = "all bands" if self.data == "scene" else "all channels"
        depth = whole if self.pca is None else f"{self.pca} components, or all bands where there are fewer"
        training = f"Adam {self.learning_rate:g}, batches of {self.batch}, at most {self.epochs} epochs"
        return f"from {self.smallest_patch} × {self.smallest_patch} pixels; {depth}; {training}"

    def fit_preprocessing(self, pixels: np.ndarray) -> Preprocessing:
        """The preprocessing this network wants, from training pixels (N, b); at most b components.

        Raises:
            ValueError: as `preprocessing.fit` does.
        """
        pca = None if self.pca is None else min(self.pca, pixels.shape[1])
        return preprocessing.fit(pixels, pca=pca, whiten=self.whiten, layout=self.layout)

    def check_patch(self, patch_shape: tuple[int, int, int]) -> None:
        """Return when raw patches or images (h, w, b) are large enough, in pixels and in bands.

        Raises:
            ValueError: they are not.
        """
        height, width, bands = patch_shape
        depth = bands if self.pca is None else min(self.pca, bands)
        whole = {"hwb": (height, width, depth), "hwb1": (height, width, depth, 1), "centre": (depth, 1)}
        self.check_input(whole[self.layout])

    def check_input(self, input_shape: tuple[int, ...]) -> None:
        """Return when a prepared input of `input_shape`, without the batch axis, is large enough.

        Raises:
            ValueError: it is not.
        """
        depth = input_shape[0] if self.layout == "centre" else input_shape[2]
        size = self.smallest_patch if self.layout == "centre" else min(input_shape[:2])
        what, cure = ("patches", "enlarge the patch") if self.data == "scene" else ("images", "give larger images")
        if size < self.smallest_patch:
            raise ValueError(
                f"Expected {what} of at least {self.smallest_patch} pixels a side for the architecture "
                f"{self.name!r}, got {size}; {cure}, or choose another (`diverget list models`)."
            )
        if depth < self.smallest_depth:
            kind = "bands" if self.pca is None else "components"
            raise ValueError(
                f"Expected at least {self.smallest_depth} {kind} for the architecture {self.name!r}, whose kernels "
                f"span them, got {depth} in inputs of shape {input_shape}; give data with more bands, or choose "
                "another (`diverget list models`)."
            )
