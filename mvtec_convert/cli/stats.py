"""`mvtec-convert stats`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvtec_convert.cli.options import ExportFormat, RegionFlags, with_flags
from mvtec_convert.errors import SelectionError

if TYPE_CHECKING:
    from mvtec_convert.statistics import ExportStatistics, Statistics
    from mvtec_convert.tables import Table

REPORT = "Report"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("stats")(stats)


@with_flags(RegionFlags)
def stats(
    flags: RegionFlags,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print tables as Markdown.", rich_help_panel=REPORT)
    ] = False,
    latex: Annotated[
        bool,
        typer.Option(
            "--latex", rich_help_panel=REPORT,
            help="Print tables as LaTeX, for a document with the packages that its first line names.",
        ),
    ] = False,
    csv: Annotated[
        bool,
        typer.Option(
            "--csv", rich_help_panel=REPORT,
            help="Print tables as CSV, an empty line between two, the name of the table first on each line; "
            "with one --table, nothing but it.",
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print JSON, in the form of `mvtec-convert schema stats`.", rich_help_panel=REPORT
        ),
    ] = False,
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", show_default=False, rich_help_panel=REPORT,
            help="Only this table; repeat it for more: overview, summary, images, distribution, regions, areas, "
            "relative-areas, sizes, tail, weights; copy of a source, balance of an export.",
        ),
    ] = None,
    imgsz: Annotated[
        int,
        typer.Option(
            metavar="PX", min=1, rich_help_panel=REPORT,
            help="To how many px a trainer scales the longer side of images.",
        ),
    ] = 640,
    beta: Annotated[
        float | None,
        typer.Option(
            metavar="BETA", show_default="1 - 1/N", rich_help_panel=REPORT,
            help="Of the effective number of samples, in [0, 1); N is the sum of the counts.",
        ),
    ] = None,
    format: ExportFormat = None,
) -> None:  # fmt: skip
    """Report what a dataset holds: a source, or an export (YOLO, COCO, SAM, ...), whoever wrote it.

    Classes, images of each in train and test, image sizes, regions and their areas, the long tail with class weights,
    and whether the copy equals the published MVTec AD; of an export, what each split holds.

    Example: `mvtec-convert stats --category carpet --markdown`
    """
    if sum((markdown, latex, csv, json)) > 1:
        raise SelectionError("--markdown, --latex, --csv and --json exclude each other", hint="choose one of them")
    if json and table:
        raise SelectionError("--json is always complete, so --table would do nothing", hint="leave one of them away")
    from mvtec_convert.cli import console
    from mvtec_convert.statistics import ReportOptions

    options = ReportOptions(imgsz, beta)
    found = _count(flags, format)
    if json:
        console.print_json(found.document(options))
    elif markdown or latex or csv or table:
        tables = _chosen(found.tables(options), table)
        sentences = [] if table else found.sentences(options)
        if markdown:
            console.print_markdown(tables, sentences)
        elif latex:
            console.print_latex(tables, sentences)
        elif csv:
            console.print_csv(tables)
        else:
            for each in tables:
                console.show_table(each)
    else:
        console.show_statistics(found, options)
    console.show_findings(found.findings)


def _count(flags: RegionFlags, format: str | None) -> Statistics | ExportStatistics:
    from mvtec_convert.cli import console
    from mvtec_convert.statistics import stats

    source = flags.load_or_export(format)
    with console.progress("Counting") as progress:
        if isinstance(source, Path):
            from mvtec_convert.statistics import export_stats

            return export_stats(source, format=format, progress=progress)
        return stats(source, regions=flags.region_options(), jobs=flags.jobs, progress=progress)


def _chosen(tables: Sequence[Table], names: Sequence[str] | None) -> Sequence[Table]:
    known = [table.name for table in tables]
    for name in names or known:
        if name not in known:
            raise SelectionError(f"no table {name!r} here; there are: {', '.join(known)}")
    return [table for table in tables if table.name in (names or known)]
