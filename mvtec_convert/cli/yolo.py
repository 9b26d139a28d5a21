"""`mvtec-convert yolo`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mvtec_convert.cli.options import ExportFlags, RatiosCommand, with_flags


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("yolo", cls=RatiosCommand)(yolo)


@with_flags(ExportFlags)
def yolo(
    flags: ExportFlags,
    task: Annotated[
        Literal["detect", "segment", "obb", "classify"],
        typer.Option(
            help="detect: upright boxes; segment: polygons; obb: rotated boxes; classify: a folder of images for each "
            "class, good among them, which torchvision's ImageFolder reads as well."
        ),
    ] = "detect",
    world: Annotated[
        bool,
        typer.Option("--world", help="Add what YOLO-World reads: classes and regions in words, from --phrases."),
    ] = False,
) -> None:
    """Write an Ultralytics YOLO dataset.

    Example: `mvtec-convert yolo --category carpet --task segment`
    """
    from mvtec_convert.api import to_yolo
    from mvtec_convert.cli import console

    dataset = flags.load()
    target = flags.target(dataset, "yolo" + ("" if task == "detect" else f"-{task}") + ("-world" if world else ""))
    with console.progress("Writing YOLO") as progress:
        summary = to_yolo(dataset, target, task=task, world=world, progress=progress, **flags.keywords())
    console.show_summary(summary)
