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
        Literal["detect", "segment", "obb"],
        typer.Option(help="detect: upright boxes; segment: polygons; obb: rotated boxes."),
    ] = "detect",
) -> None:
    """Write an Ultralytics YOLO dataset.

    Example: `mvtec-convert yolo --category carpet --task segment`
    """
    from mvtec_convert.api import to_yolo
    from mvtec_convert.cli import console

    dataset = flags.load()
    target = flags.target(dataset, "yolo" if task == "detect" else f"yolo-{task}")
    with console.progress("Writing YOLO") as progress:
        summary = to_yolo(dataset, target, task=task, progress=progress, **flags.keywords())
    console.show_summary(summary)
