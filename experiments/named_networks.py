"""The networks that a config names as files, looked at before anything is trained or converted.

What would end a run minutes later is told at once. Nothing in a file is executed, and TensorFlow is asked only for a
SavedModel, where it is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from diverget.models import deployed, preprocessing, quantise
from diverget.models.model import check_input
from diverget.models.preprocessing import Preprocessing
from diverget.models.saved_model import is_saved_model
from experiments.compression import refuse_compression
from experiments.config.parts import QuantisedConfig, ReferenceConfig, is_deployed
from experiments.config.schema import RunConfig
from experiments.data import Material
from experiments.fit import check_bands, check_fit, in_file_order


@dataclass(frozen=True)
class _Described:
    """A network as its file describes it."""

    name: str
    preprocessing: Preprocessing
    input_shape: tuple[int, ...]


def refuse_networks(config: RunConfig) -> None:
    """Return when nothing is known against the files that `config` names as networks and preprocessings.

    Raises:
        FileNotFoundError, ValueError: a file is missing or damaged, carries code and is not trusted, or cannot be
            compressed or converted as asked.
    """
    entries: tuple[ReferenceConfig | QuantisedConfig, ...] = (*config.references, *config.quantisations)
    for entry in entries:
        if entry.preprocessing is not None:
            preprocessing.load(entry.preprocessing)
        if entry.path is not None and not is_deployed(entry.path):
            _look(entry.path, trust=entry.trust)
    for reference in config.references:
        if reference.path is None or is_deployed(reference.path):
            continue
        for version in config.quantisations:
            if version.compression is not None:
                refuse_compression(version, reference.path)
            elif version.quantisation is not None:
                quantise.refuse(reference.path, quantise.quantisation(version.quantisation))


def check_networks(config: RunConfig, material: Material) -> None:
    """Return when the networks that `config` names as files take the patches of `material`, as far as that is known.

    Raises:
        FileNotFoundError, ValueError: as `refuse_networks` does, or one takes other inputs or tells other classes.
    """
    given: Preprocessing | None = None
    for reference in config.references:
        given = None if reference.path is None else _prepared(reference, preprocessing.identity("hwb"))
        _check(reference, given, material)
    for version in config.quantisations:
        # Beside a quantised file there is one reference, and its preprocessing is the file's where none is named.
        _check(version, _prepared(version, given), material)


def _prepared(entry: ReferenceConfig | QuantisedConfig, otherwise: Preprocessing | None) -> Preprocessing | None:
    return otherwise if entry.preprocessing is None else preprocessing.load(entry.preprocessing)


def _check(entry: ReferenceConfig | QuantisedConfig, given: Preprocessing | None, material: Material) -> None:
    if entry.path is None or given is None:
        return
    prepared = in_file_order(given, material)
    if is_deployed(entry.path):
        kernels, threads = entry.kernels, entry.threads
        model = deployed.load(entry.path, preprocessing=prepared, name=entry.label, kernels=kernels, threads=threads)
        return check_fit(model, material)
    shape = _look(entry.path, trust=entry.trust)
    if shape is None:
        return
    own = prepared.shape(material.patch_shape)
    if len(own) == len(shape):
        known = tuple(side if wanted is None else wanted for wanted, side in zip(shape, own, strict=True))
    else:
        known = tuple(side or 0 for side in shape)
    described = _Described(entry.label, prepared, known)
    check_bands(described, material)
    check_input(described, material.patch_shape)


def _look(path: Path, *, trust: bool) -> tuple[int | None, ...] | None:
    """The shape of one input of the network at `path`; None where it is unknown.

    Raises:
        FileNotFoundError, ValueError: as `quantise.inspected` does.
    """
    if is_saved_model(path) and find_spec("tensorflow") is None:
        return None
    return quantise.inspected(path, quantise.quantisation("float32"), trust=trust).input_shape
