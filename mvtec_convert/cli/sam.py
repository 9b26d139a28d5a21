"""`mvtec-convert sam`."""

from __future__ import annotations

from typing import Annotated

import typer

from mvtec_convert.cli.options import ExportFlags, RatiosCommand, with_flags


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sam", cls=RatiosCommand)(sam)


@with_flags(ExportFlags)
def sam(
    flags: ExportFlags,
    points: Annotated[
        int, typer.Option(metavar="N", min=0, help="Points inside each region; the first is the deepest one.")
    ] = 1,
    negatives: Annotated[int, typer.Option(metavar="N", min=0, help="Points outside every region, near this one.")] = 0,
    box_jitter: Annotated[
        float, typer.Option(metavar="PX", min=0, help="Move each edge of the prompt box by up to this much.")
    ] = 0.0,
) -> None:
    """Write a dataset of prompts for SAM and its kin.

    SA-1B files, one an image: masks, each with box, points and phrase.

    Example: `mvtec-convert sam --category carpet --points 3 --negatives 2`
    """
    from mvtec_convert.api import to_sam
    from mvtec_convert.cli import console

    dataset = flags.load()
    with console.progress("Writing SAM prompts") as progress:
        summary = to_sam(
            dataset,
            flags.target(dataset, "sam"),
            points=points,
            negatives=negatives,
            box_jitter=box_jitter,
            progress=progress,
            **flags.keywords(),
        )
    console.show_summary(summary)
