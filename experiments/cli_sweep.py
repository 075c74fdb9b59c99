"""The command `diverget sweep`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from experiments.bad_input import BAD_INPUT, NOT_MET, told

ENGINES = ("serial", "processes", "dask", "slurm")


def sweep(
    file: Annotated[Path, typer.Argument(help="a YAML file with `sweep:`; see configs/sweep.yaml", show_default=False)],
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key in every cell")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="folder that receives the runs and <name>-sweep/")] = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show every cell and its cost; run nothing")] = False,
    engine: Annotated[str, typer.Option("--engine", help=" | ".join(ENGINES))] = "serial",
    processes: Annotated[
        int | None,
        typer.Option(
            "--processes",
            min=1,
            help="cells at a time; without, one a core, or 256 on Slurm",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="dask: of a scheduler; slurm: `local` tries it here")
    ] = None,
    slurm: Annotated[
        list[str] | None, typer.Option("--slurm", metavar="KEY=VALUE", help="a setting of sbatch: partition=long")
    ] = None,
) -> None:
    """Carry out one run for every cell of a sweep and rank them on one page. Complete cells are kept."""
    from rich.console import Console

    from experiments.progress import Screen
    from experiments.sweep import load_sweep
    from experiments.sweep.run import carry_out, ended_in_words, processes_of, sweep_lines

    where: list[Path] = []

    def resume() -> str | None:
        if not where or not (where[0] / "sweep.json").exists():
            return None
        from experiments.sweep.page import render_sweep

        render_sweep(where[0])
        return f"Everything evaluated is kept; the same command goes on from there. See {where[0] / 'report.html'}."

    with told(resume=resume):
        _refuse_idle(engine, processes, address, slurm)
        asked = load_sweep(file, overrides=override or [])
        if dry_run:
            shown = Screen(Console(stderr=True, soft_wrap=True))
            for line in sweep_lines(
                asked, out, shown, engine=engine, processes=processes_of(engine, processes, address), address=address
            ):
                typer.echo(line)
            return
        where.append(asked.directory(out))
        screen = Screen(Console(stderr=False, soft_wrap=True))
        ended = carry_out(
            asked, out, screen, engine=engine, processes=processes, address=address, settings=_settings(slurm or [])
        )
        for line in ended_in_words(asked, ended):
            screen.say(line)
    if not ended.complete:
        raise typer.Exit(BAD_INPUT)
    if not ended.met:
        raise typer.Exit(NOT_MET)


def _refuse_idle(engine: str, processes: int | None, address: str | None, slurm: Sequence[str] | None) -> None:
    """Return when every option means something beside the others.

    Raises:
        ValueError: one would do nothing, or the engine is unknown.
    """
    from experiments.executors.slurm import HERE

    if engine not in ENGINES:
        raise ValueError(f"Expected one of {', '.join(ENGINES)} after --engine, got {engine!r}; choose one.")
    idle = {
        "--processes": processes is not None and engine == "serial",
        "--address": address is not None and engine not in ("dask", "slurm"),
        "--slurm": bool(slurm) and (engine != "slurm" or address == HERE),
    }
    for option, so in idle.items():
        if so:
            beside = f"--engine {engine}" + (f" --address {address}" if address is not None else "")
            raise ValueError(
                f"Expected no {option} beside {beside}, got it, and it would do nothing; leave it out, or choose "
                "another engine."
            )


def _settings(given: Sequence[str]) -> Mapping[str, str]:
    """The settings of `--slurm`, by name.

    Raises:
        ValueError: one is no KEY=VALUE.
    """
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key.isidentifier() or not equals:
            raise ValueError(f"Expected --slurm KEY=VALUE, got {text!r}; write it as partition=long.")
        found[key] = value
    return found
