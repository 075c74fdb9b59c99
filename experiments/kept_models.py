"""The models in a run directory: kept there with their preprocessing, recorded in `models.json`, loaded again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from diverget.models import deployed, preprocessing, tflite
from diverget.models.deployed import Deployed
from diverget.models.preprocessing import Preprocessing
from diverget.store import Store, appearing
from experiments.data import Material
from experiments.fit import check_fit
from experiments.record.contents import COMPRESSED, check
from experiments.record.reading import telling_damage

SIDE = {"file": str, "digest": str}
RECORDED = {
    "pairs": [{"pair": str, "control": bool, "reference_model": SIDE, "quantised_model": {**SIDE, **COMPRESSED}}]
}
"""What `models.json` must hold for its models to be loaded again."""


def load_pair(store: Store, pair: str) -> tuple[Deployed, Deployed]:
    """The two models of a stored run, in fresh interpreters.

    Raises:
        ValueError: a file is damaged, or is not the one the run was made with.
    """
    known = {entry["pair"]: entry for entry in recorded(store)}
    if pair not in known:
        raise ValueError(
            f"Expected the pair {pair!r} in {store.path('models.json')}, got {', '.join(known) or 'none'}; the folder "
            "was put together from several runs: take that of one run."
        )
    return load_kept(store, known[pair]["reference_model"]), load_kept(store, known[pair]["quantised_model"])


def recorded(store: Store) -> list[dict[str, Any]]:
    """The pairs that `models.json` names, each with all that loading it takes.

    Raises:
        Damaged: the file is; the way out is told.
    """
    with telling_damage(store):
        content = store.read_json("models.json")
        check(content, RECORDED, file=store.path("models.json"))
    entries: list[dict[str, Any]] = content["pairs"]
    return entries


def load_kept(store: Store, facts: dict[str, Any]) -> Deployed:
    """The model that an entry of `models.json` tells of.

    Raises:
        ValueError: the file is damaged, or is not the one the run was made with.
    """
    runs = facts.get("kernels", tflite.USUAL[0]), facts.get("threads", tflite.USUAL[1])
    model = _stored(store, store.path(facts["file"]).name, runs)
    if model.digest != facts["digest"]:
        raise ValueError(
            f"Expected the model {facts['file']} of digest {facts['digest'][:12]}, got {model.digest[:12]}: the file "
            "was changed after the run; put the original back."
        )
    return model


def _stored(store: Store, name: str, runs: tuple[str, int]) -> Deployed:
    file = store.path(f"models/{name}")
    prepared = preprocessing.load(file.with_suffix(".json"))
    return deployed.load(file, preprocessing=prepared, name=file.stem, kernels=runs[0], threads=runs[1])


def keep(
    store: Store, label: str, file: Path, prepared: Preprocessing, material: Material, runs: tuple[str, int]
) -> Deployed:
    """Copy a network and its preprocessing into the run, and load it from there; `runs` are kernels and threads.

    Raises:
        ValueError: it is no network for such patches and classes, or not the one that the run was begun with.
    """
    model = deployed.load(file, preprocessing=prepared, name=label, kernels=runs[0], threads=runs[1])
    check_fit(model, material)
    kept = store.path(f"models/{label}{file.suffix}")
    if not kept.exists():
        with appearing(kept.with_suffix(".json")) as temporary:
            prepared.save(temporary)
        with appearing(kept) as temporary:
            temporary.write_bytes(model.content)
    elif kept.read_bytes() != model.content:
        raise ValueError(
            f"Expected the network of this run in {kept}, got another one than was made now: the run was begun with "
            "other versions (see manifest.json); remove that run's folder and start again."
        )
    return _stored(store, kept.name, runs)


def facts(model: Deployed, quantisation: str, float_check: float | None) -> dict[str, Any]:
    """What `models.json` says of one side of a pair; `coverage` is None where it is unknown."""
    found = deployed.coverage(model)
    covered = None if found is None else asdict(found)
    if covered is not None:
        covered["float_ops"] = [dict(zip(("op", "count", "macs"), op, strict=True)) for op in covered["float_ops"]]
    return {
        "name": model.name,
        "file": f"models/{model.path.name}",
        "digest": model.digest,
        "size_bytes": model.path.stat().st_size,
        "quantisation": quantisation,
        "input": list(model.input_shape),
        "output_step": model.output_step,
        "runtime": deployed.runtime(model),
        "kernels": model.kernels,
        "threads": model.threads,
        "float_check": float_check,
        "coverage": covered,
    }
