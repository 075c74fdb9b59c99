"""Keras networks as .tflite files, float or quantised, by TensorFlow's converter in a child process."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models import saved_model
from diverget.models.child import Emit, ModelError, run
from diverget.models.keras_file import (
    KerasFile,
    Layer,
    check_harmless,
    inspect_keras,
    layers_in,
    layers_of,
    network_digest,
)
from diverget.models.lowering import check_lowered, lower
from diverget.models.made import made_once
from diverget.models.preprocessing import identity
from diverget.models.quantisations import IN_FLOAT, QUANTISATIONS, Quantisation, caveat, quantisation, refusal
from diverget.models.tflite import load, softmax
from diverget.models.training import versions

__all__ = [
    "QUANTISATIONS",
    "Quantisation",
    "caveat",
    "convert",
    "float_check",
    "layers_built",
    "quantisation",
    "refusal",
]

FORMAT = 2
"""Raised when the job below converts differently from the same settings: old cache entries no longer count."""

LOWERING = "3"
"""Raised when the same network is lowered to other operators: the same of lowered conversions."""

ADVICE = (
    "the converter fails or crashes on some layers (3-D pooling, recurrent layers in int8): try another quantisation, "
    "replace the layer, or convert elsewhere and give the .tflite file"
)


def convert(
    keras_path: Path,
    quantisation: Quantisation,
    *,
    calibration: np.ndarray | None,
    cache: Path,
    timeout: float = 600,
    trust: bool = False,
) -> Path:
    """The path of the .tflite file of a Keras network under `quantisation`; the same call gives the same bytes.

    Args:
        keras_path: `.keras` (Keras 3 or tf_keras), `.h5` (Keras 3 or Keras 2), or a SavedModel directory.
        quantisation: one of `QUANTISATIONS`.
        calibration: prepared inputs (n, *input_shape) float32 of calibration patches; ignored where not needed.
        cache: directory of finished conversions, made when missing.
        timeout: seconds.
        trust: the author of the file may execute code here (Lambda layers, operators of a SavedModel that reach
            files or Python); never set it for a file of unknown origin.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no Keras network, one that carries code and is not trusted, one with layers that the quantisation
            cannot take, calibration missing or of another shape, or a failed conversion (`ModelError`), TensorFlow
            missing among the reasons.
    """
    keras_path = Path(keras_path)
    found = inspected(keras_path, quantisation, trust=trust)
    arrays: dict[str, np.ndarray] = {}
    if quantisation.needs_calibration:
        arrays["z"] = _calibration(calibration, found, keras_path, quantisation)
    settings = {"network": _digest(keras_path, found), "quantisation": quantisation.name, "family": found.family}
    if quantisation.lowered:
        settings["lowering"] = LOWERING
    key = sha256(json.dumps([FORMAT, settings, versions()], sort_keys=True).encode())
    for array in arrays.values():
        key.update(f"{array.shape} ".encode() + array.tobytes())
    target = Path(cache, f"{keras_path.stem}-{quantisation.name}-{key.hexdigest()[:16]}.tflite")

    def make(folder: Path) -> None:
        np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]
        run(
            convert_job,
            {
                "keras": str(keras_path),
                "family": found.family,
                "trust": trust,
                "quantisation": quantisation.name,
                "arrays": str(folder / "arrays.npz"),
                "tflite": str(folder / target.name),
            },
            task=f"the conversion of {keras_path} to {quantisation.name}",
            advice=ADVICE,
            timeout=timeout,
        )

    made_once([target], make)
    return target


def inspected(keras_path: Path, quantisation: Quantisation, *, trust: bool) -> KerasFile:
    """What a Keras file or SavedModel holds, where nothing is known against converting it under `quantisation`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no Keras network, a damaged one, one that carries code and is not trusted, or one with layers that
            the quantisation cannot take.
    """
    found = _inspected(keras_path, trust)
    refuse(keras_path, quantisation)
    _digest(keras_path, found)
    return found


def refuse(keras_path: Path, quantisation: Quantisation) -> None:
    """Return when no layer of a Keras file or SavedModel is known to be against `quantisation`.

    Raises:
        FileNotFoundError, ValueError: no Keras network, or one with layers that the quantisation cannot take.
    """
    reason: str | None = None
    if not saved_model.is_saved_model(keras_path):
        reason = refusal(layers_of(keras_path), quantisation)
    elif quantisation.lowered:
        reason = "a SavedModel tells no layers that could be lowered: give the Keras file"
    if reason is not None:
        raise ValueError(
            f"Expected a network fit for the quantisation {quantisation.name!r}, got {keras_path}: {reason}."
        )


def float_check(
    keras_path: Path,
    tflite_path: Path,
    z: np.ndarray,
    *,
    cache: Path | None = None,
    timeout: float = 600,
    trust: bool = False,
) -> float:
    """The largest difference of probability between Keras and the .tflite file on prepared inputs z.

    A float32 conversion stays below 1e-5.

    Args:
        cache: directory where the outputs of Keras are kept; None asks it every time.

    Raises:
        FileNotFoundError, ValueError: as `convert` does.
    """
    keras_path, z = Path(keras_path), np.ascontiguousarray(z, dtype=np.float32)
    found = _inspected(keras_path, trust)
    model = load(tflite_path, preprocessing=identity(), name=Path(tflite_path).stem)
    if cache is None:
        outputs = _outputs(keras_path, found, z, trust, timeout)
    else:
        settings = {"network": _digest(keras_path, found), "shape": z.shape}
        key = sha256(json.dumps([FORMAT, settings, versions()], sort_keys=True).encode() + z.tobytes()).hexdigest()
        target = Path(cache, f"{keras_path.stem}-outputs-{key[:16]}.npy")

        def make(folder: Path) -> None:
            np.save(folder / target.name, _outputs(keras_path, found, z, trust, timeout))

        made_once([target], make)
        outputs = np.load(target, allow_pickle=False)
    expected = softmax(outputs) if model.logits else outputs
    return float(np.abs(expected - model.infer(z)).max())


def _digest(path: Path, found: KerasFile) -> str:
    return saved_model.directory_digest(path) if found.family == saved_model.FAMILY else network_digest(path)


def _outputs(keras_path: Path, found: KerasFile, z: np.ndarray, trust: bool, timeout: float) -> np.ndarray:
    """What Keras gives for z, (n, k)."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/arrays.npz", z=z)
        run(
            predict_job,
            {
                "keras": str(keras_path),
                "family": found.family,
                "trust": trust,
                "arrays": f"{folder}/arrays.npz",
                "outputs": f"{folder}/outputs.npy",
            },
            task=f"the prediction of {keras_path} in Keras",
            advice="check that Keras itself opens the file",
            timeout=timeout,
        )
        outputs: np.ndarray = np.load(f"{folder}/outputs.npy", allow_pickle=False).reshape(len(z), -1)
    return outputs


