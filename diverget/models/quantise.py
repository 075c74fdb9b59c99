"""Keras networks as .tflite files, float or quantised, by TensorFlow's converter in a child process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.child import Emit, ModelError, run
from diverget.models.keras_file import KerasFile, check_harmless, inspect_keras, network_digest
from diverget.models.preprocessing import identity
from diverget.models.tflite import load, softmax
from diverget.models.training import versions

FORMAT = 1
"""Raised when the job below converts differently from the same settings: old cache entries no longer count."""

ADVICE = (
    "the converter fails or crashes on some layers (3-D pooling, recurrent layers in int8): try another quantisation, "
    "replace the layer, or convert elsewhere and give the .tflite file"
)


@dataclass(frozen=True)
class Quantisation:
    """A way from a Keras network to a .tflite file.

    Attributes:
        name: its name in a config.
        summary: one sentence for the report.
        needs_calibration: ranges of the activations come from prepared inputs.
    """

    name: str
    summary: str
    needs_calibration: bool


QUANTISATIONS = (
    Quantisation("float32", "Nothing is quantised: the float reference.", False),
    Quantisation("float16", "Weights are stored as float16; CPUs compute in float32.", False),
    Quantisation("dynamic_int8", "Weights are int8; activations are quantised on the fly, in each operator.", False),
    Quantisation("int8", "Weights and activations are int8 where an int8 kernel exists; input and output float.", True),
    Quantisation("int8_io", "As int8, with int8 input and output.", True),
)


def quantisation(name: str) -> Quantisation:
    """The quantisation called `name`.

    Raises:
        ValueError: there is none.
    """
    for entry in QUANTISATIONS:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in QUANTISATIONS)
    raise ValueError(f"Expected the name of a quantisation, got {name!r}; choose one of {known}.")


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
        keras_path: `.keras` (Keras 3 or tf_keras) or `.h5` (Keras 3 or Keras 2).
        quantisation: one of `QUANTISATIONS`.
        calibration: prepared inputs (n, *input_shape) float32 of calibration patches; ignored where not needed.
        cache: directory of finished conversions, made when missing.
        timeout: seconds.
        trust: the author of the file may execute code here (Lambda layers); never set it for a file of unknown origin.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no Keras network, one that carries code and is not trusted, calibration missing or of another
            shape, or a failed conversion (`ModelError`), TensorFlow missing among the reasons.
    """
    keras_path = Path(keras_path)
    found = _inspected(keras_path, trust)
    arrays: dict[str, np.ndarray] = {}
    if quantisation.needs_calibration:
        arrays["z"] = _calibration(calibration, found, keras_path, quantisation)
    settings = {"network": network_digest(keras_path), "quantisation": quantisation.name, "family": found.family}
    key = sha256(json.dumps([FORMAT, settings, versions()], sort_keys=True).encode())
    for array in arrays.values():
        key.update(f"{array.shape} ".encode() + array.tobytes())
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"{keras_path.stem}-{quantisation.name}-{key.hexdigest()[:16]}.tflite"
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(prefix=".conversion-", dir=cache) as folder:
        np.savez(f"{folder}/arrays.npz", **arrays)  # type: ignore[arg-type]
        run(
            convert_job,
            {
                "keras": str(keras_path),
                "family": found.family,
                "trust": trust,
                "quantisation": quantisation.name,
                "arrays": f"{folder}/arrays.npz",
                "tflite": f"{folder}/network.tflite",
            },
            task=f"the conversion of {keras_path} to {quantisation.name}",
            advice=ADVICE,
            timeout=timeout,
        )
        os.replace(f"{folder}/network.tflite", target)
    return target


def float_check(
    keras_path: Path, tflite_path: Path, z: np.ndarray, *, timeout: float = 600, trust: bool = False
) -> float:
    """The largest difference of probability between Keras and the .tflite file on prepared inputs z.

    A float32 conversion stays below 1e-5.

    Raises:
        FileNotFoundError, ValueError: as `convert` does.
    """
    keras_path, z = Path(keras_path), np.ascontiguousarray(z, dtype=np.float32)
    found = _inspected(keras_path, trust)
    model = load(tflite_path, preprocessing=identity(), name=Path(tflite_path).stem)
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
        outputs = np.load(f"{folder}/outputs.npy", allow_pickle=False).reshape(len(z), -1)
    expected = softmax(outputs) if model.logits else outputs
    return float(np.abs(expected - model.infer(z)).max())


def _inspected(path: Path, trust: bool) -> KerasFile:
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
    """Job: load, convert, write."""
    import tensorflow as tf

    model = _opened(payload)
    name = payload["quantisation"]
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if name != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if name == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if name in ("int8", "int8_io"):
        with np.load(payload["arrays"], allow_pickle=False) as stored:
            z = stored["z"]
        # A network with the batch size written into it is calibrated in such batches.
        rows = model.inputs[0].shape[0] or 1
        converter.representative_dataset = lambda: ([z[i : i + rows]] for i in range(0, len(z) - rows + 1, rows))
    if name == "int8_io":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    # Keras prints every tensor it exports, which would bury the last words of a crash.
    with contextlib.redirect_stdout(io.StringIO()):
        content = converter.convert()
    Path(payload["tflite"]).write_bytes(content)
    return {}


def predict_job(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: the outputs of a Keras network, as they are."""
    model = _opened(payload)
    with np.load(payload["arrays"], allow_pickle=False) as stored:
        z = stored["z"]
    rows = model.inputs[0].shape[0] or 32
    parts = []
    for start in range(0, len(z), rows):
        part = z[start : start + rows]
        short = rows - len(part) if model.inputs[0].shape[0] else 0
        padded = np.concatenate([part, np.repeat(part[-1:], short, axis=0)])
        parts.append(np.asarray(model(padded, training=False))[: len(part)])
    np.save(payload["outputs"], np.concatenate(parts).astype(np.float32))
    return {}
