"""`mvtec-convert sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; must be new or empty.")],
) -> None:
    """Write the built-in sample dataset.

    Three categories in MVTec AD's layout, drawn by this tool.

    Example: `mvtec-convert sample sample`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.runs.publish import staged
    from mvtec_convert.sample import write_sample

    with staged(out) as staging:
        write_sample(staging)
    console.show_written(out)
