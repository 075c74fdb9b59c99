"""A study: several runs that differ in data, models or settings, carried out one after another, told on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from diverget.repair import METHODS, NAMES
from diverget.store import Store
from experiments.config import (
    RUNS,
    SWEEP,
    ConfigError,
    Origins,
    anchored,
    listed_problems,
    load,
    read_with_origins,
    refuse_other_kind,
)
from experiments.config.parts import named
from experiments.config.schema import RunConfig
from experiments.config.strict import Strict
from experiments.naming import short_name
from experiments.progress import Screen

SHARED = "shared"
"""In place of a run's name before a key: every run of the study."""

SCHEMA = 1


class StudyRunConfig(Strict):
    """One run of a study: a config, and what is set in it."""

    name: str = Field(pattern=r"^[\w-]+$", description="Of the run within the study.")
    config: Path = Field(description="Its config, relative to the study's folder.")
    set: dict[str, Any] = Field({}, description="Values by `key.path`, set in the config.")


class BarsConfig(Strict):
    """What a derived number has to reach, by its name in `statistics.derived.WORDS`; none where it is left out."""

    success_to_diffchaser: float | None = None
    disagreement_to_diffchaser: float | None = None
    queries_to_diffchaser: float | None = None
    queries_to_dflare_as_shipped: float | None = None
    disagreement_queries_to_diffchaser: float | None = None
    disagreement_queries_to_dflare_as_shipped: float | None = None
    a12_queries: float | None = None
    a12_apart: float | None = None
    a12_severity: float | None = None
    severity_to_random: float | None = None


class RepairConfig(Strict):
    """The repair of every int8 pair with findings, after each run."""

    methods: tuple[str, ...] = Field(NAMES, min_length=1, description="Those to try.")
    steps: int | None = Field(None, ge=1, description="Of the quantisation-aware training.")

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for name in methods:
            named("a method of repair", METHODS, name)
        return methods


class StudyConfig(Strict):
    """A study as its file says it."""

    name: str = Field(pattern=r"^[\w.-]+$", description="Of the study; its folder starts with it.")
    shared: dict[str, Any] = Field({}, description="Keys laid over the config of every run.")
    runs: tuple[StudyRunConfig, ...] = Field(min_length=1, description="Carried out one after another.")
    repair: RepairConfig | None = Field(None, description="Whether int8 pairs are repaired, and how.")
    bars: BarsConfig = Field(BarsConfig(), description="What derived numbers have to reach.")

    _short_name = field_validator("name")(short_name)

    @field_validator("runs")
    @classmethod
    def _different_names(cls, runs: tuple[StudyRunConfig, ...]) -> tuple[StudyRunConfig, ...]:
        names = [run.name for run in runs]
        for name in names:
            if names.count(name) > 1 or name == SHARED:
                why = f"{names.count(name)} times" if names.count(name) > 1 else f"`{SHARED}`, which means all runs"
                raise ValueError(f"expected a name of its own for every run, got {name!r} {why}; rename it")
        return runs


@dataclass(frozen=True)
class Study:
    """A study whose every config is valid: the runs by name, in order."""

    config: StudyConfig
    runs: dict[str, RunConfig]

    def directory(self, out: Path) -> Path:
        """Where its page stands; the runs lie beside it."""
        return out / f"{self.config.name}-study"


