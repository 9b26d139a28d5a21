"""`mvtec-convert report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvtec_convert.cli.options import OUTPUT, ExportFormat, RegionFlags, with_flags

if TYPE_CHECKING:
    from mvtec_convert.dataset import Dataset


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


@with_flags(RegionFlags)
def report(
    flags: RegionFlags,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.html", show_default="<dataset or category>-report.html",
            rich_help_panel=OUTPUT, help="File to write; an earlier report there is replaced, nothing else.",
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option(metavar="TEXT", show_default="the dataset's name", rich_help_panel=OUTPUT, help="Of the page."),
    ] = None,
    images: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, rich_help_panel=OUTPUT,
            help="Show at most so many: some of every category, type and split, defective ones first.",
        ),
    ] = 400,
    format: ExportFormat = None,
) -> None:  # fmt: skip
    """Show a dataset on one page: a source, or an export (YOLO, COCO, SAM, ...), whoever wrote it.

    One HTML file that needs no network: tables, charts, where on the image defects lie, and the images with the exact
    outlines drawn over them. Needs `pip install 'mvtec-convert[report]'`.

    Example: `mvtec-convert report --category carpet --out report.html`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.reports import report as write

    source = flags.load_or_export(format)
    with console.progress("Drawing") as progress:
        written = write(
            source, out or _target(flags, source), title=title, images=images, regions=flags.region_options(),
            format=format, jobs=flags.jobs, progress=progress,
        )  # fmt: skip
    console.show_report(written)


def _target(flags: RegionFlags, source: Dataset | Path) -> Path:
    if isinstance(source, Path):
        folder = source.resolve()
        return Path(f"{folder.stem if folder.is_file() else folder.name}-report.html")
    return Path(f"{flags.stem(source)}-report.html")
