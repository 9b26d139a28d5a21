"""`mvtec-convert export`."""

from __future__ import annotations

from typing import Annotated

import typer

from mvtec_convert.cli.options import ExportFlags, RatiosCommand, with_flags
from mvtec_convert.errors import SelectionError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export", cls=RatiosCommand)(export)


@with_flags(ExportFlags)
def export(
    flags: ExportFlags,
    format: Annotated[
        str,
        typer.Option(metavar="NAME", show_default=False, help="The format; `mvtec-convert formats` lists the names."),
    ],
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="OPTION=VALUE", show_default=False,
            help="An option of the format; `mvtec-convert formats NAME` lists them. Repeat it for more.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Write a dataset in any format, those of other installed packages too.

    The formats of this tool have commands of their own (yolo, coco, sam, ...), which say more.

    Example: `mvtec-convert export --format coco --set segmentation=rle`
    """
    from mvtec_convert.api import to_format
    from mvtec_convert.cli import console

    dataset = flags.load()
    target = flags.target(dataset, format)
    with console.progress(f"Writing {format}") as progress:
        summary = to_format(
            dataset, target, format, dict(map(_pair, options or ())), progress=progress, **flags.keywords()
        )
    console.show_summary(summary)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise SelectionError(f"--set {text} sets nothing", hint="write it as --set option=value")
    return name.strip(), value
