"""`mvtec-convert labelme`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mvtec_convert.cli.options import ExportFlags, RatiosCommand, with_flags


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
    simplify: Annotated[
        float | None,
        typer.Option(
            metavar="IOU", min=0.5, max=1, show_default=False,
            help="Polygons of few points, easier to correct, that keep at least this IoU with the mask.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Write a dataset for labelme, to look at labels and to correct them.

    One JSON file beside each image. `mvtec-convert masks` brings what was corrected back as masks.

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
