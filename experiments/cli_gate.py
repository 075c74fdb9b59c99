"""Commands that come after a run: the gate, and the comparison with the run before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from experiments.bad_input import NOT_MET, told


def gate(
    place: Annotated[
        Path, typer.Argument(metavar="RUN", help="a run directory, or the config of one", show_default=False)
    ],
    criteria: Annotated[
        Path | None, typer.Option("--criteria", help="a YAML file with `criteria:`, such as a config")
    ] = None,
    criterion: Annotated[
        list[str] | None, typer.Option("--criterion", metavar="TEXT", help="'agreement >= 0.99', or 'warn: ...'")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="write a JUnit report here")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="of a config: the keys that the run overrode")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="of a config: the folder that its run lies in")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, for programs")] = False,
) -> None:
    """Judge a finished run by criteria, without running anything. Exit code 0 passed (warnings are told), 1 failed."""
    from experiments.config import load
    from experiments.gate import gate as judged_by
    from experiments.run import directory

    with told():
        asked = load(place, overrides=override or [], files=True) if place.is_file() else None
        run_dir, otherwise = (place, ()) if asked is None else (directory(asked, out), asked.asked_criteria)
        judged = judged_by(run_dir, file=criteria, texts=criterion or [], otherwise=otherwise, report=junit)
    if as_json:
        content = {
            "run": str(run_dir),
            "verdict": judged.verdict,
            "control": list(judged.control),
            "criteria": list(judged.rows),
        }
        typer.echo(json.dumps(content, indent=1, ensure_ascii=False))
    else:
        for line in judged.lines():
            typer.echo(line)
    if not judged.passed:
        raise typer.Exit(NOT_MET)


def compare(
    before: Annotated[Path, typer.Argument(metavar="A", help="run directory of the last release", show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="B", help="run directory of the next one", show_default=False)],
    pair_a: Annotated[str | None, typer.Option("--pair-a", help="a pair of A, where names do not match")] = None,
    pair_b: Annotated[str | None, typer.Option("--pair-b", help="the pair of B to set beside it")] = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, max=1, help="how much worse is still no difference, as a share")
    ] = 0.001,
    out: Annotated[Path | None, typer.Option("--out", help="folder of the page; without, compare/ in B")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="as JSON, for programs")] = False,
) -> None:
    """Is the next quantised model worse than the last? Exit code 1 where it is shown to be, 0 where it is not."""
    from experiments.compare import compare as compared
    from experiments.compare.page import lines, write

    with told():
        found = compared(before, after, pair_a=pair_a, pair_b=pair_b, tolerance=tolerance)
        page = write(found, out if out is not None else after / "compare")
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        for line in lines(found):
            typer.echo(line)
        typer.echo(f"page: {page}")
    if found["verdict"] == "worse":
        raise typer.Exit(NOT_MET)
