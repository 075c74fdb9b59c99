"""The parts of a config that say what is done: rates, gaps, the searches and what limits them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from diverget.arms import ARMS, NamedArm
from diverget.gaps import GRID, HALVINGS
from diverget.objectives import LIMITS, OBJECTIVES, Limit, Objective
from diverget.optimisers import OPTIMISERS, Optimiser, fitting
from diverget.problem import Bounded
from experiments.config.parts import MOST, named
from experiments.config.strict import Strict


def known_limits(limits: dict[str, float]) -> dict[str, float]:
    """`limits`, each known and with a bound that makes sense.

    Raises:
        ValueError: one is not.
    """
    for name, bound in limits.items():
        limit: Limit = named("a limit", LIMITS, name)
        if not limit.lowest <= bound <= limit.highest:
            allowed = f"{limit.lowest:g} to {limit.highest:g}"
            if limit.lowest == limit.highest:
                allowed = f"{limit.lowest:g}"
            elif np.isinf(limit.highest):
                allowed = f"{limit.lowest:g} or more"
            raise ValueError(f"expected the limit {name} to be {allowed}, got {bound:g}; correct it")
    return limits


class RatesConfig(Strict):
    """Random draws: how often; `doses` are severities at which every relation is drawn alone as well, none for none."""

    tiers: tuple[Literal["in_spec", "stress"], ...] = Field(
        ("in_spec", "stress"), description="The bounds that are drawn from."
    )
    draws: int = Field(4, ge=1, le=MOST, description="Random chains a patch and tier.")
    doses: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (0.2, 0.4, 0.6, 0.8, 1.0), description="Severities at which every relation is drawn alone, ascending."
    )
    dose_draws: int = Field(2, ge=1, le=MOST, description="Random draws a patch and dose.")

    @field_validator("doses")
    @classmethod
    def _ascending(cls, doses: tuple[float, ...]) -> tuple[float, ...]:
        if list(doses) != sorted(set(doses)):
            raise ValueError(f"expected severities from the mildest to the harshest, each once, got {list(doses)}")
        return doses

    @field_validator("tiers")
    @classmethod
    def _different(cls, tiers: tuple[str, ...]) -> tuple[str, ...]:
        if not tiers or len(set(tiers)) < len(tiers):
            raise ValueError(f"expected one or both of in_spec and stress, each once, got {list(tiers)}")
        return tiers


class RungConfig(Strict):
    """One rung of a ladder: the tier of the space and the limits in force."""

    tier: Literal["in_spec", "stress"] = Field("stress", description="Bounds of the space.")
    limits: dict[str, float] = Field({}, description="How far a follow-up may be from its source, by limit.")

    @field_validator("limits")
    @classmethod
    def _known_limits(cls, limits: dict[str, float]) -> dict[str, float]:
        return dict(sorted(known_limits(limits).items()))

    @property
    def name(self) -> str:
        """`stress, psnr 20`; rungs that differ have different names."""
        return ", ".join([self.tier, *(f"{limit} {_exact(bound)}" for limit, bound in self.limits.items())])

    def bounded(self) -> list[Bounded]:
        """The limits in force."""
        return [Bounded(named("a limit", LIMITS, name), bound) for name, bound in self.limits.items()]


def _exact(bound: float) -> str:
    """`bound` in six digits where they tell it exactly, else in as many as it takes."""
    short = f"{bound:g}"
    return short if float(short) == bound else repr(bound)


class PatchwiseConfig(Strict):
    """Every patch a search of its own. Budgets are counted in queries a patch."""

    arms: tuple[str, ...] = Field(("boundary", "random"), description="Ways of searching; see `diverget list arms`.")
    budget: int = Field(200, ge=2, le=MOST, description="Queries a patch and arm.")
    budgets: dict[str, Annotated[int, Field(ge=2, le=MOST)]] = Field(
        {}, description="Other budgets for some arms, in queries a patch."
    )
    until: Literal["revealed", "apart", "spent"] = Field(
        "revealed", description="When a search ends: a finding, any disagreement, or the budget."
    )
    labelled: bool = Field(
        True, description="Whether a patch whose label is known takes part only where both models are right."
    )
    repeats: int = Field(1, ge=1, le=MOST, description="Times that everything is done, with seeds of their own.")
    ladder: tuple[RungConfig, ...] = Field(
        (), description="Tiers and limits, one search under each; left out, the run's own."
    )

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            named("an arm", ARMS, name)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected one or more different arms, got {list(names)}")
        return names

    @field_validator("ladder")
    @classmethod
    def _different_rungs(cls, rungs: tuple[RungConfig, ...]) -> tuple[RungConfig, ...]:
        names = [rung.name for rung in rungs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"expected every rung once, got {name!r} {names.count(name)} times")
        return rungs

    @model_validator(mode="after")
    def _budgets_of_its_arms(self) -> PatchwiseConfig:
        for name in self.budgets:
            if name not in self.arms:
                raise ValueError(
                    f"expected under `budgets` arms of this search ({', '.join(self.arms)}), got {name!r}; add it to "
                    "`arms`, or remove it"
                )
        return self

    @property
    def chosen(self) -> list[NamedArm]:
        return [named("an arm", ARMS, name) for name in self.arms]

    def budget_of(self, arm: str) -> int:
        return self.budgets.get(arm, self.budget)


class GapsConfig(Strict):
    """Boundary gaps: looks at each ray, and halvings of the cell in which a model leaves its class."""

    tier: Literal["in_spec", "stress"] = Field("stress", description="Bounds of the rays.")
    grid: int = Field(GRID, ge=1, le=1000, description="Looks at each ray.")
    halvings: int = Field(HALVINGS, ge=0, le=40, description="Of the cell in which a network leaves its class.")


class SearchConfig(Strict):
    """Search: whether, and how mild. The budget is counted in queries (one patch through one model)."""

    optimiser: str = Field("nsga2", description="See `diverget list optimisers`.")
    objectives: tuple[str, ...] = Field(("js_divergence", "severity"), description="See `diverget list objectives`.")
    population: int = Field(24, ge=4, le=MOST, description="Candidates a generation.")
    budget: int = Field(200_000, ge=1, le=MOST, description="Queries a pair: one patch through one network is one.")

    @field_validator("optimiser")
    @classmethod
    def _known_optimiser(cls, name: str) -> str:
        named("an optimiser", OPTIMISERS, name)
        return name

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            named("an objective", OBJECTIVES, name)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected one or more different objectives, got {list(names)}")
        return names

    @model_validator(mode="after")
    def _fit(self) -> SearchConfig:
        chosen, asked = self.chosen_optimiser, len(self.objectives)
        if not chosen.weighs(asked):
            change = f"keep {chosen.most}" if chosen.most and asked > chosen.most else "add one"
            raise ValueError(
                f"expected {chosen.objectives} objective{'s' if chosen.most != 1 else ''} for the optimiser "
                f"{self.optimiser!r}, got {list(self.objectives)}; {change}, or choose one of "
                f"{', '.join(fitting(asked, limits=False))}"
            )
        if chosen.directed and self.population < asked:
            raise ValueError(
                f"expected a `population` of at least {asked} for the optimiser {self.optimiser!r}, one for each "
                f"objective, got {self.population}; enlarge it"
            )
        return self

    def refuse_limits(self, limits: Sequence[str]) -> None:
        """Return when the optimiser can search under `limits`.

        Raises:
            ValueError: there are some, and it would not heed them.
        """
        if limits and not self.chosen_optimiser.limits:
            raise ValueError(
                f"expected no `limits` beside the optimiser {self.optimiser!r}, which does not heed them, got "
                f"{', '.join(limits)}; write `limits: {{}}`, or choose one of "
                f"{', '.join(fitting(len(self.objectives), limits=True))}"
            )

    @property
    def chosen_optimiser(self) -> Optimiser:
        optimiser: Optimiser = named("an optimiser", OPTIMISERS, self.optimiser)
        return optimiser

    @property
    def chosen_objectives(self) -> list[Objective]:
        return [named("an objective", OBJECTIVES, name) for name in self.objectives]
