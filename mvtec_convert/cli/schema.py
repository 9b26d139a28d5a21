"""`mvtec-convert schema`."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("schema")(schema)


def schema(
    format: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT", help="yolo, coco, sam, or check, export, stats, validation.", show_default=False
        ),
    ],
) -> None:
    """Print the JSON Schema of a format.

    Example: `mvtec-convert schema coco`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.schemas import json_schema

    console.print_json(json_schema(format))