def _inspected(path: Path, trust: bool) -> KerasFile:
    if saved_model.is_saved_model(path):
        return saved_model.inspect_saved_model(path, trust=trust)
    found = inspect_keras(path)
    if not trust:
        check_harmless(path, found)
    return found


def _calibration(
    calibration: np.ndarray | None, found: KerasFile, path: Path, quantisation: Quantisation
) -> np.ndarray:
    if calibration is None or not len(calibration):
        raise ValueError(
            f"Expected calibration inputs for the quantisation {quantisation.name!r} of {path}, got none; give "
            "prepared patches (100 or more) of the calibration blocks."
        )
    z = np.ascontiguousarray(calibration, dtype=np.float32)
    wanted = found.input_shape
    if wanted is not None and (
        len(wanted) != z.ndim - 1 or any(a not in (None, b) for a, b in zip(wanted, z.shape[1:], strict=True))
    ):
        raise ValueError(
            f"Expected calibration inputs of shape (n, {', '.join(map(str, wanted))}), as {path} takes them, got "
            f"{z.shape}; prepare them with the preprocessing of this network."
        )
    if not np.isfinite(z).all():
        raise ValueError(
            f"Expected finite calibration inputs for {path}, got {np.count_nonzero(~np.isfinite(z))} values that are "
            "not; leave invalid pixels out."
        )
    return z


