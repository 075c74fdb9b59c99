"""The repairs themselves: a mended network, or a classifier beside the quantised one, from the repair part alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from diverget.blame import Layer, blame
from diverget.models import classifier, preprocessing, quantise, tflite
from diverget.models.classifier import Classifier
from diverget.models.compress import compress, compression
from diverget.models.coverage import coverage
from diverget.models.layers import shared_layers
from diverget.models.preprocessing import Preprocessing
from diverget.models.selective import convert_selective
from diverget.models.tflite import TFLiteModel
from diverget.randomness import Purpose, generator, integer, key
from diverget.repair import MOST_LOST, apart
from experiments.config.parts import KERAS_SUFFIXES
from experiments.repair.ground import Ground, drawn, said
from experiments.training import prepare_in_parts, trained_reference

CALIBRATION_DRAWS = 2
"""Distorted versions of each calibration patch beside the clean one (engineering judgement)."""

RANGES = ((0.1, np.inf), (0.5, 0.1), (0.5, 0.3), (0.5, 1.0))
"""How calibration inputs are distorted: how far at most, as a share of what the limits allow, and how far beyond the
clean inputs' range their values may lie, as a share of it (engineering judgement). The ranges of a quantised network
are the least and the greatest value seen, so one harsh value, say a lost pixel in a faint band, costs all others
resolution; what lies beyond a range that is not widened so far is taken for its end."""

TRAINING_RANGE = 0.3
"""The same of the inputs of the quantisation-aware training, which learns ranges as well (engineering judgement)."""

TRAINED_ON = 2000
"""Training patches of the quantisation-aware training at most, each clean and `TRAINING_DRAWS` times distorted."""

TRAINING_DRAWS = 2

INTEGERS = ("int8", "int8_io")
"""Quantisations that can leave layers in float, and that are trained under."""

LADDER = (1, 2, 4)
"""How many of the layers to blame are kept in float, and beside that the first, the last, both (engineering
judgement: after four layers the share of multiply-accumulates decides)."""


@dataclass(frozen=True)
class Source:
    """The Keras network of a reference: its file, and whether its author may execute code here."""

    path: Path
    trust: bool


@dataclass(frozen=True)
class Workshop:
    """What repairs are made with.

    Attributes:
        way: the quantisation that made the quantised file of it; "" where that is not known.
        cache: of conversions and trainings.
        steps: of the quantisation-aware training; None for its default.
        most_float: share of the multiply-accumulates that may move to float.
    """

    ground: Ground
    way: str
    cache: Path
    steps: int | None
    most_float: float

    @cached_property
    def source(self) -> Source | str:
        """The Keras network; a sentence where there is none. It is only looked for by what converts it."""
        try:
            return find_keras(self.ground, self.cache)
        except ValueError as error:
            return str(error)

    @property
    def keras(self) -> Source:
        """The Keras network.

        Raises:
            ValueError: there is none.
        """
        if isinstance(self.source, str):
            raise ValueError(self.source)
        return self.source

    @property
    def prepared(self) -> Preprocessing:
        return self.ground.pair.reference.preprocessing

    @property
    def seconds(self) -> float:
        return self.ground.asked.config.conversion_seconds


@dataclass(frozen=True)
class Mended:
    """A repair: a .tflite file, the classifier beside it if there is one, and what was chosen, in a few words."""

    path: Path
    classifier: Classifier | None
    chosen: str


def find_keras(ground: Ground, cache: Path) -> Source | str:
    """The Keras network of the pair's reference, or why there is none.

    A run keeps it beside its models. Where it does not, the file of the config is taken, or the network of the zoo is
    trained as the run did it, from the cache where it is there; what is found must give the reference of the run.

    Raises:
        ValueError: it cannot be trained or converted, TensorFlow missing among the reasons.
    """
    asked, reference = ground.asked, ground.pair.reference
    entry = next(one for one in asked.config.references if one.label == reference.name)
    kept = [asked.store.path(f"models/{reference.name}{suffix}") for suffix in KERAS_SUFFIXES]
    path = next((one for one in kept if one.is_file()), entry.path)
    if path is not None and path.suffix not in KERAS_SUFFIXES:
        return (
            f"Expected the Keras network of {reference.name!r} to convert again, got only {path.name}; give the Keras "
            "file as the reference."
        )
    if path is None:
        trained, _, _ = trained_reference(entry, asked.config, asked.material, asked.screen, cache)
        path = trained.path
    if not path.is_file():
        return f"Expected the Keras network of {reference.name!r}, found nothing at {path}; put the file back."
    again = quantise.convert(
        path,
        quantise.quantisation("float32"),
        calibration=None,
        cache=cache,
        timeout=asked.config.conversion_seconds,
        trust=entry.trust,
    )
    if again.read_bytes() != reference.content:
        return (
            f"Expected a Keras network that gives the reference of this run, {reference.name!r}, got another one "
            f"({path.name}); take the versions of manifest.json, or run again."
        )
    return Source(path, entry.trust)


def way_of(ground: Ground) -> str:
    """The quantisation that made the quantised file of the reference's Keras network; "" where there is none."""
    label = ground.pair.name.partition("/")[2]
    entry = next(one for one in ground.asked.config.quantisations if one.label == label)
    if entry.quantisation is None or entry.compression is not None or entry.path is not None:
        return ""
    return entry.quantisation if quantise.quantisation(entry.quantisation).needs_calibration else ""


