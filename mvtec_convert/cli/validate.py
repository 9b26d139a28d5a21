"""`mvtec-convert validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("validate")(validate)


def validate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A YOLO, COCO or SAM dataset, ours or any other.")],
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="Its format. Without it: recognised; SAM 3's files without mvtec-convert.json are taken for COCO.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, in the form of `mvtec-convert schema validation`.")
    ] = False,
) -> None:
    """Check a YOLO, COCO or SAM dataset, whoever wrote it.

    Schema, meaning, images, and what trainers choke on.

    Prints `path:line: code message`, exits 1 if there is an error. The codes are explained in docs/findings.md.

    Example: `mvtec-convert validate carpet-yolo`
    """
    from mvtec_convert import validation
    from mvtec_convert.cli import console

    found = validation.validate(folder, format=format)
    if json:
        console.print_json(found.document())
    else:
        console.show_validation(found)
    if found.errors:
        raise typer.Exit(1)
