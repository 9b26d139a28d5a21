"""`mvtec-convert voc`."""

from __future__ import annotations

import typer

from mvtec_convert.cli.options import ExportFlags, RatiosCommand, with_flags


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("voc", cls=RatiosCommand)(voc)


@with_flags(ExportFlags)
def voc(flags: ExportFlags) -> None:
    """Write a Pascal VOC dataset: boxes as XML, masks as palette images.

    Images that are no JPEG become one, since torchvision's reader looks for .jpg alone; masks and boxes are exact. The
    folder VOC2012, packed as a zip, has the form that CVAT documents for its import.

    Example: `mvtec-convert voc --category carpet`
    """
    from mvtec_convert.api import to_voc
    from mvtec_convert.cli import console

    dataset = flags.load()
    with console.progress("Writing Pascal VOC") as progress:
        summary = to_voc(dataset, flags.target(dataset, "voc"), progress=progress, **flags.keywords())
    console.show_summary(summary)