def _way(shop: Workshop) -> str:
    if not shop.way:
        raise ValueError(
            f"Expected {shop.ground.pair.name} to be a plain conversion of the reference to convert it again, "
            "got one that came about in another way; a classifier beside it needs no conversion."
        )
    return shop.way


def calibration(shop: Workshop) -> Mended:
    """Convert again with distorted inputs among those that set the ranges: of a ladder of doses and ranges the best.

    Raises:
        ValueError: there are no calibration patches, or no Keras network.
    """
    keras, way, asked, ids = shop.keras, _way(shop), shop.ground.asked, shop.ground.asked.material.calibration
    if not len(ids):
        raise ValueError("Expected calibration patches, got none from the split; raise the second of its fractions.")
    clean = prepare_in_parts(shop.prepared, asked.material, ids)
    distorted = {}
    for most in dict.fromkeys(most for most, _ in RANGES):
        raw = drawn(asked, shop.ground.pair, ids, count=CALIBRATION_DRAWS, name="calibration", most=most)
        distorted[most] = shop.prepared.apply(raw)
    made = {}
    for most, beyond in RANGES:
        z = np.concatenate([clean, within(clean, distorted[most], beyond)])
        told = f"{len(z)} inputs, doses up to {most:g} of the limits"
        made[told if beyond == np.inf else f"{told}, range widened by {beyond:g}"] = quantise.convert(
            keras.path,
            quantise.quantisation(way),
            calibration=z,
            cache=shop.cache,
            timeout=shop.seconds,
            trust=keras.trust,
        )
    return _best(shop, made)


def within(clean: np.ndarray, distorted: np.ndarray, beyond: float) -> np.ndarray:
    """Prepared inputs with their values clipped to the range of the clean ones, widened on both sides by the share
    `beyond` of it."""
    low, high = float(clean.min()), float(clean.max())
    slack = beyond * max(high - low, 1e-12)
    return np.clip(distorted, low - slack, high + slack)


