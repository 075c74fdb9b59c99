"""Which layer is to blame: where in the network a quantised version parts from the float one.

The error of an activation grows through the network, so the last layer always looks worst. Each layer's own part is
told by handing over: the float network takes the quantised one's activations after some layer and computes the rest.
Handing over one layer later changes the float network's answer by what that one layer adds. These steps start at the
float network's answer, end at the quantised one's, and add up to the whole difference between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diverget.models.cut import Part, needed, part_of
from diverget.models.folds import batch_of, row_shape
from diverget.models.graph import INTEGERS, Graph, Tensor
from diverget.models.layers import HandOver, SharedLayers, hand_overs, network_input, read_by
from diverget.models.tflite import TFLiteModel

FINDINGS = 200
"""Findings of a pair that are looked at, at the most: more change no share by over 0.07 (two binomial standard errors
of a share of one half; engineering judgement)."""

HELD_BYTES = 2**28
"""Bytes of activations held at a time (engineering judgement: beside the interpreters it fits a small machine)."""

CEILING = 140.0
"""The most dB a patch counts with: beyond float32's 24 bits (6.02 · 24 = 144) there is no error to speak of."""

STEPS = 255
"""Steps between the ends of an 8-bit range: the yardstick of the avoidable error, whatever the layer computes in."""

LEAST = -30.0
"""The least dB of avoidable error a patch counts with: there, a layer errs a thousandth of what rounding costs
(engineering judgement: a pooling layer of integers has no error at all)."""


@dataclass(frozen=True)
class Seen:
    """What was measured of one layer on one set of patches.

    Attributes:
        sqnr: signal to quantisation noise in dB, of all that happened up to here: 10 log10(Σ a² / Σ (b − a)²), a the
            float network's activations and b the quantised one's, dequantised; the mean over the patches, so that a
            few extreme ones do not decide. None where there is no noise or no signal.
        own_sqnr: the same of this layer alone: a is what the float layer makes of the quantised network's inputs.
        avoidable: the layer's own noise in dB above that of a single rounding to 8 bits within the best range; the
            mean over the patches. None where there is no noise.
        largest_error: the largest |b − a|, in the unit of the activation.
        saturation: share of the integers that stand at an end of their range while the float activation lies
            beyond it; None without integers, like all that follow.
        exceeded: share of the float activations that lie beyond the range by more than half a step.
        excess: how far the farthest of them lies beyond, in widths of the range.
        unused: 1 − the part of the integers between the least and the greatest seen.
        effect: the layer's part of the squared steps of the answer, the mean over the patches; all layers together
            make 1 (less where a patch gets the same answer from both networks).
        parted: patches whose class leaves the float network's at this layer, for good.
        least, greatest: the ends of the float activations, which a range calibrated on these patches would hold.
    """

    sqnr: float | None
    own_sqnr: float | None
    avoidable: float | None
    largest_error: float
    saturation: float | None
    exceeded: float | None
    excess: float | None
    unused: float | None
    effect: float
    parted: int
    least: float
    greatest: float


@dataclass(frozen=True)
class Layer:
    """One layer of the quantised network, and its range where it is one of integers.

    Attributes:
        index: place in the order of execution, among the layers told.
        operator: by TFLite's name.
        tensor, reference_tensor: the names of its activation in the two files.
        shape: of one row's activation.
        low, high: the ends of what the integers can represent; None without integers.
        identity: the operator only quantises.
        readers: the names, in the float file, of what is made of this activation next.
        passes_on: the range is that of all the activations it is made of, as TFLite wants it of a concatenation or of
            a pooling.
    """

    index: int
    operator: str
    tensor: str
    reference_tensor: str
    shape: tuple[int, ...]
    low: float | None
    high: float | None
    identity: bool
    readers: tuple[str, ...]
    sources: Seen
    findings: Seen
    passes_on: bool = False


