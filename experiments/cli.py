"""The command `diverget`. Heavy imports happen inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

# One thread a BLAS call: the workers are the parallelism, and the bits of a product must not depend on how many
# cores a machine has. It has to be said before NumPy is imported.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import typer

from experiments.bad_input import NOT_MET
from experiments.bad_input import told as _told
from experiments.cli_gate import compare, gate
from experiments.cli_setup import init, schema
from experiments.cli_sweep import sweep

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # Rich would double the time of --help.
    help="Find the mildest natural distortion on which a float network and its quantised version part company.",
)

Config = Annotated[Path, typer.Argument(help="a YAML file; see configs/", show_default=False)]
Override = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="override a key of the config: scene.patch=9")
]
Out = Annotated[Path, typer.Option("--out", help="folder that receives <name>-<digest>/")]
RunDir = Annotated[Path, typer.Argument(help="a run directory", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="as JSON, for programs")]


@app.command()
def run(config: Config, override: Override = None, out: Out = Path("runs")) -> None:
    """Assess: train or load, quantise, measure, search, report. The same command again goes on where it stopped."""
    from rich.console import Console

    from experiments.config import load
    from experiments.progress import Screen
    from experiments.run import directory
    from experiments.run import run as assess

    where: list[Path] = []

    def resume() -> str | None:
        if not where or not (where[0] / "manifest.json").exists():
            return None
        from experiments.report import render

        render(where[0])
        return f"Everything evaluated is in {where[0]}; the same command goes on from there."

    with _told(resume=resume):
        asked = load(config, overrides=override or [], files=True)
        where.append(directory(asked, out))
        screen = Screen(Console(stderr=False, soft_wrap=True))
        screen.say(f"run directory: {where[0]}")
        place, met = assess(asked, out, screen)
        _summary(place, screen.say)
    if not met:
        raise typer.Exit(NOT_MET)


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="a YAML file of several runs; see configs/studies/", show_default=False)],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="RUN.KEY=VALUE", help="override a key of a run's config, or of all: shared.KEY"),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="folder that receives the runs and <name>-study/")] = Path("runs"),
) -> None:
    """Carry out several runs one after another and compare their search arms on one page. Complete runs are kept."""
    from rich.console import Console

    from experiments.progress import Screen
    from experiments.study import carry_out, load_study

    where: list[Path] = []

    def resume() -> str | None:
        if not where or not (where[0] / "study.json").exists():
            return None
        from experiments.study.page import render_study

        render_study(where[0])
        return f"{where[0] / 'report.html'} tells what was evaluated; the same command goes on from there."

    with _told(resume=resume):
        asked = load_study(file, overrides=override or [], files=True)
        where.append(asked.directory(out))
        screen = Screen(Console(stderr=False, soft_wrap=True))
        place, met = carry_out(asked, out, screen)
        screen.say(f"report: {place / 'report.html'}")
    if not met:
        raise typer.Exit(NOT_MET)


def _summary(place: Path, say: Callable[[str], None]) -> None:
    card = json.loads((place / "card.json").read_text(encoding="utf-8"))
    say("")
    say(card["verdict"])
    if not card["criteria"]:
        say("no criteria asked: the run was measured and not judged")
    for row in card["criteria"]:
        if row["state"] != "pass":
            say(f"{'warning' if row['state'] == 'warn' else 'failed'}: {row['told']}")
    say(f"report: {place / 'report.html'}")
    say(f"replay: diverget replay {place} --all")


@app.command()
def check(config: Config, override: Override = None, out: Out = Path("runs")) -> None:
    """Validate a config, a study or a sweep, and its data; show what it means and would cost. Nothing is run."""
    from rich.console import Console

    from experiments.check import estimate
    from experiments.config import SWEEP, load, read_tree
    from experiments.progress import Screen
    from experiments.study import load_study
    from experiments.sweep import load_sweep
    from experiments.sweep.run import sweep_lines

    with _told():
        tree = read_tree(config)
        if SWEEP in tree:
            screen = Screen(Console(stderr=True, soft_wrap=True))
            for line in sweep_lines(load_sweep(config, overrides=override or []), out, screen):
                typer.echo(line)
            return
        if "runs" in tree:
            runs = load_study(config, overrides=override or [], files=True).runs
        else:
            runs = {"": load(config, overrides=override or [], files=True)}
        for name, asked in runs.items():
            if name:
                typer.echo(f"run {name}")
            for line in estimate(asked, out):
                typer.echo(line)


@app.command()
def report(
    run_directory: RunDir,
    drawn: Annotated[
        Path | None, typer.Option("--picture", help="draw the mildest finding as well: .svg or .png")
    ] = None,
) -> None:
    """Write card.json and report.html anew from a run directory, or the page of a sweep or a study. Loads no model."""
    from experiments.record import page_of_several
    from experiments.report import picture, render
    from experiments.study.page import render_study
    from experiments.sweep.page import render_sweep

    with _told():
        several = page_of_several(run_directory) if drawn is None else ""
        if not several:
            _require_run(run_directory)
        {"": render, "sweep": render_sweep, "study": render_study}[several](run_directory)
        typer.echo(run_directory / "report.html")
        if drawn is not None:
            picture(run_directory, drawn)
            typer.echo(drawn)


@app.command()
def replay(
    run_directory: RunDir,
    finding: Annotated[int | None, typer.Option("--finding", help="one finding, by its number")] = None,
    all_findings: Annotated[bool, typer.Option("--all", help="every finding")] = False,
    as_json: AsJson = False,
) -> None:
    """Distort and ask both models again, each finding alone at batch size 1. Exit code 0 only if all reproduce."""
    from experiments.replay import replay_findings

    with _told():
        _require_run(run_directory)
        if (finding is None) == (not all_findings):
            raise ValueError("Expected either --finding NUMBER or --all, got both or none.")
        results = replay_findings(run_directory, None if all_findings else finding)
    reproduced = sum(result["reproduced"] for result in results)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    else:
        for result in results:
            typer.echo(result["line"])
        typer.echo(f"{reproduced} of {len(results)} findings reproduce.")
    if reproduced < len(results):
        raise typer.Exit(NOT_MET)


@app.command()
def blame(
    run_directory: RunDir,
    pair: Annotated[str | None, typer.Option("--pair", help="one pair, such as hybridsn/int8; without, all")] = None,
    findings: Annotated[
        int | None, typer.Option("--findings", help="findings a pair, the mildest, at the most", show_default=False)
    ] = None,
) -> None:
    """Find the layer where each quantised network parts from the float one; adds the section Blame to the report."""
    from experiments.blame import blame_run

    with _told():
        _require_run(run_directory)
        for line in blame_run(run_directory, pair=pair, most=findings):
            typer.echo(line)
        from experiments.report import render

        render(run_directory)
        typer.echo(f"report: {run_directory / 'report.html'}")


@app.command()
def repair(
    run_directory: RunDir,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="of the quantisation-aware training", show_default=False)
    ] = None,
    most_float: Annotated[
        float, typer.Option("--most-float", min=0, max=1, help="share of the multiply-accumulates left in float")
    ] = 0.5,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="one to try, again for more; without, all", show_default=False),
    ] = None,
) -> None:
    """Mend the int8 versions of a finished run, judge each repair on held-out patches, recommend one."""
    from rich.console import Console

    from diverget.repair import NAMES
    from experiments.progress import Screen
    from experiments.repair import lines
    from experiments.repair import repair as mend

    with _told(resume=lambda: "Repairs that are judged are kept; the same command goes on from there."):
        _require_run(run_directory)
        from diverget.store import Store
        from experiments.report import render

        screen = Screen(Console(stderr=False, soft_wrap=True))
        told = mend(run_directory, screen, methods=method or NAMES, steps=steps, most_float=most_float)
        for line in lines(told, Store(run_directory).read_table("repair.parquet")):
            typer.echo(line)
        render(run_directory)
        typer.echo(f"\nreport: {run_directory / 'report.html'}")


@app.command()
def export(
    run_directory: RunDir,
    out: Annotated[
        Path | None, typer.Option("--out", help="folder of the kit; without, kit/ in the run directory")
    ] = None,
    finding: Annotated[int | None, typer.Option("--finding", help="one finding, by its number")] = None,
) -> None:
    """Write the findings as plain inputs for a device: a replay kit with the networks and a script of its own.

    A kit that is there already is replaced.
    """
    from experiments.export import export as written
    from experiments.export import held
    from experiments.wording import plural

    with _told():
        _require_run(run_directory)
        place = out if out is not None else run_directory / "kit"
        before = held(place)
        manifest = written(run_directory, place, finding)
        if before is not None:
            typer.echo(f"The earlier kit of {plural(before, 'finding')} in {place} is replaced.")
        told = f"{plural(len(manifest['findings']), 'finding')}, {plural(len(manifest['cases']), 'case')}"
        typer.echo(f"{told}: {place / 'README.txt'}")


def _require_run(place: Path) -> None:
    from experiments.record import refuse_page

    refuse_page(place)
    if not (place / "manifest.json").is_file():
        raise ValueError(
            f"Expected a run directory with a manifest.json, got {str(place)!r}; name a folder under runs/."
        )


@app.command()
def gallery(
    out: Annotated[Path, typer.Option("--out", help="the page: .html, .png, .svg or .pdf", show_default=False)],
    scene: Annotated[
        Path | None, typer.Option("--scene", help="a scene instead of the embedded one", show_default=False)
    ] = None,
    cube_key: Annotated[str | None, typer.Option("--cube-key", help="key of the cube, if several fit")] = None,
    label_key: Annotated[str | None, typer.Option("--label-key", help="key of the labels, if several fit")] = None,
) -> None:
    """Draw every relation at the end of both tiers, on one crop of a scene."""
    from experiments import catalogue

    with _told():
        catalogue.require_suffix(out)
        shown = catalogue.gather(catalogue.scene_of(scene, cube_key=cube_key, label_key=label_key))
        catalogue.write(shown, out)
        for note in shown.notes:
            typer.echo(note)
        typer.echo(out)


KINDS = (
    "relations", "spaces", "optimisers", "arms", "objectives", "limits", "models", "compressions", "quantisations",
    "metrics",
)  # fmt: skip


@app.command("list")
def list_(
    kind: Annotated[str, typer.Argument(help=" | ".join(KINDS), show_default=False)],
    network: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="MODEL", help="quantisations: which of them a zoo network or a network file can take"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What can stand in a config."""
    from experiments.listing import entries, table

    with _told():
        if kind not in KINDS:
            raise ValueError(f"Expected one of {', '.join(KINDS)}, got {kind!r}.")
        if network is not None and kind != "quantisations":
            raise ValueError(
                f"Expected --for beside `list quantisations` alone, got it beside {kind!r}; leave it out, or list "
                "quantisations."
            )
        rows: list[dict[str, Any]] = entries(kind, network)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        table(kind, rows)


for _command in (sweep, schema, init, gate, compare):
    app.command()(_command)


def main() -> None:
    """The entry point of the command `diverget`."""
    app(prog_name="diverget")


if __name__ == "__main__":
    main()