def keep_float(shop: Workshop) -> Mended:
    """Convert again with some layers in float: the best of a ladder of choices.

    Raises:
        ValueError: no choice stays within the bound on float arithmetic, or the layers cannot be told.
    """
    keras, ground, way = shop.keras, shop.ground, _way(shop)
    if way not in INTEGERS:
        raise ValueError(
            f"Expected one of {', '.join(INTEGERS)} to leave layers of it in float, got {way!r}; TensorFlow's "
            "debugger knows no other."
        )
    mine = ~ground.held
    shared = shared_layers(ground.pair.reference, ground.pair.quantised, purpose="blame")
    layers = blame(shared, ground.sources[mine], ground.follow_ups[mine])
    names = {
        choice: [name for layer in chosen for name in (layer.tensor, layer.reference_tensor)]
        for choice, chosen in ladder(layers).items()
    }
    made = convert_selective(
        keras.path,
        names,
        calibration=prepare_in_parts(shop.prepared, ground.asked.material, ground.asked.material.calibration),
        cache=shop.cache,
        timeout=shop.seconds,
        trust=keras.trust,
    )
    before = coverage(ground.pair.quantised.path).share
    moved = {choice: before - coverage(path).share for choice, path in made.items()}
    cheap = {choice: path for choice, path in made.items() if moved[choice] <= shop.most_float}
    if not cheap:
        raise ValueError(
            f"Expected layers to leave in float with at most {shop.most_float:.0%} of the multiply-accumulates, got "
            f"{min(moved.values()):.0%} and more in each of {len(made)} choices; raise --most-float, or take another "
            "repair."
        )
    return _best(shop, dict(sorted(cheap.items(), key=lambda entry: moved[entry[0]])))


def _best(shop: Workshop, made: Mapping[str, Path]) -> Mended:
    """Of several conversions the one that mends most of the repair part, of equals the first in order.

    Those count that agree with the reference on clean calibration patches no less than the unrepaired model does, by
    `MOST_LOST`; where none does, the one that agrees most.
    """
    ground, pool = shop.ground, shop.ground.asked.pool
    pair, mine = ground.pair, ~ground.held
    clean = ground.asked.material.patches(ground.asked.material.calibration).source()
    right, wanted = said(pool, pair.reference, clean), said(pool, pair.reference, ground.follow_ups[mine])

    def agreement(model: TFLiteModel) -> float:
        return float(1 - apart(right, said(pool, model, clean), (pair.reference.output_step, model.output_step)).mean())

    least = agreement(pair.quantised) - MOST_LOST
    scores: dict[str, tuple[float, int]] = {}
    for choice, path in made.items():
        model = tflite.load(
            path,
            preprocessing=shop.prepared,
            name=choice,
            kernels=pair.quantised.kernels,
            threads=pair.quantised.threads,
        )
        other = said(pool, model, ground.follow_ups[mine])
        mended = int((~apart(wanted, other, (pair.reference.output_step, model.output_step))).sum())
        scores[choice] = min(0.0, agreement(model) - least), mended
    best = max(scores, key=lambda choice: scores[choice])
    return Mended(made[best], None, best)


def ladder(layers: Sequence[Layer]) -> dict[str, list[Layer]]:
    """The choices of layers to keep in float, by a name that says them; `layers` come the one to blame most first.

    A layer that only quantises stands for the one that follows it.
    """
    in_order = sorted((layer for layer in layers if not layer.identity), key=lambda layer: layer.index)
    if not in_order:
        return {}
    ranked: list[Layer] = []
    for layer in layers:
        after = next((one for one in in_order if one.index >= layer.index), in_order[-1])
        if after not in ranked:
            ranked.append(after)
    wanted = [(f"{n} to blame most", ranked[:n]) for n in LADDER]
    wanted += [
        ("the first", in_order[:1]),
        ("the last", in_order[-1:]),
        ("first and last", [in_order[0], in_order[-1]]),
    ]
    choices: dict[str, list[Layer]] = {}
    known: set[frozenset[int]] = set()
    for name, chosen in wanted:
        mark = frozenset(layer.index for layer in chosen)
        if mark not in known:
            known.add(mark)
            choices[f"{name}: {', '.join(_called(layer) for layer in chosen)}"] = chosen
    return choices