def load_study(path: Path, *, overrides: Sequence[str] = (), files: bool = False) -> Study:
    """The study in the YAML file at `path`, with every run's config read, set and checked.

    Args:
        overrides: `run.key.path=value`, set in one run; `shared.key.path=value` in all.
        files: whether a file that is named and not there is a problem too.

    Raises:
        FileNotFoundError: there is no such file.
        ConfigError: it is no YAML, or it or a config of a run has problems; all of them are listed.
    """
    tree, origins = read_with_origins(path)
    if SWEEP in tree or (RUNS not in tree and "references" in tree):
        refuse_other_kind(path, tree, wanted="study")
    try:
        config = StudyConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(listed_problems(path, error, StudyConfig, origins)) from error
    folder = path.parent.resolve()
    own = _by_run(overrides, [run.name for run in config.runs])
    runs, problems = {}, []
    for number, run in enumerate(config.runs):
        put = {"name": f"{config.name}-{run.name}"} | {key: anchored(key, v, folder) for key, v in run.set.items()}
        try:
            runs[run.name] = load(
                folder / run.config,
                over=config.shared,
                put=put,
                overrides=own[run.name],
                files=files,
                origins=_origins_of(origins, number),
            )
        except (ValueError, OSError) as error:
            problems.append(f"run {run.name}: {error}")
    if any(config.bars.model_dump().values()) and not any(run.patchwise for run in runs.values()):
        problems.append(
            f"Expected a per-patch search beside `bars`, which are about its arms, got none in any run; add "
            f"`patchwise:` to a run's config or to `{SHARED}`, or remove `bars`."
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return Study(config, runs)


def _origins_of(origins: Origins, number: int) -> Origins:
    """Where the study writes the keys of run `number`: those of `shared`, and those of its `set`, dots opened."""
    own = ("runs", str(number), "set")
    shared = {place[1:]: where for place, where in origins.items() if place[:1] == (SHARED,) and place[1:]}
    put = {
        (*place[3].split("."), *place[4:]): where
        for place, where in origins.items()
        if place[:3] == own and len(place) > len(own)
    }
    return {**shared, **put}


def _by_run(overrides: Sequence[str], names: Sequence[str]) -> dict[str, list[str]]:
    """The overrides of each run, without its name."""
    own: dict[str, list[str]] = {name: [] for name in names}
    for override in overrides:
        name, dot, rest = override.partition(".")
        if not dot or "=" in name:
            raise ConfigError(
                f"Expected --set run.key.path=value, got {override!r}; put the run's name or `{SHARED}` before the key."
            )
        if name not in (*names, SHARED):
            near = get_close_matches(name, [*names, SHARED], n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join((*names, SHARED))}"
            raise ConfigError(
                f"Expected the name of a run before the key in --set {override!r}, got {name!r}; {advice}"
            )
        for each in names if name == SHARED else (name,):
            own[each].append(rest)
    return own


def check_study(study: Study, out: Path) -> None:
    """Look at the data of every run that is not complete, before the first one starts.

    Raises:
        ValueError, OSError: the data of a run cannot be used; the run is named.
    """
    from experiments import data
    from experiments.run import directory

    for name, config in study.runs.items():
        try:
            if not Store(directory(config, out)).has("summary.json"):
                data.check_material(config, data.gather(config))
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(f"run {name}: {error}") from error


def note(study: Study, out: Path) -> Path:
    """Write `study.json`, which says where the runs lie, and return the folder of the study's page."""
    from experiments.run import directory

    store = Store(study.directory(out))
    runs = [
        {"name": name, "directory": directory(config, out).name, "digest": config.digest()}
        for name, config in study.runs.items()
    ]
    bars = {name: bar for name, bar in study.config.bars.model_dump().items() if bar is not None}
    store.write_json("study.json", {"schema": SCHEMA, "name": study.config.name, "bars": bars, "runs": runs})
    return store.root


def carry_out(study: Study, out: Path, screen: Screen) -> tuple[Path, bool]:
    """Carry every run to its end, repairs included, then write the page: (its folder, whether all criteria of all runs
    were met).

    A run that is complete is not repeated; one that was stopped goes on where it stood. One that fails keeps no other
    from its end, nor the page.

    Raises:
        ValueError, OSError: a config, data or a model cannot be used, or a run fails; what was evaluated stays.
    """
    from experiments.executors.job import ended
    from experiments.study.page import render_study

    check_study(study, out)
    place = note(study, out)
    met, failed = True, []
    for name, config in study.runs.items():
        screen.say(f"run {name}")
        work = partial(_carry_out, config, study.config.repair, out, screen)
        done = ended(work, name, what="run", log=place / "logs" / f"{name}.txt")
        if done.met is None:
            failed.append(f"run {name}: {done.message}")
            screen.say(f"  failed: {done.message}")
        met &= bool(done.met)
    render_study(place)
    if failed:
        raise ValueError(
            f"Expected every run of the study to come to its end, got {len(failed)} of {len(study.runs)} that did not; "
            "mend what is told, and start the same command again: what is complete is kept.\n" + "\n".join(failed)
        )
    return place, met


def _carry_out(config: RunConfig, mending: RepairConfig | None, out: Path, screen: Screen) -> bool:
    """Carry one run to its end, its repair included: whether all its criteria were met."""
    from experiments.repair import repair
    from experiments.report import render
    from experiments.run import run

    where, met = run(config, out, screen)
    if mending is not None:
        repair(where, screen, methods=mending.methods, steps=mending.steps)
        render(where)
    screen.say(f"  {where / 'report.html'}")
    return met