def blame(shared: SharedLayers, sources: np.ndarray, follow_ups: np.ndarray) -> tuple[Layer, ...]:
    """The layers of a pair, the one to blame most first: that which by itself errs furthest beyond what it must.

    What a layer must err is the rounding of its result: with a step s, a noise of s² / 12. The least step that 8 bits
    can have is that of the range which the float activations span on the sources and, of a follow-up, on itself. The
    layer's own noise above this, in dB, is its avoidable error. The mean of that on sources and on follow-ups ranks:
    a range or weights gone wrong show on both, a range that the distortion exceeds on the follow-ups. The own signal
    to noise ranks layers of the same avoidable error alone, those at `LEAST` (weights in float16): it is low of itself
    where the signal is small beside its range. The effect on the answer is told and ranks only what is the same in
    both: it is large close to the answer even with the least error.

    Measured on two trained networks, twelve findings each, with the range of each of their 18 layers in turn: four
    times too wide the layer was first in 18 (by own signal to noise on the follow-ups in 4), ten times too wide in 18
    (17), four times too narrow in 18 (18). On a third, 17 % of whose inputs the findings drive beyond the calibrated
    range, the input or the last layer stays first before a range four times too wide: they err more.

    Args:
        shared: the two networks and the layers that both have.
        sources, follow_ups: raw patches (n, h, w, b) float32, one row or more each.
    """
    places = hand_overs(shared)
    ours, theirs = shared.reference, shared.quantised
    parts = _parts(ours, places)
    sums = [_sums(ours, theirs, places, parts, x) for x in (sources, follow_ups)]
    spans = [total.span for total in sums[0].layers]
    sides = [side.seen(spans) for side in sums]
    layers = []
    for i, place in enumerate(places):
        tensor = theirs.graph.tensors[place.quantised]
        low, high = representable(tensor) or (None, None)
        layers.append(
            Layer(
                index=i,
                operator=place.operator,
                tensor=tensor.name,
                reference_tensor=ours.graph.tensors[place.reference].name,
                shape=_row_shape(theirs, place.quantised),
                low=low,
                high=high,
                identity=place.identity,
                readers=tuple(ours.graph.tensors[i].name for i in read_by(ours.graph, place.reference)),
                sources=sides[0][i],
                findings=sides[1][i],
                passes_on=passes_on(theirs.graph, place.quantised),
            )
        )
    return tuple(sorted(layers, key=_rank))


def _row_shape(model: TFLiteModel, tensor: int) -> tuple[int, ...]:
    return row_shape(model.graph.tensors[tensor].shape, model.folds[tensor], batch_of(model.graph))


def _rank(layer: Layer) -> tuple[bool, float, float, float, int]:
    own = [CEILING if side.own_sqnr is None else side.own_sqnr for side in (layer.sources, layer.findings)]
    beyond = ranked_by(layer.sources.avoidable, layer.findings.avoidable)
    return layer.findings.own_sqnr is None, -beyond, sum(own) / 2, -layer.findings.effect, layer.index


def ranked_by(sources: float | None, findings: float | None) -> float:
    """The avoidable error that ranks a layer, in dB, from that on each side; up to 0 it is within one rounding."""
    return sum(LEAST if side is None else side for side in (sources, findings)) / 2


def passes_on(graph: Graph, tensor: int) -> bool:
    """Whether what makes an integer activation was given integers of the same range alone, constants left out."""
    made = graph.tensors[tensor]
    op = next((op for op in graph.ops if tensor in op.outputs), None)
    if op is None or representable(made) is None:
        return False
    given = [graph.tensors[index] for index in op.inputs if index >= 0 and not graph.tensors[index].constant]
    return bool(given) and all(
        (held.dtype, held.scale, held.zero_point) == (made.dtype, made.scale, made.zero_point) for held in given
    )


def representable(tensor: Tensor) -> tuple[float, float] | None:
    """The least and the greatest number an integer activation stands for; None of a float one."""
    if tensor.dtype not in INTEGERS or tensor.scale <= 0:
        return None
    ends = np.iinfo(tensor.dtype)
    return (ends.min - tensor.zero_point) * tensor.scale, (ends.max - tensor.zero_point) * tensor.scale


