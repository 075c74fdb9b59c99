"""A first config for somebody's own data and networks, with what was found in them as comments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import relations
from diverget.loading import load_images, load_scene
from diverget.models import deployed, graph
from diverget.models.keras_file import SUFFIXES as KERAS_SUFFIXES
from diverget.models.keras_file import inspect_keras
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.scene import ImageSet, Scene
from diverget.store import appearing
from experiments.config import load
from experiments.config.document import UNPRINTABLE, written
from experiments.config.parts import is_deployed, named, refuse_network

PATCH = 11
"""Side of a patch in pixels where no network says it, as in configs/quickstart.yaml."""

SHOWN = 12
"""Classes that a comment lists."""

NATURAL = {
    "scene": ("brightness", "offset", "gaussian_blur", "band_shift", "band_loss", "gaussian_noise", "impulse_noise",
              "stripes"),
    "images": ("brightness", "offset", "gaussian_blur", "gaussian_noise", "impulse_noise"),
}  # fmt: skip
"""Relations to begin with, by kind of data: those of the shipped configs."""

TRAINED = {"scene": "depthwise", "images": "lenet5"}
"""The network to begin with, by kind of data: the smallest that the shipped configs train."""

CONVERTED = ("int8", "float16")


def write(
    file: Path,
    *,
    scene: Path | None,
    images: Path | None,
    labels: Path | None,
    model: Path | None,
    quantised: Sequence[Path],
) -> list[str]:
    """Write a config for `scene` or `images` to `file`; lines that say what was done and what to do next.

    Args:
        labels: the file of the labels, where they are not with the data.
        model: the float network; without it one of the zoo is trained.
        quantised: versions of it; without any, they are made of it.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: `file` exists; the data cannot be taken; or the networks do not go together.
    """
    if file.exists():
        raise ValueError(f"Expected a file that does not exist yet, got {str(file)!r}; name another, or remove it.")
    if file.suffix not in (".yaml", ".yml"):
        raise ValueError(f"Expected a file that ends in .yaml, got {str(file)!r}; rename it.")
    if (scene is None) == (images is None):
        raise ValueError("Expected either --scene or --images, got both or none; name the file of the data.")
    _refuse_networks(model, quantised)
    found: Scene | ImageSet
    if scene is not None:
        found = load_scene(scene, ground_truth=labels)
    else:
        assert images is not None
        found = load_images(images, labels=labels)
    if found.labels is None and model is None:
        raise ValueError(
            f"Expected labels to train a network on, got none in {found.origin['file']}; give them with --labels, or "
            "a trained network with --model."
        )
    text = "\n".join(_lines(file, found, labels, model, quantised)) + "\n"
    with appearing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
        load(temporary)
    return [f"{file} is written; what to do next stands at its top.", f"next: diverget check {file}"]


def _refuse_networks(model: Path | None, quantised: Sequence[Path]) -> None:
    for path in (model, *quantised):
        if path is not None and not path.exists():
            raise FileNotFoundError(f"Expected a network at {path}, got nothing there; correct the path.")
        refuse_network(path, ("xnnpack", 1))
    if quantised and model is None:
        raise ValueError(
            f"Expected the float network beside {quantised[0].name}, got none; give it with --model, since the two "
            "are compared."
        )
    if model is not None and is_deployed(model) and not quantised:
        raise ValueError(
            f"Expected quantised versions beside {model.name}, got none: a {model.suffix} cannot be quantised; give "
            "them with --quantised, or the Keras file with --model."
        )


def _lines(
    file: Path, found: Scene | ImageSet, labels: Path | None, model: Path | None, quantised: Sequence[Path]
) -> Iterator[str]:
    kind = "images" if isinstance(found, ImageSet) else "scene"
    needed = input_shape(model)
    place = written(str(file))
    yield f"# A first config for {_plain(found.name)}. Its keys: diverget schema run; their names: diverget list KIND."
    yield f"#   diverget check {_plain(place)}     what it means and would cost; nothing is run"
    yield f"#   diverget run {_plain(place)}       the report is runs/NAME-DIGEST/report.html"
    yield f"name: {written(_word(file.stem))}"
    yield "seed: 7"
    yield f"{kind}:"
    yield f"  path: {_path(found.origin['file'], file)}"
    if labels is not None:
        yield f"  {'labels' if kind == 'images' else 'ground_truth'}: {_path(labels, file)}"
    yield from (f"  # {line}" for line in _told(found))
    if kind == "scene":
        assert isinstance(found, Scene)
        patch, why = _patch(found, needed)
        yield f"  patch: {patch}                # side in pixels, odd; {why}"
    yield "split:"
    yield "  assessed: 150            # patches that are distorted"
    yield "references:              # the float network"
    yield from _reference(kind, found, model, needed, file)
    yield "quantisations:           # the versions under test"
    for path in quantised:
        yield f"  - {{path: {_path(path, file)}, name: {written(_word(path.stem))}}}"
    if not quantised:
        yield from (f"  - {name}" for name in CONVERTED)
    yield "relations:               # natural distortions, applied in acquisition order; see `diverget list relations`"
    sensor = found.sensor()
    for name in NATURAL[kind]:
        blind = relations.get(name).needs_wavelengths and sensor.wavelengths is None
        yield f"  # - {name}: needs wavelengths, give them under scene.wavelengths" if blind else f"  - {name}"
    yield "tier: stress             # bounds of the search; rates are measured in both tiers"
    yield "limits:"
    yield "  psnr: 20               # dB against the range of the data"
    yield "rates:"
    yield "  draws: 4               # random chains a patch"
    yield "search:"
    yield "  optimiser: nsga2"
    yield "  objectives: [js_divergence, severity]"
    yield "  population: 24"
    yield "  budget: 60000          # queries a pair: one patch through one network is one query"
    yield "# patchwise: {}           # every patch a search of its own: how mild, patch by patch"
    yield "# gaps: {}                # where each network leaves its class: survival curves by relation and by class"
    yield "# criteria:              # exit code 1 where one is not met"
    yield "#   - agreement >= 0.99"


def _told(found: Scene | ImageSet) -> Iterator[str]:
    """What was found in the data."""
    low, high = found.value_range
    if isinstance(found, Scene):
        height, width, bands = found.cube.shape
        yield f"found: {height} × {width} pixels, {bands} bands, values {low:g} to {high:g}"
        nm = found.wavelengths
        if nm is None:
            yield "wavelengths: none found; give the band centres under `wavelengths: [...]`, `wavelength_unit: nm`"
        else:
            yield f"wavelengths: found, {nm[0]:.0f} to {nm[-1]:.0f} nm"
    else:
        count, height, width, channels = found.images.shape
        colours = f"{channels} channel{'s' if channels > 1 else ''}"
        yield f"found: {count} images of {height} × {width} pixels, {colours}, values {low:g} to {high:g}"
    if found.labels is None:
        yield "labels: none found; accuracies are not told"
    else:
        numbers = np.bincount(found.labels[found.labels >= 0].ravel(), minlength=len(found.class_names))
        listed = [f"{_plain(name)} ({n})" for name, n in zip(found.class_names, numbers.tolist(), strict=True)]
        more = f", and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        yield f"classes: {len(listed)}: {', '.join(listed[:SHOWN])}{more}"
    for warning in found.origin.get("warnings", ()):
        yield f"note: {_plain(warning)}"


def _patch(found: Scene, needed: tuple[int | None, ...] | None) -> tuple[int, str]:
    """The side of a patch, and where it comes from."""
    if needed is not None and len(needed) >= 3:
        sides = [side for side in needed if isinstance(side, int) and side > 1]
        repeated = [side for side in sides if sides.count(side) > 1 and side % 2 == 1]
        if repeated:
            return repeated[0], "what the network takes"
    smallest = min(found.cube.shape[:2])
    size = min(PATCH, max(1, smallest // 8))
    return size - 1 + size % 2, "no network says otherwise"


def _reference(
    kind: str, found: Scene | ImageSet, model: Path | None, needed: tuple[int | None, ...] | None, file: Path
) -> Iterator[str]:
    if model is None:
        architecture = named("an architecture", ARCHITECTURES, TRAINED[kind])
        yield f"  - {{zoo: {architecture.name}, epochs: 15, patience: 5}}   # trained here; or `path:` to one of yours"
        return
    yield f"  - path: {_path(model, file)}"
    yield f"    name: {written(_word(model.stem))}"
    if needed is not None:
        yield f"    # found: it takes {' × '.join('?' if side is None else str(side) for side in needed)}"
        if found.bands not in needed:
            yield f"    # but the data has {found.bands} bands: say under `preprocessing` how they become its inputs"
    yield "    # preprocessing: preprocessing.json   # shift, scale, components, layout; left out: raw patches"


def input_shape(model: Path | None) -> tuple[int | None, ...] | None:
    """The shape of one input of a network file, None where nothing tells it; the file is not executed.

    Raises:
        ValueError, OSError: the file is damaged.
    """
    if model is None or model.is_dir():
        return None
    if model.suffix == ".tflite":
        return graph.examine(model).input_shape
    if model.suffix in KERAS_SUFFIXES:
        return inspect_keras(model).input_shape
    if model.suffix in deployed.SUFFIXES:
        from diverget.models import preprocessing

        return deployed.load(model, preprocessing=preprocessing.identity("hwb"), name=model.stem).input_shape
    return None


def _path(path: str | Path, file: Path) -> str:
    """A path as the config writes it: relative to its folder where it lies below, else whole."""
    whole, folder = Path(path).resolve(), file.parent.resolve()
    return written(str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole))


def _word(stem: str) -> str:
    """A file's name as names in configs are written."""
    return "".join(letter if letter.isalnum() or letter in "_.-" else "_" for letter in stem)[:60] or "first"


def _plain(text: str) -> str:
    """A name from a file in one line of printable characters, fit for a comment."""
    return UNPRINTABLE.sub("", " ".join(text.split()))[:200]
