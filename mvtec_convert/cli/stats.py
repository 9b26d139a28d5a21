"""`mvtec-convert stats`."""

from __future__ import annotations

from typing import Annotated

import typer

from mvtec_convert.cli.options import DatasetFlags, with_flags
from mvtec_convert.errors import SelectionError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stats")(stats)


@with_flags(DatasetFlags)
def stats(
    flags: DatasetFlags,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print tables to paste into a report.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, in the form of `mvtec-convert schema stats`.")
    ] = False,
) -> None:
    """Report what a dataset holds.

    Defect classes, counts, splits, image sizes, regions, and whether the copy equals the published MVTec AD.

    Example: `mvtec-convert stats --category carpet --markdown`
    """
    if markdown and json:
        raise SelectionError("--markdown and --json exclude each other")
    from mvtec_convert import statistics
    from mvtec_convert.cli import console

    dataset = flags.load()
    with console.progress("Reading masks") as progress:
        found = statistics.stats(dataset, jobs=flags.jobs, progress=progress)
    if json:
        console.print_json(found.document())
    elif markdown:
        console.print_markdown(found)
    else:
        console.show_statistics(found)
    console.show_findings(found.findings)
