"""Full-integer conversions that leave chosen layers in float, by TensorFlow's quantisation debugger in a child process.

The network is calibrated once; every choice of layers is then quantised from the same ranges.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from diverget.models.child import Emit, run
from diverget.models.compress.bridge import opened
from diverget.models.keras_file import check_harmless, inspect_keras, network_digest
from diverget.models.made import made_once
from diverget.models.training import versions

FORMAT = 1
"""Raised when the job below converts differently from the same settings: old cache entries no longer count."""

ADVICE = "the converter cannot leave these layers in float: try other layers, or another repair"


def convert_selective(
    keras_path: Path,
    kept: Mapping[str, Sequence[str]],
    *,
    calibration: np.ndarray,
    cache: Path,
    timeout: float = 600,
    trust: bool = False,
) -> dict[str, Path]:
    """For every choice in `kept` the path of an int8 .tflite file in which these layers stay in float.

    Input and output are float. The same call gives the same bytes.

    Args:
        keras_path: `.keras` (Keras 3 or tf_keras) or `.h5` (Keras 3 or Keras 2).
        kept: by a name of the choice, the names of the activations that stay in float, as a .tflite file of the
            network tells them; a name that the converter does not know has no effect, so look at the coverage.
        calibration: prepared inputs (n, *input_shape) float32.
        cache: directory of finished conversions, made when missing.
        timeout: seconds for all of them.
        trust: the author of the file may execute code here; never set it for a file of unknown origin.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no Keras network, one that carries code and is not trusted, no calibration inputs, or a failed
            conversion (`ModelError`), TensorFlow missing among the reasons.
    """
    keras_path, cache = Path(keras_path), Path(cache)
    found = inspect_keras(keras_path)
    if not trust:
        check_harmless(keras_path, found)
    z = np.ascontiguousarray(calibration, dtype=np.float32)
    if not len(z) or not np.isfinite(z).all():
        raise ValueError(
            f"Expected finite calibration inputs for {keras_path}, got shape {z.shape} with "
            f"{np.count_nonzero(~np.isfinite(z))} values that are not; give prepared patches of the calibration blocks."
        )
    same = [FORMAT, network_digest(keras_path), versions(), z.shape, sha256(z.tobytes()).hexdigest()]
    targets = {name: cache / f"{keras_path.stem}-kept-{_key(same, tensors)}.tflite" for name, tensors in kept.items()}
    missing = {name: list(kept[name]) for name, target in targets.items() if not target.is_file()}

    def make(folder: Path) -> None:
        np.savez(folder / "arrays.npz", z=z)
        run(
            selective_job,
            {
                "keras": str(keras_path),
                "family": found.family,
                "trust": trust,
                "arrays": str(folder / "arrays.npz"),
                "choices": [[tensors, str(folder / targets[name].name)] for name, tensors in missing.items()],
            },
            task=f"the conversion of {keras_path} with layers left in float",
            advice=ADVICE,
            timeout=timeout,
        )

    if missing:
        # Two choices of the same layers are one file.
        made_once(list({targets[name]: None for name in missing}), make)
    return targets


def _key(same: Sequence[Any], tensors: Sequence[str]) -> str:
    return sha256(json.dumps([*same, sorted(tensors)], sort_keys=True).encode()).hexdigest()[:16]


def selective_job(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Job: load, calibrate once, quantise under every choice, write."""
    import tensorflow as tf

    _, model = opened(payload)
    with np.load(payload["arrays"], allow_pickle=False) as stored:
        z = stored["z"]
    rows = model.inputs[0].shape[0] or 1

    def batches() -> Any:
        return ([z[i : i + rows]] for i in range(0, len(z) - rows + 1, rows))

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = batches
    debugger = None
    # Keras prints every tensor it exports, which would bury the last words of a crash.
    with contextlib.redirect_stdout(io.StringIO()):
        for tensors, target in payload["choices"]:
            options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=list(tensors))
            if debugger is None:
                debugger = tf.lite.experimental.QuantizationDebugger(
                    converter=converter, debug_dataset=batches, debug_options=options
                )
            else:
                debugger.options = options
            Path(target).write_bytes(debugger.get_nondebug_quantized_model())
    return {}
