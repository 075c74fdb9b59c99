"""The experiment as one function: values in, evidence out. NumPy on both sides; no optimiser, no file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from diverget.models.layers import SharedLayers, shared_layers
from diverget.models.model import Model, predict_pair
from diverget.objectives import Limit, Objective, Score, layer_divergence, novelty, one_minus_ssim
from diverget.objectives import severity as severity_of
from diverget.objectives import spectral_angle as angle_of
from diverget.objectives import ssim as ssim_of
from diverget.outcome import Evidence, Outcome, joined, judge, refuse_nan
from diverget.patches import HELD_BYTES, Field, Patches, draw_field, fields_under, taken
from diverget.selection import unseen
from diverget.space import Space, Values, rows_of
from relations import distort, psnr, spectral_angle, ssim
from relations.core import Drawn, Sensor, each_layer, layers_of

CHUNK_VALUES = 1 << 20
"""Values of a chunk of patches with their surroundings, 4 MiB of float32: more leave the cache of a core."""

CHUNK_ROWS = (64, 256)
"""Fewest and most rows of a chunk: with fewer the calls cost more than the work (measured)."""

CHUNKS = (4, 8)
"""What there is to do is shared out in at least so many chunks, of at least so many rows: a round of few rows would
else be the work of one thread."""

CHUNK_MOST = 1 << 25
"""Values that no chunk exceeds unless a single row does, 128 MiB: wide surroundings come to megabytes a patch. A chunk
of windows and its follow-ups are the memory of a worker, beside what `distort` holds. Rows are independent, so none
of this changes a result."""


@dataclass(frozen=True)
class Bounded:
    """A validity limit with the bound that holds in this run."""

    limit: Limit
    bound: float


@dataclass(frozen=True)
class Revealed:
    """One REVEALED row of an evaluation."""

    patch: int
    reference_class: int
    quantised_class: int


@dataclass(frozen=True)
class Evaluation:
    """What `m` candidates scored over all patches.

    Attributes:
        u: (m, d) the points; values: their natural values.
        scores: (m, objectives), each in its natural sense.
        limits: (m, limits) median over the patches of every measure.
        excess: (m, limits) by how much that median breaks its bound; 0 or less where it holds.
        severity: (m,) in [0, 1].
        counts: (m, 7) rows by `Outcome`.
        revealed: for every candidate its REVEALED rows.
        states: (m, n, 2k) float32, both models' probabilities side by side.
        novel: (m, n) bool, which of them were not known before; all False where no objective asks.
    """

    u: np.ndarray
    values: Values
    scores: np.ndarray
    limits: np.ndarray
    excess: np.ndarray
    severity: np.ndarray
    counts: np.ndarray
    revealed: tuple[tuple[Revealed, ...], ...]
    states: np.ndarray
    novel: np.ndarray

    @property
    def feasible(self) -> np.ndarray:
        return np.all(self.excess <= 0, axis=1)


@dataclass(frozen=True)
class Problem:
    """A pair of models, patches, a space of distortions, and what counts.

    `fields` holds one field a slot of the space. `pool` is the run's worker threads; each of them owns an
    interpreter of each model. `reference_source` and `quantised_source` are (n, k), asked for once.
    """

    reference: Model
    quantised: Model
    patches: Patches
    space: Space
    fields: tuple[Field | None, ...]
    sensor: Sensor
    objectives: tuple[Objective, ...]
    limits: tuple[Bounded, ...]
    pool: ThreadPoolExecutor
    reference_source: np.ndarray
    quantised_source: np.ndarray

    @cached_property
    def margins(self) -> list[int]:
        """For each slot the pixels of surroundings it uses up."""
        return self.space.margins(self.patches.shape[:2])

    @cached_property
    def layers(self) -> SharedLayers | None:
        """The layers both networks have, where an objective asks how far they are apart.

        Raises:
            ValueError: the pair has none that can be read.
        """
        return shared_layers(self.reference, self.quantised) if self._asks_for(layer_divergence) else None

    @property
    def remembers(self) -> bool:
        """Whether an objective asks what was not seen before."""
        return self._asks_for(novelty)

    def known_at_first(self) -> np.ndarray:
        """What is known of every patch before a search, (1, n, 2k) float32: the probabilities on its source."""
        return np.concatenate([self.reference_source, self.quantised_source], axis=1)[None]

    @cached_property
    def _cut_fields(self) -> list[Drawn | None] | None:
        """The fields under all patches, or None where they are too large to be held."""
        n = len(self.patches)
        size = sum(layer.nbytes for drawn in self._fields_cut(np.arange(min(1, n))) for layer in layers_of(drawn))
        return None if n * size > HELD_BYTES else self._fields_cut(np.arange(n))

    def _asks_for(self, *wanted: Score) -> bool:
        """Whether an objective or a limit is one of these scores."""
        scores = [objective.score for objective in self.objectives] + [b.limit.score for b in self.limits]
        return any(score in scores for score in wanted)

    def rows(
        self,
        values: Values,
        patches: np.ndarray,
        *,
        angle: bool = False,
        layers: SharedLayers | None = None,
        refuse: bool = False,
        halves: np.ndarray | None = None,
    ) -> Evidence:
        """The evidence of any rows: row i distorts patch `patches[i]` by row i of `values`.

        The spectral angle is measured where an objective or a limit asks for it, or `angle` does; else it is NaN. So
        is SSIM, which nothing but an objective or a limit asks for. Inner activations are compared where `layers` are
        given. The probabilities of a model that did not see a row are NaN.

        Args:
            refuse: no model sees the rows that are outside the limits, as far as the follow-up itself tells of them.
            halves: (r,) bool, the rows that the reference alone sees.
        """
        return self._distorted(
            values, patches, _Look(angle=angle, layers=layers, refuse=refuse, halves=halves, models=True)
        )

    def shown(self, x: np.ndarray, patches: np.ndarray, *, angle: bool = False) -> Evidence:
        """The evidence of follow-ups that came about in another way: x[i] (h, w, b) is one of patch `patches[i]`.

        They have no severity: it is NaN.

        Raises:
            ValueError: the severity is limited.
        """
        if any(bounded.limit.score is severity_of for bounded in self.limits):
            raise ValueError(
                "Expected no limit on the severity of follow-ups that no chain of relations made, got one; limit what "
                "can be measured of them, psnr, ssim or spectral_angle."
            )
        return self._evidence(
            lambda chunk: x[chunk], patches, np.full(len(patches), np.nan), _Look(angle=angle, models=True)
        )

    def measured(self, values: Values, patches: np.ndarray) -> Evidence:
        """The evidence of any rows as if both models had stayed with what they said of the sources: no query.

        What is of use is what needs no model: severity, distances, whether the limits hold.
        """
        return self._distorted(values, patches, _Look(models=False))

    def _distorted(self, values: Values, patches: np.ndarray, look: _Look) -> Evidence:
        _ = self._cut_fields, self.patches.held  # cut before the workers ask for them, all at once
        return self._evidence(
            lambda chunk: self.follow_ups(rows_of(values, chunk), patches[chunk]),
            patches,
            self.space.severity(values),
            look,
        )

    def _evidence(
        self,
        made: Callable[[np.ndarray], np.ndarray],
        patches: np.ndarray,
        severity: np.ndarray,
        look: _Look,
    ) -> Evidence:
        total = len(patches)
        height, width, bands = self.patches.shape
        around = 2 * self.patches.margin
        per_row = (height + around) * (width + around) * bands
        size = min(max(CHUNK_VALUES // per_row // 8 * 8, CHUNK_ROWS[0]), CHUNK_ROWS[1], max(1, CHUNK_MOST // per_row))
        size = min(size, max(-(-total // CHUNKS[0]), CHUNKS[1]))
        chunks = [np.arange(start, min(start + size, total)) for start in range(0, total, size)]
        return joined(
            list(
                self.pool.map(
                    lambda chunk: self._chunk(made(chunk), patches[chunk], severity[chunk], look.of(chunk)), chunks
                )
            )
        )

    def follow_ups(self, values: Values, patches: np.ndarray) -> np.ndarray:
        """The distorted patches (r, h, w, b) of any rows."""
        return distort(
            self.patches.windows(patches),
            self.space.chain(values),
            self.fields_under(patches),
            self.sensor,
            margins=self.margins,
        )

    def fields_under(self, patches: np.ndarray) -> list[Drawn | None]:
        """For each slot its field under the given patches, as wide as the window that reaches the slot."""
        held = self._cut_fields
        if held is None:
            return self._fields_cut(patches)
        return [None if drawn is None else each_layer(drawn, lambda layer: taken(layer, patches)) for drawn in held]

    def _fields_cut(self, patches: np.ndarray) -> list[Drawn | None]:
        return fields_under(self.fields, self.margins, self.patches, patches)

    def evaluate(self, u: np.ndarray, *, known: np.ndarray | None = None) -> Evaluation:
        """The scores of the points `u` (m, d): every chain over all patches.

        Args:
            known: (slots, n, 2k) the states that are not novel, as `selection.remembered` keeps them; by default those
                of the sources.

        Raises:
            ValueError: a model answers with NaN; not every score would show it.
        """
        m, n = len(u), len(self.patches)
        values = self.space.decode(u)
        patches = np.tile(np.arange(n), m)
        evidence = self.rows(rows_of(values, np.repeat(np.arange(m), n)), patches, layers=self.layers)
        refuse_nan(evidence.reference, evidence.quantised, patches, lambda row: f"at {u[row // n].round(6).tolist()}")
        states = np.concatenate([evidence.reference, evidence.quantised], axis=1).reshape(m, n, -1)
        novel = np.zeros((m, n), dtype=bool)
        if self.remembers:
            novel = unseen(self.known_at_first() if known is None else known, states)
            novel &= evidence.within.reshape(m, n)
            evidence = replace(evidence, novel=novel.ravel().astype(np.float64))
        outcomes = judge(evidence).reshape(m, n)
        measured = [bounded.limit.score(evidence).reshape(m, n) for bounded in self.limits]
        # A patch that comes back unchanged has an infinite PSNR; the median of a row of them is infinite too,
        # and no optimiser can be told so.
        medians = [np.minimum(np.median(values_, axis=1), np.finfo(np.float64).max) for values_ in measured]
        classes = np.stack([evidence.reference.argmax(axis=1), evidence.quantised.argmax(axis=1)])
        return Evaluation(
            u=u,
            values=values,
            scores=np.stack([o.score(evidence).reshape(m, n).mean(axis=1) for o in self.objectives], axis=1),
            limits=np.stack(medians, axis=1) if medians else np.zeros((m, 0)),
            excess=np.stack(
                [b.limit.excess(median, b.bound) for b, median in zip(self.limits, medians, strict=True)], axis=1
            )
            if medians
            else np.zeros((m, 0)),
            severity=self.space.severity(values),
            counts=np.stack([(outcomes == outcome).sum(axis=1) for outcome in Outcome], axis=1),
            revealed=tuple(
                tuple(
                    Revealed(int(patch), int(classes[0, row * n + patch]), int(classes[1, row * n + patch]))
                    for patch in np.flatnonzero(outcomes[row] == Outcome.REVEALED)
                )
                for row in range(m)
            ),
            states=states,
            novel=novel,
        )

    def queries(self, candidates: int) -> int:
        """What evaluating `candidates` chains costs: one query is one patch through one model."""
        return 2 * candidates * len(self.patches)

    def _chunk(self, follow_up: np.ndarray, patches: np.ndarray, severity: np.ndarray, look: _Look) -> Evidence:
        source, extent = self.patches.source(patches), self.sensor.high - self.sensor.low
        unknown = np.full(len(patches), np.nan)
        angle, structure = look.angle or self._asks_for(angle_of), self._asks_for(ssim_of, one_minus_ssim)
        evidence = Evidence(
            reference_source=self.reference_source[patches],
            quantised_source=self.quantised_source[patches],
            reference=self.reference_source[patches],
            quantised=self.quantised_source[patches],
            reference_step=self.reference.output_step,
            quantised_step=self.quantised.output_step,
            severity=severity,
            psnr=psnr(source, follow_up, peak=extent),
            spectral_angle=spectral_angle(source, follow_up) if angle else unknown,
            within=np.ones(len(patches), dtype=bool),
            ssim=ssim(source, follow_up, data_range=extent) if structure else unknown,
            layers=unknown if look.layers is None else look.layers.divergence(follow_up),
        )
        if look.models:
            shown = self._within(evidence) if look.refuse else evidence.within
            reference, quantised = self._asked(follow_up, shown, shown if look.halves is None else shown & ~look.halves)
            evidence = replace(evidence, reference=reference, quantised=quantised, shown=shown)
        return replace(evidence, within=self._within(evidence))

    def _within(self, evidence: Evidence) -> np.ndarray:
        """Which rows hold all limits, (r,) bool. A measure that is NaN holds none."""
        holds = [bounded.limit.excess(bounded.limit.score(evidence), bounded.bound) <= 0 for bounded in self.limits]
        return np.all(holds, axis=0) if holds else evidence.within

    def _asked(self, x: np.ndarray, shown: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The probabilities (r, k) of the reference for the rows `shown` of x, of the quantised model for those in
        `both`, which are shown too; NaN elsewhere."""
        if both.all():
            return predict_pair(self.reference, self.quantised, x)
        answers = np.full((2, len(x), self.reference.classes), np.nan, dtype=np.float32)
        if both.any():
            answers[0, both], answers[1, both] = predict_pair(self.reference, self.quantised, x[both])
        alone = shown & ~both
        if alone.any():
            answers[0, alone] = self.reference.predict_proba(x[alone])
        return answers[0], answers[1]