def _opened(payload: dict[str, Any]) -> Any:
    """The Keras network of a job, by the family that wrote it."""
    if payload["family"] == "tf_keras":
        import tf_keras as keras
    else:
        import keras
    try:
        return keras.models.load_model(payload["keras"], compile=False, safe_mode=not payload["trust"])
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            f"Expected a network that {payload['family']} {keras.__version__} loads, got {payload['keras']}, which it "
            f"refuses: {reason[:300]}; save it again with this version, or give the .tflite files."
        ) from None


def convert_job(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: load, lower where asked, convert, write."""
    import tensorflow as tf

    way = quantisation(payload["quantisation"])
    with np.load(payload["arrays"], allow_pickle=False) as stored:
        z = stored["z"] if way.needs_calibration else None
    converter, rows = _converter(payload, way, z)
    if way.name not in IN_FLOAT:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if way.name == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if z is not None:
        # The last row fills the last batch: the ranges stay those of the rows.
        z = np.concatenate([z, np.repeat(z[-1:], -len(z) % rows, axis=0)])
        converter.representative_dataset = lambda: ([z[i : i + rows]] for i in range(0, len(z), rows))
    if way.name == "int8_io":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    if way.name == "int8_per_tensor":
        converter._experimental_disable_per_channel = True
    if way.name == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
    # Keras prints every tensor it exports, which would bury the last words of a crash.
    with contextlib.redirect_stdout(io.StringIO()):
        content = converter.convert()
    Path(payload["tflite"]).write_bytes(content)
    return {}


def _converter(payload: dict[str, Any], way: Quantisation, z: np.ndarray | None) -> tuple[Any, int]:
    """TensorFlow's converter of a job's network, lowered and checked where asked, and the rows it is calibrated with
    at once.

    A network with the batch size written into it is calibrated in such batches.
    """
    import tensorflow as tf

    if payload["family"] == saved_model.FAMILY:
        return saved_model.converter(payload["keras"])
    model = _opened(payload)
    if way.lowered:
        function = lower(model)
        check_lowered(model, function, z)
        return tf.lite.TFLiteConverter.from_concrete_functions([function]), int(function.inputs[0].shape[0])
    return tf.lite.TFLiteConverter.from_keras_model(model), model.inputs[0].shape[0] or 1


def layers_built(build: Any, input_shape: tuple[int, ...], classes: int, *, timeout: float = 300) -> tuple[Layer, ...]:
    """The layers of the network that `build(keras, input_shape, classes)` makes, built in a child process.

    Raises:
        ModelError: it cannot be built, TensorFlow missing among the reasons.
    """
    source = f"{build.__module__}:{build.__qualname__}"
    told = run(
        configure_job,
        {"build": source, "input_shape": list(input_shape), "classes": classes},
        task=f"the building of {source}",
        advice="give the Keras file of a trained network instead",
        timeout=timeout,
    )
    return layers_in(told["configuration"])


def configure_job(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: build a network, and tell its configuration."""
    import importlib

    import keras

    module, _, name = payload["build"].partition(":")
    build = getattr(importlib.import_module(module), name)
    model = build(keras, tuple(payload["input_shape"]), payload["classes"])
    return {"configuration": json.loads(model.to_json())}


def predict_job(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: the outputs of a Keras network, as they are."""
    with np.load(payload["arrays"], allow_pickle=False) as stored:
        z = stored["z"]
    if payload["family"] == saved_model.FAMILY:
        np.save(payload["outputs"], saved_model.predicted(payload["keras"], z))
        return {}
    model = _opened(payload)
    rows = model.inputs[0].shape[0] or 32
    parts = []
    for start in range(0, len(z), rows):
        part = z[start : start + rows]
        short = rows - len(part) if model.inputs[0].shape[0] else 0
        padded = np.concatenate([part, np.repeat(part[-1:], short, axis=0)])
        parts.append(np.asarray(model(padded, training=False))[: len(part)])
    np.save(payload["outputs"], np.concatenate(parts).astype(np.float32))
    return {}
