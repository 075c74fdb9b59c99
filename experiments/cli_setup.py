"""Commands that come before a run: a config of one's own, and the schema that editors check it by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.bad_input import told


def schema(
    kind: Annotated[str, typer.Argument(help="run | study | card")] = "run",
    out: Annotated[Path | None, typer.Option("--out", help="a file instead of the terminal")] = None,
) -> None:
    """The JSON Schema of a run's config, a study's file or a run's card, for editors and programs."""
    from experiments.json_schema import text

    with told():
        schema_text = text(kind)
        if out is None:
            typer.echo(schema_text, nl=False)
        else:
            from diverget.store import appearing

            with appearing(out) as temporary:
                temporary.write_text(schema_text, encoding="utf-8")
            typer.echo(out)


def init(
    file: Annotated[Path, typer.Argument(help="the config to write; never overwritten")] = Path("diverget.yaml"),
    scene: Annotated[
        Path | None, typer.Option("--scene", help="a hyperspectral scene: .mat, .npz or .hdr", show_default=False)
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="images: .npz, .mat or IDX", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="the file of the labels, if another", show_default=False)
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="the float network; without, one is trained", show_default=False)
    ] = None,
    quantised: Annotated[
        list[Path] | None, typer.Option("--quantised", help="a quantised version; may be repeated", show_default=False)
    ] = None,
) -> None:
    """Write a commented config for one's own scene or images, and networks."""
    from experiments.first_config import write

    with told():
        for line in write(file, scene=scene, images=images, labels=labels, model=model, quantised=quantised or []):
            typer.echo(line)
