"""Ask the networks of this kit about its findings, on the machine at hand.

Needs NumPy, a LiteRT runtime for .tflite networks and onnxruntime for .onnx networks.

    python replay.py [--finding N] [--kernels xnnpack|builtin|reference] [--threads N]

Exit code 0 where every answer is the expected class, 1 where one is not or a file was changed, 2 where the kit
does not hold what is asked for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

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


def opened(told: dict[str, Any], kernels: str | None, threads: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """A network of the kit, from an input to its output, both in its own types; ValueError where its file was changed,
    ImportError without its runtime."""
    content = inside(told["file"]).read_bytes()
    if hashlib.sha256(content).hexdigest() != told["sha256"]:
        raise ValueError(f"{told['file']} was changed: its SHA-256 is not that of the manifest")
    if told["file"].endswith(".onnx"):
        return in_onnxruntime(content, threads or told["threads"])
    return in_litert(content, KERNELS[kernels or told["kernels"]], threads or told["threads"])


def in_litert(content: bytes, resolver: str, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A .tflite network."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        from tflite_runtime.interpreter import Interpreter, OpResolverType
    network = Interpreter(
        model_content=content, num_threads=threads, experimental_op_resolver_type=OpResolverType[resolver]
    )

    def answer(given: np.ndarray) -> np.ndarray:
        place = network.get_input_details()[0]["index"]
        network.resize_tensor_input(place, given.shape)
        network.allocate_tensors()
        network.set_tensor(place, given)
        network.invoke()
        return np.asarray(network.get_tensor(network.get_output_details()[0]["index"]))

    return answer


def in_onnxruntime(content: bytes, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """An .onnx network, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def answer(given: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {session.get_inputs()[0].name: given})[0])

    return answer


def spans(numbers: list[int]) -> str:
    """Numbers in ascending order as a text, neighbours drawn together: `0 to 3, 7`."""
    told: list[list[int]] = []
    for number in numbers:
        if told and number == told[-1][-1] + 1:
            told[-1] = [told[-1][0], number]
        else:
            told.append([number])
    return ", ".join(" to ".join(map(str, ends)) for ends in told) or "which holds none"


def main() -> int:
    """Print a line for each input of each finding; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--finding", type=int)
    parser.add_argument("--kernels", choices=list(KERNELS), help="of .tflite networks")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    manifest = json.loads((KIT / "manifest.json").read_text(encoding="utf-8"))
    held = sorted({case["finding"] for case in manifest["cases"]})
    if asked.finding is not None and asked.finding not in held:
        parser.error(f"Expected a finding of this kit, {spans(held)}, for --finding, got {asked.finding}.")
    if asked.threads is not None and asked.threads < 1:
        parser.error(
            f"Expected at least 1 thread for --threads, got {asked.threads}; leave it out for those of the run."
        )
    cases = [case for case in manifest["cases"] if asked.finding in (None, case["finding"])]
    networks: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    failed = 0
    for case in cases:
        where = f"finding {case['finding']:>4}  {case['side']:<9}  {case['when']:<9}"
        told = manifest["models"][case["model"]]
        try:
            if case["model"] not in networks:
                networks[case["model"]] = opened(told, asked.kernels, asked.threads)
            expected = stored(case["expected"])
            got = networks[case["model"]](stored(case["input"]))
        except (OSError, ValueError, RuntimeError, ImportError) as error:
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
