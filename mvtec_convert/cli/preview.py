"""`mvtec-convert preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("preview")(preview)


def preview(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A YOLO, COCO or SAM dataset, ours or any other.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.png",
            show_default=False,
            help="PNG file to write; an earlier sheet is replaced, nothing else. Without it: DIR-preview.png, here.",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many images.")] = 12,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Only this split. Without it: all.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", metavar="NAME", show_default=False, help="Only images with it; repeat it for more."),
    ] = None,
    worst: Annotated[
        bool,
        typer.Option(
            "--worst", help="The images that came back worst when they were exported; by lot if all are exact."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the lot by which images are chosen.")] = 0,
    width: Annotated[int, typer.Option(metavar="PX", help="Width of the sheet.")] = 1600,
    format: Annotated[
        str | None, typer.Option(metavar="NAME", show_default=False, help="Its format. Without it: recognised.")
    ] = None,
) -> None:
    """Draw images of a dataset with their labels as the trainer reads them: one look catches a wrong export.

    Drawn from the exported files alone: masks filled by the trainer's own rasteriser, outlines, boxes, prompts and
    class names; what is too small to see is enlarged in a corner.

    Example: `mvtec-convert preview carpet-yolo --out sheet.png`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.previews import preview as draw

    target = out or Path(f"{folder.expanduser().resolve().stem}-preview.png")
    with console.progress("Drawing") as progress:
        found = draw(
            folder, target, count=count, split=split, classes=classes or (), worst=worst, seed=seed, width=width,
            format=format, progress=progress,
        )  # fmt: skip
    console.show_preview(found)