class _Sums:
    """What of one layer adds up over the chunks of the patches."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.range = tensor, representable(tensor)
        self.decibels: list[np.ndarray] = []
        self.own_decibels: list[np.ndarray] = []
        self.noise: list[np.ndarray] = []
        self.ends: list[np.ndarray] = []
        self.largest = self.excess = 0.0
        self.values = self.saturated = self.exceeded = 0
        self.least, self.greatest = np.inf, -np.inf

    def add(self, ours: np.ndarray, theirs: np.ndarray, alone: np.ndarray) -> None:
        """Count activations (n, values) of both networks, and what the float layer makes of the quantised inputs."""
        ours, theirs, alone = (part.astype(np.float64) for part in (ours, theirs, alone))
        self.decibels.append(_decibels(ours, theirs))
        self.own_decibels.append(_decibels(alone, theirs))
        self.noise.append(((theirs - alone) ** 2).mean(axis=1))
        self.ends.append(np.stack([ours.min(axis=1), ours.max(axis=1)]))
        self.largest = max(self.largest, float(np.abs(theirs - ours).max()))
        self.values += ours.size
        if self.range is None:
            return
        (low, high), slack = self.range, self.tensor.scale / 2
        below, above = ours < low - slack, ours > high + slack
        self.exceeded += int((below | above).sum())
        self.saturated += int(((below & (theirs < low + slack)) | (above & (theirs > high - slack))).sum())
        self.excess = max(self.excess, float(max(low - ours.min(), ours.max() - high, 0.0) / (high - low)))
        self.least, self.greatest = min(self.least, theirs.min()), max(self.greatest, theirs.max())

    @property
    def span(self) -> tuple[float, float]:
        """The least and the greatest float activation of all patches."""
        ends = np.concatenate(self.ends, axis=1)
        return float(ends[0].min()), float(ends[1].max())

    def seen(self, part: float, parted: int, span: tuple[float, float]) -> Seen:
        """The layer's measures, with its part of the steps, the patches that part there, and the sources' span."""
        width = None if self.range is None else self.range[1] - self.range[0]
        return Seen(
            sqnr=_mean(self.decibels),
            own_sqnr=_mean(self.own_decibels),
            avoidable=avoidable(np.concatenate(self.noise), np.concatenate(self.ends, axis=1), span),
            largest_error=self.largest,
            saturation=None if width is None else self.saturated / self.values,
            exceeded=None if width is None else self.exceeded / self.values,
            excess=None if width is None else (self.excess if self.exceeded else 0.0),
            unused=None if width is None else max(0.0, 1 - float(self.greatest - self.least) / width),
            effect=part,
            parted=parted,
            least=self.span[0],
            greatest=self.span[1],
        )


def avoidable(noise: np.ndarray, ends: np.ndarray, span: tuple[float, float]) -> float | None:
    """The own noise of a layer in dB above that of a rounding to 8 bits within the best range, the mean over patches.

    Args:
        noise: mean square of a patch's own error, (n,).
        ends: the least and the greatest float activation of a patch, (2, n).
        span: the same of all sources. The best range holds span, the patch's own and zero, as integers must.
    """
    step = (np.maximum(ends[1], max(span[1], 0.0)) - np.minimum(ends[0], min(span[0], 0.0))) / STEPS
    rows = (step > 0) & np.isfinite(noise)
    if not noise[rows].any():
        return None
    ratio = noise[rows] / (step[rows] ** 2 / 12)
    return float(10 * np.log10(np.maximum(ratio, 10 ** (LEAST / 10))).mean())


def _decibels(signal: np.ndarray, noisy: np.ndarray) -> np.ndarray:
    """Signal to noise of every row, (n,) in dB, `CEILING` at the most; NaN where a row has no signal."""
    power, noise = (signal**2).sum(axis=1), ((noisy - signal) ** 2).sum(axis=1)
    least = power * 10 ** (-CEILING / 10)
    ratio = np.divide(power, np.maximum(noise, least), out=np.full(len(power), np.nan), where=power > 0)
    return np.asarray(10 * np.log10(ratio))


def _mean(decibels: Sequence[np.ndarray]) -> float | None:
    rows = np.concatenate(decibels)
    rows = rows[~np.isnan(rows)]
    return float(rows.mean()) if len(rows) and rows.min() < CEILING - 1e-6 else None


@dataclass(frozen=True)
class _Side:
    """One set of patches: what adds up over every layer, its part of the steps, and the patches that part there."""

    layers: list[_Sums]
    share: np.ndarray
    parted: np.ndarray

    def seen(self, spans: Sequence[tuple[float, float]]) -> list[Seen]:
        told = zip(self.layers, self.share, self.parted, spans, strict=True)
        return [total.seen(float(share), int(parted), span) for total, share, parted, span in told]


def _sums(
    ours: TFLiteModel,
    theirs: TFLiteModel,
    places: Sequence[HandOver],
    parts: Sequence[tuple[bytes, tuple[int, ...], tuple[int, ...]]],
    x: np.ndarray,
) -> _Side:
    """What is seen of every place on raw patches x (n, h, w, b)."""
    sums = [_Sums(theirs.graph.tensors[place.quantised]) for place in places]
    row_bytes = 8 * sum(int(np.prod(_row_shape(theirs, place.quantised))) for place in places)
    chunk = max(ours.graph.rows, HELD_BYTES // max(row_bytes, 1) // ours.graph.rows * ours.graph.rows)
    answers = [
        _answers(ours, theirs, places, parts, x[start : start + chunk], sums) for start in range(0, len(x), chunk)
    ]
    return _Side(sums, *parting(np.concatenate(answers, axis=1)))


def parting(answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each of L layers does to the answers (L + 1, n, k), handed over ever later: from float to quantised.

    Returns:
        Its part of the squared steps, the mean over the rows, (L,) float64; and how many rows leave the class of the
        first answer for good at it, (L,) int64.
    """
    centred = answers.astype(np.float64) - answers.mean(axis=2, keepdims=True, dtype=np.float64)
    steps = (np.diff(centred, axis=0) ** 2).sum(axis=2)
    whole = steps.sum(axis=0)
    share = np.divide(steps, whole, out=np.zeros_like(steps), where=whole > 0).mean(axis=1)
    away = answers.argmax(axis=2) != answers[0].argmax(axis=1)
    # The last answer that still is of the class: the layer after it is where the row leaves.
    last = len(away) - 1 - (~away)[::-1].argmax(axis=0)
    return share, np.bincount(last[last < len(away) - 1], minlength=len(away) - 1)