@dataclass(frozen=True)
class _Look:
    """What is to be found out about rows; see `Problem.rows`."""

    models: bool
    angle: bool = False
    layers: SharedLayers | None = None
    refuse: bool = False
    halves: np.ndarray | None = None

    def of(self, chunk: np.ndarray) -> _Look:
        return self if self.halves is None else replace(self, halves=self.halves[chunk])


def pose(
    reference: Model,
    quantised: Model,
    patches: Patches,
    space: Space,
    sensor: Sensor,
    *,
    objectives: Sequence[Objective],
    limits: Sequence[Bounded],
    pool: ThreadPoolExecutor,
    seed: int,
) -> Problem:
    """The problem of a pair over patches: sources predicted, one field a slot drawn for the whole search.

    Raises:
        ValueError: a relation needs wavelengths and the data has none; the two models differ in classes; one answers
            with NaN on a source; inner layers are to be compared of a pair that shares none.
    """
    for slot in space.slots:
        if slot.relation.needs_wavelengths:
            sensor.require_wavelengths(slot.relation.name)
    size = 64
    chunks = [np.arange(start, min(start + size, len(patches))) for start in range(0, len(patches), size)]
    seen = list(pool.map(lambda rows: predict_pair(reference, quantised, patches.source(rows)), chunks))
    reference_source, quantised_source = (np.concatenate(column) for column in zip(*seen, strict=True))
    refuse_nan(reference_source, quantised_source, np.arange(len(patches)), lambda row: "as it is, undistorted")
    problem = Problem(
        reference=reference,
        quantised=quantised,
        patches=patches,
        space=space,
        fields=tuple(draw_field(slot.relation, patches, seed=seed) for slot in space.slots),
        sensor=sensor,
        objectives=tuple(objectives),
        limits=tuple(limits),
        pool=pool,
        reference_source=reference_source,
        quantised_source=quantised_source,
    )
    _ = problem.layers  # a pair without any is refused here
    return problem
