"""Ask the networks of this kit about its findings, on the machine at hand. Needs NumPy and a LiteRT runtime.

    python replay.py [--finding N] [--kernels xnnpack|builtin|reference] [--threads N]

Exit code 0 where every answer is the expected class, 1 where one is not or a file was changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
except ImportError:
    from tflite_runtime.interpreter import Interpreter, OpResolverType

KIT = Path(__file__).resolve().parent
KERNELS = {"xnnpack": "BUILTIN", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}


def inside(name: str) -> Path:
    """Where a file of the kit lies; ValueError where its name leads elsewhere."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{name!r} leads out of the kit: its manifest was changed, nothing was read")
    return KIT / name


def stored(told: dict[str, Any]) -> np.ndarray:
    """The array of an entry of the manifest, from its raw bytes; ValueError where they or the .npy were changed."""
    raw = inside(told["raw"]).read_bytes()
    if hashlib.sha256(raw).hexdigest() != told["sha256"]:
        raise ValueError(f"{told['raw']} was changed: its SHA-256 is not that of the manifest")
    array = np.frombuffer(raw, np.dtype(told["dtype"]).newbyteorder("<")).reshape(told["shape"])
    if not np.array_equal(np.load(inside(told["npy"]), allow_pickle=False), array):
        raise ValueError(f"{told['npy']} was changed: it differs from {told['raw']}")
    return array.astype(told["dtype"])


def interpreter(told: dict[str, Any], kernels: str | None, threads: int | None) -> Any:
    """An interpreter of a network of the kit; ValueError where its file was changed."""
    content = inside(told["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        raise ValueError(f"{told['file']} was changed: its SHA-256 is not that of the manifest")
    return Interpreter(
        model_content=content,
        num_threads=threads or told["threads"],
        experimental_op_resolver_type=OpResolverType[KERNELS[kernels or told["kernels"]]],
    )


def answer(network: Any, given: np.ndarray) -> np.ndarray:
    """The output of a network for one input, both in the network's own types."""
    place = network.get_input_details()[0]["index"]
    network.resize_tensor_input(place, given.shape)
    network.allocate_tensors()
    network.set_tensor(place, given)
    network.invoke()
    return np.asarray(network.get_tensor(network.get_output_details()[0]["index"]))


def main() -> int:
    """Print a line for each input of each finding; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finding", type=int)
    parser.add_argument("--kernels", choices=list(KERNELS))
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    manifest = json.loads((KIT / "manifest.json").read_text(encoding="utf-8"))
    cases = [case for case in manifest["cases"] if asked.finding in (None, case["finding"])]
    networks: dict[str, Any] = {}
    failed = 0
    for case in cases:
        where = f"finding {case['finding']:>4}  {case['side']:<9}  {case['when']:<9}"
        told = manifest["models"][case["model"]]
        try:
            if case["model"] not in networks:
                networks[case["model"]] = interpreter(told, asked.kernels, asked.threads)
            expected = stored(case["expected"])
            got = answer(networks[case["model"]], stored(case["input"]))
        except (OSError, ValueError, RuntimeError) as error:
            failed += 1
            print(f"{where}  FAIL: {error}")
            continue
        scale = told["output"]["scale"] or 1.0
        apart = scale * np.abs(got.astype(np.float64) - expected.astype(np.float64)).max()
        found = int(got.reshape(got.shape[0], -1)[0].argmax())
        passed = found == case["expected_class"]
        failed += not passed
        names = f"expected {case['expected_class']}, got {found}"
        print(f"{where}  {names}  largest difference {apart:.3g}  {'PASS' if passed else 'FAIL'}")
    print(f"{len(cases) - failed} of {len(cases)} pass.")
    return 0 if cases and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
