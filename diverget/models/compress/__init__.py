"""Training steps before conversion: pruning, clustering, quantisation-aware training, distillation.

`table` names them and says what they cannot do, `compress` runs one in a child process, `bridge` carries networks
between Keras 3 and tf_keras (which tensorflow-model-optimization works on), `jobs` is what the child does.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models import quantisations
from diverget.models.child import Emit, run
from diverget.models.compress.jobs import compress_job
from diverget.models.compress.table import (
    COMPRESSIONS,
    INTEGERS,
    SETTINGS,
    Compression,
    Settings,
    compression,
    refusal,
)
from diverget.models.keras_file import check_harmless, inspect_keras, layers_of, network_digest
from diverget.models.made import made_once
from diverget.models.training import versions

__all__ = [
    "COMPRESSIONS",
    "INTEGERS",
    "SETTINGS",
    "Compressed",
    "Compression",
    "Settings",
    "compress",
    "compressed_size",
    "compression",
    "refusal",
]

FORMAT = 2
"""Raised when the job compresses differently from the same settings: old cache entries no longer count."""

ADVICE = "try fewer steps, another compression, or compress elsewhere and give the .tflite file"


@dataclass(frozen=True)
class Compressed:
    """A compressed network.

    Attributes:
        path: a `.keras` file of the family of the source, or the `.tflite` file where the compression fixes the
            integers itself (`Compression.integers`).
        facts: `steps`, `seconds`, `parameters`, cross-entropy and accuracy before and after on training and validation
            inputs (None without), and what the compression reached: `sparsity`, `clusters`, `student_parameters`,
            `initial_range_share`.
        from_cache: it was there already.
    """

    path: Path
    facts: dict[str, Any]
    from_cache: bool


def compress(
    keras_path: Path,
    compression: Compression,
    *,
    x: np.ndarray,
    y: np.ndarray,
    classes: int,
    validation: tuple[np.ndarray, np.ndarray] | None,
    settings: Settings,
    quantisation: str,
    seed: int,
    cache: Path,
    timeout: float,
    trust: bool = False,
    on_event: Emit | None = None,
) -> Compressed:
    """The network of a Keras file after `compression`; the same call gives the same weights.

    Args:
        keras_path: `.keras` (Keras 3 or tf_keras) or `.h5` (Keras 3 or Keras 2).
        compression: one of `COMPRESSIONS`.
        x: prepared training inputs (n, ...) float32, as the network takes them.
        y: (n,) classes 0..classes-1.
        classes: number of classes of the data; the network may know more.
        validation: prepared inputs and classes of other pixels, on which accuracy is told, or None.
        settings: with nothing left open, see `Compression.filled`.
        quantisation: name of the conversion that follows; where `compression.integers`, it is done here.
        seed: of batches, dropout, centroids and the weights of a student.
        cache: directory of finished compressions, made when missing.
        timeout: seconds.
        trust: the author of the file may execute code here; never set it for a file of unknown origin.
        on_event: gets `{"event": "step", "step", "steps", "loss"}` now and then.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no Keras network, one that carries code and is not trusted, one that the compression refuses,
            arrays that do not fit together, or a failed job (`ModelError`), TensorFlow missing among the reasons.
    """
    keras_path = Path(keras_path)
    found = inspect_keras(keras_path)
    if not trust:
        check_harmless(keras_path, found)
    refuse(keras_path, compression, quantisation, keeps_layers=settings.student is None)
    arrays: dict[str, np.ndarray] = {}
    for prefix, (inputs, labels) in {"": (x, y), **({"val_": validation} if validation else {})}.items():
        arrays[f"{prefix}x"] = np.ascontiguousarray(inputs, dtype=np.float32)
        arrays[f"{prefix}y"] = np.asarray(labels).astype(np.int64)
    _check(arrays, classes, found.input_shape, keras_path)
    target = quantisation if compression.integers else None
    asked: dict[str, Any] = {
        "compression": compression.name,
        "quantisation": target,
        "settings": asdict(settings),
        "classes": classes,
        "seed": seed,
        "family": found.family,
    }
    key = _key({**asked, "network": network_digest(keras_path)}, arrays)
    stem = f"{keras_path.stem}-{compression.name}-{key[:16]}"
    network, record = (Path(cache, f"{stem}.{kind}") for kind in ("tflite" if target else "keras", "json"))

    def make(folder: Path) -> None:
        np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]
        files = {
            "keras": str(keras_path),
            "arrays": str(folder / "arrays.npz"),
            "network": str(folder / network.name),
        }
        told = run(
            compress_job,
            asked | files | {"trust": trust},
            task=f"the compression of {keras_path} by {compression.name}",
            advice=ADVICE,
            timeout=timeout,
            on_event=on_event,
        )
        (folder / record.name).write_text(json.dumps(told) + "\n", encoding="utf-8")

    from_cache = made_once((network, record), make)
    return Compressed(network, json.loads(record.read_text(encoding="utf-8")), from_cache)


def compressed_size(path: Path) -> int:
    """Bytes of a file under zlib at its best: zeros and repeated weights save space only there."""
    return len(zlib.compress(Path(path).read_bytes(), level=9))


def refuse(path: Path, compression: Compression, quantisation: str, *, keeps_layers: bool) -> None:
    """Return when nothing in the layers of a Keras file is against compressing it, and quantising it after that.

    Args:
        keeps_layers: the compressed network has the layers of the file; a student of the zoo has others.

    Raises:
        FileNotFoundError, ValueError: no Keras network, or one that is refused.
    """
    layers = layers_of(path)
    reason = refusal(layers, compression, keeps_layers=keeps_layers)
    if reason is not None:
        raise ValueError(f"Expected a network fit for {compression.name!r}, got {path}: {reason}.")
    reason = quantisations.refusal(layers, quantisations.quantisation(quantisation)) if keeps_layers else None
    if reason is not None:
        raise ValueError(
            f"Expected a network fit for {quantisation!r} after {compression.name!r}, got {path}: {reason}."
        )
    if compression.integers and quantisation not in INTEGERS:
        raise ValueError(
            f"Expected after {compression.name!r} one of {', '.join(INTEGERS)}, got {quantisation!r}; choose one of "
            "these."
        )


def _check(arrays: dict[str, np.ndarray], classes: int, wanted: tuple[int | None, ...] | None, path: Path) -> None:
    for x, y, what in (("x", "y", "training"), ("val_x", "val_y", "validation")):
        if x not in arrays:
            continue
        z, labels = arrays[x], arrays[y]
        if labels.shape != (len(z),) or not len(z):
            raise ValueError(
                f"Expected prepared {what} inputs (n, ...) and one class for each, got shapes {z.shape} and "
                f"{labels.shape}; give at least one."
            )
        if labels.min() < 0 or labels.max() >= classes:
            raise ValueError(
                f"Expected {what} classes from 0 to {classes - 1}, got {labels.min()} to {labels.max()}; leave "
                "unlabelled pixels out, or mend the number of classes."
            )
        if wanted is not None and (
            len(wanted) != z.ndim - 1 or any(a not in (None, b) for a, b in zip(wanted, z.shape[1:], strict=True))
        ):
            raise ValueError(
                f"Expected {what} inputs of shape (n, {', '.join(map(str, wanted))}), as {path} takes them, got "
                f"{z.shape}; prepare them with the preprocessing of this network."
            )
        if not np.isfinite(z).all():
            raise ValueError(
                f"Expected finite {what} inputs for {path}, got {np.count_nonzero(~np.isfinite(z))} values that are "
                "not; leave invalid pixels out."
            )


def _key(asked: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    try:
        optimiser = version("tensorflow-model-optimization")
    except PackageNotFoundError:
        optimiser = ""
    found = sha256(json.dumps([FORMAT, asked, versions(), optimiser], sort_keys=True).encode())
    for name, array in arrays.items():
        found.update(f"{name} {array.shape} {array.dtype.str} ".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
