"""`mvtec-convert sam`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from mvtec_convert.cli.options import ExportFlags, RatiosCommand, with_flags

PROMPTS = "Prompts (layouts sa1b and sam2)"


def _prompt_option(metavar: str, default: str, help: str) -> Any:
    return typer.Option(metavar=metavar, min=0, show_default=default, help=help, rich_help_panel=PROMPTS)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sam", cls=RatiosCommand)(sam)


@with_flags(ExportFlags)
def sam(
    flags: ExportFlags,
    layout: Annotated[
        Literal["sa1b", "sam2", "sam3", "saco", "medsam"],
        typer.Option(
            help="sa1b: SA-1B's JSON files, with prompts; sam2: the same as SAM 2's trainer reads it; sam3: COCO with "
            "phrases, for SAM 3's trainer; saco: SA-Co's image and phrase pairs, to evaluate with; medsam: arrays.",
        ),
    ] = "sa1b",
    points: Annotated[
        int | None, _prompt_option("N", "1", "Points inside each region; the first is the deepest one.")
    ] = None,
    negatives: Annotated[int | None, _prompt_option("N", "0", "Points outside every region, near this one.")] = None,
    box_jitter: Annotated[
        float | None, _prompt_option("PX", "0", "Move each edge of the prompt box by up to this much.")
    ] = None,
) -> None:
    """Write a dataset for SAM and its kin.

    SA-1B files, one an image: masks, each with box, points and phrase. Or what the trainers of SAM 2, SAM 3 and MedSAM
    read.

    Example: `mvtec-convert sam --category carpet --points 3 --negatives 2`
    """
    from mvtec_convert.api import to_sam
    from mvtec_convert.cli import console

    dataset = flags.load()
    target = flags.target(dataset, "sam" if layout == "sa1b" else layout)
    with console.progress("Writing for SAM") as progress:
        summary = to_sam(
            dataset,
            target,
            layout=layout,
            points=points,
            negatives=negatives,
            box_jitter=box_jitter,
            progress=progress,
            **flags.keywords(),
        )
    console.show_summary(summary)
