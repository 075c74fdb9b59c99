"""The replay kit: findings as plain inputs in the networks' own types, to be fed to a device."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from diverget.findings import source_patch
from diverget.models.deployed import Deployed
from diverget.models.onnx import OnnxModel
from diverget.models.onnx_session import End, OnnxSession
from diverget.models.runtime import Session, quantised
from diverget.models.tflite import TFLiteModel, softmax
from diverget.store import Store, appearing
from experiments.pairs import load_pair
from experiments.record.contents import FINDING_ARRAYS
from experiments.record.reading import read_json, read_rows, telling_damage

SCHEMA = "diverget-replay-kit/2"
"""Raised when a key of the manifest changes its meaning or goes."""

TEMPLATES = Path(__file__).parent / "templates"
PLAIN = {"replay_kit.py": "replay.py", "replay_kit.txt": "README.txt"}
"""Files that every kit has, by the template they are copies of."""


def export(root: Path, out: Path, number: int | None) -> dict[str, Any]:
    """Write the confirmed findings of the run in `root` (or one of them) as a kit into `out`; its manifest.

    A kit holds what the last export asked for: one that is there already is replaced.

    Raises:
        ValueError: the run has no findings yet, none that is confirmed, or none of that number; `out` holds something
            else; a model is damaged, or gives another class here than in the run.
    """
    store = Store(root)
    if not store.has("findings.parquet"):
        raise ValueError(
            f"Expected findings in {root}, got a run that has not come that far; start it again to finish it."
        )
    with telling_damage(store):
        found, run = read_rows(store, "findings.parquet"), read_json(store, "manifest.json")
        class_names = read_json(store, "data.json")["class_names"]
    rows = [row for row in found if row["confirmed"] and number in (None, row["finding"])]
    if not rows:
        which = "a confirmed finding" if number is None else f"the number of a confirmed finding, got {number},"
        raise ValueError(f"Expected {which} in {root}, got none to export; see its report.")
    _make_room(out)
    models: dict[str, Any] = {}
    pairs: dict[str, tuple[_Side, _Side]] = {}
    cases: list[dict[str, Any]] = []
    for row in rows:
        if row["pair"] not in pairs:
            reference, other = load_pair(store, row["pair"])
            pairs[row["pair"]] = _Side("reference", reference), _Side("quantised", other)
        arrays = store.read_arrays(row["file"], having=FINDING_ARRAYS)
        for side in pairs[row["pair"]]:
            if side.model.name not in models:
                models[side.model.name] = side.kept(out)
            cases += [side.case(row, arrays, when, out) for when in ("source", "follow_up")]
    manifest = {
        "schema": SCHEMA,
        "run": {"name": run["name"], "digest": run["digest"], "versions": run["versions"]},
        "byte_order": "little",
        "class_names": class_names,
        "models": models,
        "findings": [
            {key: row[key] for key in ("finding", "pair", "chain", "severity", "reference_class", "quantised_class")}
            for row in rows
        ],
        "cases": cases,
    }
    for template, name in PLAIN.items():
        shutil.copyfile(TEMPLATES / template, out / name)
    Store(out).write_json("manifest.json", manifest)
    return manifest


def _make_room(out: Path) -> None:
    """An empty place for a kit, or that of an earlier one without its findings and models."""
    if out.exists() and not out.is_dir():
        raise ValueError(f"Expected a folder for the kit, got the file {out}; choose another --out.")
    if out.is_dir() and any(out.iterdir()) and not _is_kit(out / "manifest.json"):
        raise ValueError(
            f"Expected an empty folder for the kit, or that of an earlier one, got {out} with other files in it; "
            "choose another --out."
        )
    for name in ("findings", "models"):
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)


def held(out: Path) -> int | None:
    """The number of findings of the kit in the folder `out`; None where there is no kit."""
    if not _is_kit(out / "manifest.json"):
        return None
    findings = json.loads((out / "manifest.json").read_text(encoding="utf-8")).get("findings")
    return len(findings) if isinstance(findings, list) else 0


def _is_kit(manifest: Path) -> bool:
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, Mapping) and str(content.get("schema", "")).startswith("diverget-replay-kit/")


@dataclass(frozen=True)
class _Asked:
    """A network in an interpreter or a session of its own.

    Attributes:
        input, output: what the manifest tells of its two ends.
        ask: from prepared inputs z to what the network takes, what it answers in its own type, and the class scores
            (n, k) float32.
    """

    input: dict[str, Any]
    output: dict[str, Any]
    ask: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _in_litert(model: TFLiteModel) -> _Asked:
    session = Session(model.content, kernels=model.kernels, threads=model.threads)

    def ask(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scores = session.run(z).reshape(len(z), -1)
        return quantised(z, session.input), session.interpreter.get_tensor(session.output["index"]), scores

    return _Asked(_tensor(session.input), _tensor(session.output), ask)


def _in_onnxruntime(model: OnnxModel) -> _Asked:
    session, graph = OnnxSession(model.content), model.graph

    def ask(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        given = graph.source.given(z)
        (answer,) = session.session.run([graph.target.name], {graph.source.name: given})
        return given, answer, graph.target.taken(answer).reshape(len(z), -1)

    rows = graph.rows if graph.fixed else 1
    return _Asked(_end(graph.source, (rows, *graph.input_shape)), _end(graph.target, (rows, graph.classes)), ask)


class _Side:
    """One side of a pair."""

    def __init__(self, name: str, model: Deployed) -> None:
        self.name = name
        self.model = model
        self.asked = _in_onnxruntime(model) if isinstance(model, OnnxModel) else _in_litert(model)

    def kept(self, out: Path) -> dict[str, Any]:
        """Put the network into the kit; what the manifest tells of it."""
        file = f"models/{self.model.name}{self.model.path.suffix}"
        with appearing(Store(out).path(file)) as temporary:
            temporary.write_bytes(self.model.content)
        return {
            "file": file,
            "sha256": sha256(self.model.content).hexdigest(),
            "kernels": self.model.kernels,
            "threads": self.model.threads,
            "logits": self.model.logits,
            "input": self.asked.input,
            "output": self.asked.output,
        }

    def case(self, row: Mapping[str, Any], arrays: Mapping[str, np.ndarray], when: str, out: Path) -> dict[str, Any]:
        """Write what this side is given and what it answers; what the manifest tells of it.

        Raises:
            ValueError: it answers another class than in the run.
        """
        z = self.model.preprocessing.apply(_patch(arrays, when)[None])
        if self.model.graph.fixed:
            z = np.repeat(z, self.model.graph.rows, axis=0)
        given, answer, scores = self.asked.ask(z)
        p = softmax(scores)[0] if self.model.logits else scores[0]
        told = self.told(row, arrays, when)
        if int(p.argmax()) != told["expected_class"]:
            raise ValueError(
                f"Expected class {told['expected_class']} of {self.model.name!r} for the {when.replace('_', '-')} of "
                f"finding {row['finding']}, as the run has it, got {int(p.argmax())} on this machine; export where "
                "`diverget replay` reproduces it."
            )
        stem = f"findings/{row['finding']:04d}/{self.name}_{when}"
        return {
            **told,
            "input": _written(out, f"{stem}_input", given),
            "expected": _written(out, f"{stem}_expected", answer),
        }

    def told(self, row: Mapping[str, Any], arrays: Mapping[str, np.ndarray], when: str) -> dict[str, Any]:
        """What this side said in the run: class, and by how much in probability it leads the next one."""
        p = arrays[self.name if when == "follow_up" else f"{self.name}_source"]
        second, first = np.sort(p)[-2:].astype(float)
        return {
            "finding": row["finding"],
            "side": self.name,
            "when": when,
            "model": self.model.name,
            "expected_class": int(p.argmax()),
            "margin": float(first - second),
        }


def _patch(arrays: Mapping[str, np.ndarray], when: str) -> np.ndarray:
    """The raw patch (h, w, b) of a finding: its follow-up, or its source without the surroundings."""
    if when == "follow_up":
        return arrays["follow_up"]
    return source_patch(arrays)


def _tensor(details: Mapping[str, Any]) -> dict[str, Any]:
    """Type, scale and zero point of an input or output; scale 0 where it is float."""
    scale, zero_point = details["quantization"]
    return {
        "dtype": np.dtype(details["dtype"]).name,
        "shape": [int(side) for side in details["shape"]],
        "scale": float(scale),
        "zero_point": int(zero_point),
    }


def _end(end: End, shape: tuple[int, ...]) -> dict[str, Any]:
    """As `_tensor`, of an end of an .onnx network."""
    scale, zero_point = (0.0, 0) if end.is_float else (float(end.scale), int(end.zero_point))
    return {"dtype": end.dtype, "shape": list(shape), "scale": scale, "zero_point": zero_point}


def _written(out: Path, stem: str, array: np.ndarray) -> dict[str, Any]:
    """Write an array as .npy and as raw little-endian bytes; what the manifest tells of it."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    raw = little.tobytes()
    with appearing(out / f"{stem}.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, little, allow_pickle=False)
    with appearing(out / f"{stem}.bin") as temporary:
        temporary.write_bytes(raw)
    return {
        "npy": f"{stem}.npy",
        "raw": f"{stem}.bin",
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "sha256": sha256(raw).hexdigest(),
    }
