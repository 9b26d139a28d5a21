"""`mvtec-convert labelme`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mvtec_convert.cli.options import ExportFlags, RatiosCommand, Simplify, with_flags


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("labelme", cls=RatiosCommand)(labelme)


@with_flags(ExportFlags)
def labelme(
    flags: ExportFlags,
    shape: Annotated[
        Literal["polygon", "mask"],
        typer.Option(
            help="polygon: exact, and its points can be moved in labelme; mask: exact as well, but can only be moved "
            "there or drawn anew."
        ),
    ] = "polygon",
    simplify: Simplify = None,
) -> None:
    """Write a dataset for labelme, to look at labels and to correct them.

    One JSON file beside each image. Polygons of few points (`--simplify`) are easier to correct; `mvtec-convert masks`
    brings what was corrected back as masks.

    Example: `mvtec-convert labelme --category carpet --simplify 0.98`
    """
    from mvtec_convert.api import to_labelme
    from mvtec_convert.cli import console

    dataset = flags.load()
    with console.progress("Writing for labelme") as progress:
        summary = to_labelme(
            dataset,
            flags.target(dataset, "labelme"),
            shape=shape,
            simplify=simplify,
            progress=progress,
            **flags.keywords(),
        )
    console.show_summary(summary)
