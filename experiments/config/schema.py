"""What a config may say: a frozen `RunConfig`, complete, every default visible. Names become objects here, once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

import relations
from diverget.models.zoo import ALL as ARCHITECTURES
from diverget.space import Space
from experiments.config.criteria import UNMEASURED, Criterion, CriterionConfig
from experiments.config.identity import by_content, content_digest
from experiments.config.methods import GapsConfig, PatchwiseConfig, RatesConfig, RungConfig, SearchConfig, known_limits
from experiments.config.parts import (
    MOST_SEED,
    PATH_KEYS,
    ImagesConfig,
    QuantisedConfig,
    ReferenceConfig,
    RelationConfig,
    SceneConfig,
    SpaceConfig,
    SplitConfig,
    as_key,
    as_version,
    is_deployed,
)
from experiments.config.strict import Strict
from experiments.config.zoo import Fault, of_students, of_volumes
from experiments.naming import short_name

NEUTRAL = ("workers", "conversion_seconds", "compression_seconds")
"""Keys that no result depends on."""


class RunConfig(Strict):
    """One assessment, complete."""

    name: str = Field(pattern=r"^[\w.-]+$", description="Of the run; its directory starts with it.")
    seed: int = Field(0, ge=0, le=MOST_SEED, description="Of every random draw.")
    scene: SceneConfig | None = Field(None, description="Hyperspectral data; either this or `images`.")
    images: ImagesConfig | None = Field(None, description="Images; either this or `scene`.")
    split: SplitConfig = Field(SplitConfig(), description="Which patches train, calibrate and are assessed.")
    references: tuple[Annotated[ReferenceConfig, as_key("zoo")], ...] = Field(
        min_length=1, description="The float networks."
    )
    quantisations: tuple[Annotated[QuantisedConfig, BeforeValidator(as_version)], ...] = Field(
        min_length=1, description="The versions under test, of every reference."
    )
    space: Annotated[SpaceConfig, as_key("name")] | None = Field(
        None, description="A named space in place of `relations`."
    )
    relations: tuple[RelationConfig, ...] = Field(
        min_length=1, description="Natural distortions, applied in acquisition order."
    )
    tier: Literal["in_spec", "stress"] = Field(
        "stress", description="Bounds of the search: what flying sensors are measured to do, or far harsher."
    )
    limits: dict[str, float] = Field(
        {"psnr": 20.0},
        description="How far a follow-up may be from its source, by limit: PSNR in dB, spectral angle in rad.",
    )
    rates: RatesConfig = Field(RatesConfig(), description="Random draws: how often.")
    gaps: GapsConfig | None = Field(
        None, description="Where each network leaves its class, relation by relation; left out, not measured."
    )
    search: SearchConfig = Field(SearchConfig(), description="One search over all patches: whether, and how mild.")
    patchwise: PatchwiseConfig | None = Field(None, description="Every patch a search of its own; left out, none.")
    attribution: bool = Field(
        True, description="Whether findings are put down to quantisation, compression, kernels or runtime."
    )
    control: bool = Field(True, description="Whether each network is tested against itself as well.")
    criteria: tuple[Annotated[CriterionConfig, as_key("fail")], ...] = Field(
        (), description="What the run must reach, such as `agreement >= 0.99`; exit code 1 otherwise."
    )
    workers: int = Field(2, ge=1, le=64, description="Threads that ask the networks; no result depends on them.")
    conversion_seconds: float = Field(900, gt=0, description="Time limit of one conversion, in s.")
    compression_seconds: float = Field(14_400, gt=0, description="Time limit of one compression, in s.")

    @model_validator(mode="before")
    @classmethod
    def _space_spelt_out(cls, tree: Any) -> Any:
        return spelt_out(tree)

    _short_name = field_validator("name")(short_name)
    _known_limits = field_validator("limits")(known_limits)

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        refuse(self.faults())
        return self

    def faults(self, *, without: Collection[str] = ()) -> list[Fault]:
        """What does not go together, all of it; checks that read a key of `without` are left out."""
        checks: tuple[tuple[set[str], Callable[[], Iterable[Fault]]], ...] = (
            ({"scene", "images"}, self._of_data),
            ({"images", "split"}, self._of_blocks),
            ({"references", "quantisations"}, self._of_names),
            ({"images", "references"}, self._of_networks),
            ({"references", "quantisations"}, self._of_zoo),
            ({"references", "quantisations"}, self._of_files),
            ({"patchwise", "tier", "limits"}, self._of_painted),
            ({"space", "relations", "tier"}, self._of_space),
            ({"search", "limits"}, self._of_search),
            ({"relations", "tier"}, self._of_bounds),
            (
                {"criteria", "patchwise", "gaps", "attribution", "rates", "space", "relations", "tier", "limits"},
                self._of_criteria,
            ),
        )
        return [fault for keys, check in checks if not keys & set(without) for fault in check()]

    def _of_criteria(self) -> Iterable[Fault]:
        """A metric that this config never measures cannot be met."""
        for number, criterion in enumerate(self.asked_criteria):
            metric = criterion.metric
            why = self._unmeasured(metric)
            if why is not None:
                yield ("criteria", number), f"expected metrics that this run measures, got {metric!r}: {why}"

    def _unmeasured(self, metric: str) -> str | None:
        """Why no run of this config has a value of `metric`; None where it may have one."""
        first, _, rest = metric.partition(".")
        missed = (
            (metric == "minimal_severity.median" and not self._walks_own_rung())
            or (metric == "boundary_gap.median" and self.gaps is None)
            or (metric.startswith("findings.") and not self.attribution)
        )
        if missed:
            return UNMEASURED[first]
        if first != "revealed_rate":
            return None
        tier, _, relation = rest.removesuffix(".upper").partition(".")
        if tier not in self.rates.tiers:
            return f"`rates.tiers` is {', '.join(self.rates.tiers)}"
        names = [entry.name for entry in self.relations]
        return f"its relations are {', '.join(names)}" if relation and relation not in names else None

    def _walks_own_rung(self) -> bool:
        """Whether an arm that moves through chains searches every patch under the run's own tier and limits."""
        return (
            self.patchwise is not None
            and any(arm.natural for arm in self.patchwise.chosen)
            and self.own_rung.name in {rung.name for rung in self.rungs}
        )

    def _of_data(self) -> Iterable[Fault]:
        if (self.scene is None) == (self.images is None):
            place = () if self.images is None else ("images",)
            yield place, "expected either `scene` (hyperspectral) or `images`, got both or none"

    def _of_blocks(self) -> Iterable[Fault]:
        if self.images is not None and self.split.block is not None:
            yield (
                ("split", "block"),
                f"expected no `split.block` beside `images`, got {self.split.block}: images have no blocks",
            )

    def _of_names(self) -> Iterable[Fault]:
        """Pairs are called `reference/quantised`, a control `reference/reference`, and files `reference.quantised`."""
        references = [entry.label for entry in self.references]
        quantised = [entry.label for entry in self.quantisations]
        clear = True
        for kind, labels in (("references", references), ("quantisations", quantised)):
            for number, label in enumerate(labels):
                if labels[:number].count(label) == 1:
                    clear = False
                    yield (
                        (kind, number),
                        f"expected different names in `{kind}`, got {label!r} twice; add `name:` to one",
                    )
        for number, label in enumerate(quantised):
            if label in references:
                clear = False
                yield (
                    ("quantisations", number),
                    f"expected other names under `quantisations` than under `references`, got {label!r} in both; "
                    "add `name:` to one",
                )
        files = references + [f"{reference}.{label}" for reference in references for label in quantised]
        for number, file in enumerate(files if clear else ()):
            if file in files[:number]:
                yield (
                    ("references",),
                    f"expected names that give each model a file of its own, got {file}.tflite twice; change a `name:`",
                )

    def _of_networks(self) -> Iterable[Fault]:
        """A network of the zoo is for patches of a scene or for images: the other would train it on nonsense."""
        data = "scene" if self.images is None else "images"
        fitting = [architecture.name for architecture in ARCHITECTURES if architecture.data == data]
        for number, entry in enumerate(self.references):
            if entry.zoo and entry.zoo not in fitting:
                yield (
                    ("references", number),
                    f"expected under `references` networks for `{data}`, got {entry.zoo}; choose one of "
                    f"{', '.join(fitting)}, or give a trained model's `path`",
                )

    def _of_zoo(self) -> Iterable[Fault]:
        return (*of_volumes(self.references, self.quantisations), *of_students(self.references, self.quantisations))

    def _of_files(self) -> Iterable[Fault]:
        if any(entry.path for entry in self.quantisations) and len(self.references) > 1:
            yield (
                ("references",),
                f"expected one reference beside quantised files, got {len(self.references)}; write a config for each",
            )
        made = [entry.quantisation for entry in self.quantisations if entry.quantisation]
        for number, reference in enumerate(self.references):
            if reference.path and is_deployed(reference.path) and made:
                yield (
                    ("references", number, "path"),
                    f"expected quantised files beside the reference {reference.path.name}, got {made}: a "
                    f"{reference.path.suffix} cannot be quantised; give its Keras file or SavedModel as the reference, "
                    "or quantised files beside it",
                )

    def _of_painted(self) -> Iterable[Fault]:
        if self.patchwise is None or not any("severity" in rung.limits for rung in self.rungs):
            return
        painted = [arm.name for arm in self.patchwise.chosen if not arm.natural]
        if painted:
            yield (
                ("patchwise",),
                f"expected no limit on the severity beside arms that change pixels, got {painted}: follow-ups of "
                "theirs have none; limit psnr, ssim or spectral_angle, or leave these arms out",
            )

    def _of_space(self) -> Iterable[Fault]:
        """A named space says which relations there are; only that of a family leaves the tier open."""
        if self.space is None:
            return
        spelt = tuple(RelationConfig.model_validate(entry) for entry in self.space.entries())
        if self.relations != spelt:
            yield (
                ("relations",),
                f"expected either `space` or `relations`, got both; the space {self.space.name} has relations of its "
                "own, and `without:` takes some away",
            )
        if self.space.named.family is None and self.tier != self.space.named.tier:
            yield (
                ("tier",),
                f"expected the tier {self.space.named.tier} of the space {self.space.name}, got {self.tier}; "
                "leave `tier` out, or choose another space",
            )

    def _of_search(self) -> Iterable[Fault]:
        try:
            self.search.refuse_limits(list(self.limits))
        except ValueError as error:
            yield ("search",), str(error)

    def _of_bounds(self) -> Iterable[Fault]:
        try:
            self.space_in(self.tier)
        except ValueError as error:
            yield ("relations",), str(error)

    def space_in(self, tier: str, only: str | None = None) -> Space:
        """The space of the config's relations (or of one of them) in `tier`.

        In the run's own tier the bounds are those of the config; in the other tier they are cut to what
        that tier declares.
        """
        chosen = [entry for entry in self.relations if only in (None, entry.name)]
        narrowed = {}
        for entry in chosen:
            declared = entry.relation.bounds(tier)
            narrowed[entry.name] = {
                param: (low, high) if tier == self.tier else _overlap((low, high), declared[param])
                for param, (low, high) in entry.bounds.items()
            }
        return Space.of([entry.relation for entry in chosen], tier=tier, narrowed=narrowed)

    @property
    def own_rung(self) -> RungConfig:
        """The tier and the limits of the run itself."""
        return RungConfig(tier=self.tier, limits=self.limits)

    @property
    def rungs(self) -> tuple[RungConfig, ...]:
        """The ladder of the per-patch search; without one, the run's own rung."""
        ladder = self.patchwise.ladder if self.patchwise is not None else ()
        return ladder or (self.own_rung,)

    @property
    def asked_criteria(self) -> tuple[Criterion, ...]:
        """What every pair has to meet."""
        return tuple(entry.criterion for entry in self.criteria)

    def effective(self) -> dict[str, Any]:
        """The whole config in JSON's types, defaults included."""
        return self.model_dump(mode="json")

    def files(self) -> Iterable[Path]:
        """Every file the config names."""
        entries: list[Any] = [self.scene, self.images, *self.references, *self.quantisations]
        for entry in entries:
            for key in PATH_KEYS:
                path = getattr(entry, key, None)
                if path is not None:
                    yield path

    def digest(self) -> str:
        """SHA-256 of all that determines the result: the config, with every file named by its content.

        Criteria judge a result and do not change it: they count as if there were none.

        Raises:
            FileNotFoundError: a file is not there.
            ValueError: an ENVI header cannot be read or has no data file.
        """
        content = self.effective()
        for neutral in NEUTRAL:
            content.pop(neutral)
        content["criteria"] = []
        content["declared"] = [
            {tier: entry.relation.bounds(tier) for tier in relations.TIERS} for entry in self.relations
        ]
        contents = {str(path): content_digest(path) for path in self.files()}
        return hashlib.sha256(json.dumps(by_content(content, contents), sort_keys=True).encode()).hexdigest()


def refuse(faults: Sequence[Fault]) -> None:
    """Return when there are no faults of a model whose fields are each valid.

    Raises:
        ValidationError: there are; all are told, each at its own key.
    """
    if faults:
        raise ValidationError.from_exception_data(
            "config",
            [
                {"type": PydanticCustomError("value_error", "{told}", {"told": told}), "loc": place, "input": None}
                for place, told in faults
            ],
        )


def spelt_out(tree: Any) -> Any:
    """What a named space stands for, written out, so that the run keeps it whatever the name means later."""
    if not isinstance(tree, dict) or tree.get("space") is None:
        return tree
    try:
        space = TypeAdapter(Annotated[SpaceConfig, as_key("name")]).validate_python(tree["space"])
    except ValidationError:
        return {"relations": [next(iter(relations.ALL))], **tree}  # told again, with its place, by the field
    standing = {
        "relations": space.entries(),
        "tier": space.named.tier,
        **({"limits": dict(space.named.limits)} if space.named.narrowed else {}),
    }
    return {**standing, **tree}


def _overlap(chosen: tuple[float, float], declared: tuple[float, float]) -> tuple[float, float]:
    low, high = (min(max(end, declared[0]), declared[1]) for end in chosen)
    return low, high