def _called(layer: Layer) -> str:
    return f"{layer.index} {layer.operator}"


def qat(shop: Workshop) -> Mended:
    """Train with emulated integers on clean and distorted training patches towards the class of the float model.

    Raises:
        ValueError: the network cannot be trained so.
    """
    keras, ground, asked = shop.keras, shop.ground, shop.ground.asked
    ids = asked.material.split.train
    if not len(ids):
        raise ValueError("Expected training patches, got none from the split; raise the first of its fractions.")
    rng = generator(asked.config.seed, Purpose.REPAIR, key("training"))
    ids = np.sort(rng.choice(ids, size=min(TRAINED_ON, len(ids)), replace=False))
    raw = drawn(asked, ground.pair, ids, count=TRAINING_DRAWS, name="training")
    clean = prepare_in_parts(shop.prepared, asked.material, ids)
    x = np.concatenate([clean, within(clean, shop.prepared.apply(raw), TRAINING_RANGE)])
    target = ground.pair.reference.infer(x).argmax(axis=1)
    step = compression("qat")
    with asked.screen.stage(f"train   {ground.label}", total=1) as stage:
        done = compress(
            keras.path,
            step,
            x=x,
            y=target,
            classes=ground.pair.reference.classes,
            validation=None,
            settings=step.filled({"steps": shop.steps}),
            quantisation=shop.way if shop.way in INTEGERS else "int8",
            seed=integer(asked.config.seed, Purpose.REPAIR, key("qat"), key(ground.pair.name)),
            cache=shop.cache,
            timeout=QAT_SECONDS,
            trust=keras.trust,
            on_event=lambda event: stage.to(event.get("step", 0) / max(1, event.get("steps", 1))),
        )
    return Mended(done.path, None, f"{len(x)} inputs, {done.facts['steps']} steps")


QAT_SECONDS = 7200.0
"""Time limit of the quantisation-aware training (engineering judgement)."""


def _beside(kind: str) -> Callable[[Workshop], Mended]:
    def mend(shop: Workshop) -> Mended:
        """Train a classifier on what the quantised network says of findings, their sources, and calibration patches."""
        ground, asked = shop.ground, shop.ground.asked
        mine, ids = ~ground.held, asked.material.calibration
        parts = [ground.follow_ups[mine], ground.sources[mine]]
        if len(ids):
            parts.append(drawn(asked, ground.pair, ids, count=CALIBRATION_DRAWS, name="classifier"))
        x = np.concatenate(parts)
        seen, wanted = (said(asked.pool, model, x) for model in (ground.pair.quantised, ground.pair.reference))
        learnt = classifier.train(
            kind,
            seen,
            wanted.argmax(axis=1),
            gate=classifier.gate_of(seen[: int(mine.sum())]),
            seed=integer(asked.config.seed, Purpose.REPAIR, key("classifier"), key(ground.pair.name)),
        )
        return Mended(ground.pair.quantised.path, learnt, f"speaks below a lead of {learnt.gate:.2f}")

    return mend


MENDING: Mapping[str, Callable[[Workshop], Mended]] = {
    "calibration": calibration,
    "keep_float": keep_float,
    "qat": qat,
    **{f"classifier_{kind}": _beside(kind) for kind in classifier.KINDS},
}


def stored(folder: Path, method: str, like: TFLiteModel) -> TFLiteModel | classifier.Corrected:
    """The repair of `method` in `folder`, in a fresh interpreter that runs as that of `like` does.

    Raises:
        FileNotFoundError, ValueError: a file is missing or damaged.
    """
    file = folder / f"{method}.tflite"
    model = tflite.load(
        file,
        preprocessing=preprocessing.load(file.with_suffix(".json")),
        name=method,
        kernels=like.kernels,
        threads=like.threads,
    )
    beside = file.with_suffix(".npz")
    return classifier.Corrected(model, classifier.load(beside), method) if beside.is_file() else model
