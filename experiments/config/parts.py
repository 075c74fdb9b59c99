"""The parts of a config that say on what: data, models, relations or a named space."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

import relations
from diverget.models.compress.table import COMPRESSIONS, INTEGERS, SETTINGS, Compression, compression
from diverget.models.deployed import SUFFIXES as DEPLOYED_SUFFIXES
from diverget.models.quantise import QUANTISATIONS
from diverget.models.saved_model import is_saved_model
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.space import Space
from diverget.spaces import SPACES, NamedSpace
from experiments.config.strict import Strict
from relations import Relation

MOST = 10**12
"""No count of a config exceeds it: what it would cost can be told and is never spent (engineering judgement)."""

MOST_SEED = 2**63 - 1
"""A seed fits into 64 bits, as JSON and Parquet keep it."""

PATH_KEYS = ("path", "ground_truth", "labels", "preprocessing")
KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
USUAL_WAY = ("xnnpack", 1)
"""Kernels and threads where nothing else is said."""


def named(kind: str, table: Sequence[Any], name: str) -> Any:
    """The entry of `table` called `name`.

    Raises:
        ValueError: there is none; the nearest known names are told.
    """
    known = {entry.name: entry for entry in table}
    if name not in known:
        near = get_close_matches(name, known, n=2)
        advice = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"expected the name of {kind}, got {name!r}; {advice}")
    return known[name]


def is_deployed(path: Path) -> bool:
    """Whether a network file is run as it is, and not converted first."""
    return path.suffix in DEPLOYED_SUFFIXES


def refuse_network(path: Path | None, way: tuple[str, int]) -> None:
    """Return when a network's path can be one, and kernels and threads mean something for it.

    Raises:
        ValueError: another suffix, a directory that is no SavedModel, or kernels for a file that LiteRT does not run.
    """
    if path is None:
        return
    known = (*KERAS_SUFFIXES, *DEPLOYED_SUFFIXES)
    try:
        is_directory = path.is_dir()
    except OSError as error:  # Too long a name, say.
        raise ValueError(f"expected a network's path, got {str(path)[:60]!r} ({error.strerror}); correct it") from None
    if is_directory:
        if not is_saved_model(path):
            raise ValueError(f"expected a SavedModel directory (with saved_model.pb), got {str(path)!r} without it")
    elif path.suffix not in known and (path.suffix or path.is_file()):
        raise ValueError(
            f"expected a network file ({', '.join(known)}) or a SavedModel directory, got {path.name!r}; convert the "
            "network to one of these, or mend the suffix"
        )
    if path.suffix == ".onnx" and way != USUAL_WAY:
        raise ValueError(
            f"expected no `kernels` and `threads` beside {path.name}, got {way[0]} and {way[1]}: onnxruntime runs it, "
            "on the CPU and in one thread; remove them"
        )


def as_key(key: str) -> BeforeValidator:
    """Let a bare word stand for `{key: word}`."""
    return BeforeValidator(lambda entry: {key: entry} if isinstance(entry, str) else entry)


def as_version(entry: Any) -> Any:
    """The keys of a quantised version that is given as a word: `int8`, `qat` or `pruning+int8`.

    Raises:
        ValueError: a bare word is the name of neither a quantisation nor a compression.
    """
    if not isinstance(entry, str):
        return entry
    first, plus, second = (word.strip() for word in entry.partition("+"))
    if plus:
        return {"compression": first, "quantisation": second}
    found = named("a quantisation or a compression", (*QUANTISATIONS, *COMPRESSIONS), first)
    return {"compression" if found in COMPRESSIONS else "quantisation": first}


class Synthetic(Strict):
    """The embedded scene."""

    height: int = Field(128, ge=48, le=1024, description="In pixels.")
    width: int = Field(128, ge=48, le=1024, description="In pixels.")
    seed: int = Field(0, ge=0, le=MOST_SEED, description="Of its fields and noise.")


class SceneConfig(Strict):
    """A hyperspectral scene: a file, or the embedded synthetic one."""

    path: Path | None = Field(None, description="The cube: .mat, .npz, or an ENVI header .hdr.")
    synthetic: Synthetic | None = Field(
        None, description="The embedded scene instead of a file; `{}` takes its defaults."
    )
    ground_truth: Path | None = Field(None, description="The labels, where they lie in a file of their own.")
    cube_key: str | None = Field(None, description="Key of the cube, where several arrays fit.")
    label_key: str | None = Field(None, description="Key of the labels, where several arrays fit.")
    wavelengths: tuple[float, ...] | None = Field(
        None, description="Band centres instead of the file's, in `wavelength_unit`."
    )
    wavelength_unit: Literal["nm", "um"] | None = Field(
        None, description="Nanometres or micrometres; left out, what the file states, else a guess."
    )
    nodata: float | None = Field(None, description="The value that means no data, in the cube's unit.")
    value_range: tuple[float, float] | None = Field(
        None, description="Lowest and highest valid value, in the cube's unit."
    )
    class_names: tuple[str, ...] | None = Field(None, description="One for each label value, in ascending order.")
    patch: int = Field(11, ge=1, le=99, description="Side of a patch in pixels, odd.")

    @field_validator("patch")
    @classmethod
    def _odd(cls, patch: int) -> int:
        if patch % 2 == 0:
            raise ValueError(f"expected an odd `patch` (a centre pixel and its neighbours), got {patch}")
        return patch

    @model_validator(mode="after")
    def _one_source(self) -> SceneConfig:
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("expected either `path` (a file) or `synthetic` (the embedded scene), got both or none")
        if self.synthetic is not None:
            self.refuse_beside("synthetic", *(set(type(self).model_fields) - {"path", "synthetic", "patch"}))
        return self


class ImagesConfig(Strict):
    """Plain images, each a patch of its own."""

    path: Path = Field(description="The images: .npz, .mat or IDX.")
    labels: Path | None = Field(None, description="The labels, where they lie in a file of their own.")
    image_key: str | None = Field(None, description="Key of the images, where several arrays fit.")
    label_key: str | None = Field(None, description="Key of the labels, where several arrays fit.")
    value_range: tuple[float, float] | None = Field(None, description="Lowest and highest valid value.")
    class_names: tuple[str, ...] | None = Field(None, description="One for each label value, in ascending order.")


class SplitConfig(Strict):
    """How pixels fall into train, calibration and assessment, and how many patches are assessed."""

    protocol: Literal["blocks", "random"] = Field(
        "blocks", description="Whole blocks of pixels to one part each, or pixels at random; for images the same."
    )
    fractions: tuple[float, float, float] = Field(
        (0.5, 0.1, 0.4), description="Shares of the labelled pixels: train, calibration, assessment."
    )
    block: int | None = Field(
        None, ge=2, description="Side of the blocks that a scene is split by, in pixels; left out, chosen."
    )
    assessed: int = Field(200, ge=1, le=MOST, description="Patches that are distorted in the search.")
    baseline: int = Field(
        2000, ge=1, le=MOST, description="Patches, at the most, that both networks are compared on undistorted."
    )
    calibration: int = Field(
        200, ge=1, le=MOST, description="Patches, at the most, that ranges of integers are measured on."
    )

    @field_validator("fractions")
    @classmethod
    def _sum(cls, fractions: tuple[float, float, float]) -> tuple[float, float, float]:
        total = sum(fractions)
        if min(fractions) <= 0 or abs(total - 1) > 1.001e-3:
            raise ValueError(
                f"expected three shares above 0 (train, calibration, assessment) that add up to 1, got {fractions}"
            )
        if abs(total - 1) < 1e-12:
            return fractions
        train, calibration, assessment = (share / total for share in fractions)
        return train, calibration, assessment


class ReferenceConfig(Strict):
    """The float model: one of the zoo, trained here, or a file."""

    zoo: str | None = Field(None, description="A network of the zoo, trained here; either this or `path`.")
    path: Path | None = Field(None, description="A network file or SavedModel directory.")
    name: str | None = Field(None, pattern=r"^[\w.-]+$", description="What the report calls it.")
    preprocessing: Path | None = Field(
        None, description="JSON file that says what turns raw patches into the file's inputs."
    )
    trust: bool = Field(False, description="Whether code in the file may run.")
    kernels: Literal["xnnpack", "builtin", "reference"] = Field("xnnpack", description="LiteRT's kernels.")
    threads: int = Field(1, ge=1, le=64, description="Of one LiteRT interpreter.")
    epochs: int | None = Field(None, ge=1, le=MOST, description="Of the training, at the most.")
    batch: int | None = Field(None, ge=1, le=MOST, description="Patches a training step.")
    learning_rate: float | None = Field(None, gt=0, description="Of Adam.")
    patience: int | None = Field(None, ge=1, le=MOST, description="Epochs without progress before the training stops.")
    train_limit: int | None = Field(None, ge=1, le=MOST, description="Patches to train on, at the most.")

    @model_validator(mode="after")
    def _one_source(self) -> ReferenceConfig:
        if (self.zoo is None) == (self.path is None):
            raise ValueError("expected either `zoo` (a name) or `path` (a file), got both or none")
        if self.zoo is not None:
            named("an architecture", ARCHITECTURES, self.zoo)
            self.refuse_beside("zoo", "preprocessing", "trust")
        else:
            self.refuse_beside("path", "epochs", "batch", "learning_rate", "patience", "train_limit")
        refuse_network(self.path, (self.kernels, self.threads))
        return self

    @property
    def label(self) -> str:
        return self.name or self.zoo or Path(self.path or "").stem


class QuantisedConfig(Strict):
    """The version under test: a way to compress and quantise the references, or a file."""

    compression: str | None = Field(None, description="A training step before the conversion.")
    quantisation: str | None = Field(None, description="The way of conversion; either this or `path`.")
    path: Path | None = Field(None, description="A network file or SavedModel directory.")
    name: str | None = Field(None, pattern=r"^[\w.-]+$", description="What the report calls it.")
    preprocessing: Path | None = Field(
        None, description="JSON file that says what turns raw patches into the file's inputs."
    )
    trust: bool = Field(False, description="Whether code in the file may run.")
    kernels: Literal["xnnpack", "builtin", "reference"] = Field("xnnpack", description="LiteRT's kernels.")
    threads: int = Field(1, ge=1, le=64, description="Of one LiteRT interpreter.")

    steps: int | None = Field(None, ge=1, le=MOST, description="Training steps of the compression.")
    batch: int | None = Field(None, ge=1, le=MOST, description="Patches a training step.")
    learning_rate: float | None = Field(None, gt=0, description="Of Adam.")
    sparsity: float | None = Field(None, gt=0, lt=1, description="Share of the weights that pruning sets to 0.")
    clusters: int | None = Field(None, ge=2, le=256, description="Different values a layer's weights are left.")
    student: str | None = Field(None, description="A network of the zoo that distillation trains.")
    width: float | None = Field(None, gt=0, le=1, description="Share of the student's units kept.")
    temperature: float | None = Field(
        None, gt=0, description="Both networks' logits are divided by it in distillation."
    )
    alpha: float | None = Field(
        None, ge=0, le=1, description="Weight of the softened teacher in distillation; the rest is the labels'."
    )

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, tree: Any) -> Any:
        """What a compression leaves open, written out: its quantisation and the settings it reads."""
        known = {entry.name: entry for entry in COMPRESSIONS}
        name = tree.get("compression") if isinstance(tree, dict) else None
        if not isinstance(name, str) or name not in known or tree.get("path") is not None:
            return tree
        chosen = known[name]
        given = {key: value for key, value in tree.items() if value is not None}
        defaults = chosen.filled({})
        filled = {"quantisation": chosen.quantisation, **{key: getattr(defaults, key) for key in chosen.settings}}
        return filled | given

    @model_validator(mode="after")
    def _one_source(self) -> QuantisedConfig:
        self._check_compression()
        if (self.quantisation is None) == (self.path is None):
            raise ValueError("expected either `quantisation` (a name) or `path` (a file), got both or none")
        if self.quantisation is not None:
            named("a quantisation", QUANTISATIONS, self.quantisation)
            self.refuse_beside("quantisation", "preprocessing", "trust")
        refuse_network(self.path, (self.kernels, self.threads))
        return self

    def _check_compression(self) -> None:
        if self.path is not None:
            return self.refuse_beside("path", "compression", *SETTINGS)
        if self.compression is None:
            return self.refuse_beside("no compression", *SETTINGS)
        chosen: Compression = named("a compression", COMPRESSIONS, self.compression)
        self.refuse_beside(f"compression: {chosen.name}", *(key for key in SETTINGS if key not in chosen.settings))
        if self.student is not None:
            named("an architecture", ARCHITECTURES, self.student)
        if chosen.integers and self.quantisation is not None and self.quantisation not in INTEGERS:
            raise ValueError(
                f"expected after {chosen.name} the quantisation {' or '.join(INTEGERS)}, whose ranges it trains, got "
                f"{self.quantisation!r}"
            )

    @property
    def label(self) -> str:
        if self.name or self.compression is None:
            return self.name or self.quantisation or Path(self.path or "").stem
        usual = self.quantisation == compression(self.compression).quantisation
        return self.compression if usual else f"{self.compression}-{self.quantisation}"


class RelationConfig(Strict):
    """A relation, its bounds narrowed where wished."""

    name: str = Field(description="See `diverget list relations`.")
    bounds: dict[str, tuple[float, float]] = Field(
        {}, description="Lowest and highest value of each param, in its own unit."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, entry: Any) -> Any:
        if isinstance(entry, str):
            return {"name": entry}
        if isinstance(entry, dict) and len(entry) == 1 and "name" not in entry:
            ((name, bounds),) = entry.items()
            return {"name": name, "bounds": bounds or {}}
        return entry

    @model_validator(mode="after")
    def _declared(self) -> RelationConfig:
        Space.of([relations.get(self.name)], tier="stress", narrowed={self.name: self.bounds})
        return self

    @property
    def relation(self) -> Relation:
        return relations.get(self.name)


class SpaceConfig(Strict):
    """A named space in place of a list of relations."""

    name: str = Field(description="See `diverget list spaces`.")
    without: Annotated[tuple[str, ...], BeforeValidator(lambda one: (one,) if isinstance(one, str) else one)] = Field(
        (), description="Relations that are left out of it."
    )

    @model_validator(mode="before")
    @classmethod
    def _word_or_keys(cls, entry: Any) -> Any:
        if not isinstance(entry, dict):
            raise ValueError(f"expected the name of a space, or {{name: ..., without: [...]}}, got {entry!r}")
        return entry

    @model_validator(mode="after")
    def _known(self) -> SpaceConfig:
        chosen = [relation.name for relation in self.named.relations]
        for name in self.without:
            if name not in chosen:
                near = get_close_matches(name, chosen, n=1) or chosen
                raise ValueError(
                    f"expected under `without` relations of the space {self.name}, got {name!r}; did you mean "
                    f"{' or '.join(near)}?"
                )
        if not set(chosen) - set(self.without):
            raise ValueError(f"expected at least one relation left of the space {self.name}, got all under `without`")
        return self

    @property
    def named(self) -> NamedSpace:
        space: NamedSpace = named("a space", SPACES, self.name)
        return space

    def entries(self) -> list[dict[str, Any]]:
        """Its relations as a config writes them."""
        return [
            {"name": relation.name, "bounds": dict(self.named.narrowed.get(relation.name, {}))}
            for relation in self.named.relations
            if relation.name not in self.without
        ]
