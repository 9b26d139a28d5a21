"""`mvtec-convert coco`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mvtec_convert.cli.options import ExportFlags, RatiosCommand, Simplify, with_flags


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("coco", cls=RatiosCommand)(coco)


@with_flags(ExportFlags)
def coco(
    flags: ExportFlags,
    segmentation: Annotated[
        Literal["polygon", "rle", "rle-uncompressed"],
        typer.Option(
            help="polygon: exact polygons, holes joined by bridges; rle: compressed run lengths; rle-uncompressed: "
            "the same as numbers."
        ),
    ] = "polygon",
    simplify: Simplify = None,
    first_id: Annotated[int, typer.Option(min=0, max=1, help="Id of the first category: 1, as COCO has it, or 0.")] = 1,
    layout: Annotated[
        Literal["coco", "roboflow"],
        typer.Option(help="roboflow: train/_annotations.coco.json beside the images, classes named by their phrase."),
    ] = "coco",
) -> None:
    """Write a COCO instance dataset.

    Example: `mvtec-convert coco --category carpet --simplify 0.98`
    """
    from mvtec_convert.api import to_coco
    from mvtec_convert.cli import console

    dataset = flags.load()
    with console.progress("Writing COCO") as progress:
        summary = to_coco(
            dataset,
            flags.target(dataset, "coco" if layout == "coco" else "coco-roboflow"),
            segmentation=segmentation,
            simplify=simplify,
            first_id=0 if first_id == 0 else 1,
            layout=layout,
            progress=progress,
            **flags.keywords(),
        )
    console.show_summary(summary)