def _parts(ours: TFLiteModel, places: Sequence[HandOver]) -> list[tuple[bytes, tuple[int, ...], tuple[int, ...]]]:
    """For every place the file of what the float network has to compute before it: content, inputs, outputs."""
    target = places[-1].reference
    known = {network_input(ours.graph)}
    parts = []
    for place in places:
        wanted = tuple(dict.fromkeys(t for t in (place.reference, target) if t not in known))
        if wanted:
            _, given = needed(ours.graph, sorted(known), wanted)
            parts.append((part_of(ours.content, ours.graph, sorted(known), wanted), given, wanted))
        else:
            parts.append((b"", (), ()))
        known.add(place.reference)
    return parts


def _answers(
    ours: TFLiteModel,
    theirs: TFLiteModel,
    places: Sequence[HandOver],
    parts: Sequence[tuple[bytes, tuple[int, ...], tuple[int, ...]]],
    x: np.ndarray,
    sums: Sequence[_Sums],
) -> np.ndarray:
    """The float network's answers (L + 1, n, k) handed over before each place and after the last; counts into sums."""
    z = ours.preprocessing.apply(x)
    same = ours.preprocessing.digest == theirs.preprocessing.digest
    of_float = ours.inner(z, [place.reference for place in places])
    of_quantised = theirs.inner(z if same else theirs.preprocessing.apply(x), [place.quantised for place in places])
    target = places[-1].reference
    known = {network_input(ours.graph): z.reshape(len(z), -1)}
    answers = []
    for i, place in enumerate(places):
        content, given, wanted = parts[i]
        made = dict(known)
        if wanted:
            made |= dict(zip(wanted, _computed(ours, content, {t: known[t] for t in given}, wanted), strict=True))
        sums[i].add(of_float[i], of_quantised[i], made[place.reference])
        answers.append(made[target])
        known[place.reference] = of_quantised[i]
    return np.stack([*answers, known[target]])


def _computed(
    ours: TFLiteModel, content: bytes, activations: dict[int, np.ndarray], wanted: Sequence[int]
) -> list[np.ndarray]:
    """The tensors `wanted` from activations (n, values), batch by batch, one array (n, values) each."""
    rows = ours.graph.rows
    part = Part(content, kernels=ours.kernels, threads=ours.threads, folds=ours.folds, batch=batch_of(ours.graph))
    count = len(next(iter(activations.values())))
    short = -count % rows if ours.graph.fixed else 0
    found: list[list[np.ndarray]] = [[] for _ in wanted]
    for start in range(0, count, rows):
        batch = {index: held[start : start + rows] for index, held in activations.items()}
        if short and start + rows > count:
            batch = {
                index: np.concatenate([held, np.repeat(held[-1:], short, axis=0)]) for index, held in batch.items()
            }
        for held, array in zip(found, part.run(batch), strict=True):
            held.append(array)
    return [np.concatenate(held)[:count] for held in found]
