"""`mvtec-convert download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mvtec_convert.cli.options import DATASET, OUTPUT

WHERE_FROM = "Where from"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("download")(download)


def download(
    dataset: Annotated[
        Literal["mvtec-ad", "loco", "ad2", "visa", "btad"],
        typer.Option(
            metavar="NAME", rich_help_panel=DATASET,
            help="mvtec-ad: MVTec AD, 5.3 GB; loco: MVTec LOCO AD, 6.1 GB; ad2: MVTec AD 2, 32.7 GB; visa: VisA, "
            "1.9 GB; btad: BTAD, 1.2 GB.",
        ),
    ] = "mvtec-ad",
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category", "-c", metavar="NAME", show_default=False, rich_help_panel=DATASET,
            help="Only this category; repeat it for more. Without it: all that are not there yet.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", show_default="mvtec_anomaly_detection, where the other commands look",
            help="Folder of categories to make, or to add to; what it holds stays as it is.", rich_help_panel=OUTPUT,
        ),
    ] = None,
    keep_archive: Annotated[
        bool, typer.Option("--keep-archive", help="Leave the archive beside the folder.", rich_help_panel=OUTPUT)
    ] = False,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, rich_help_panel=WHERE_FROM,
            help="Unpack this zip or tar in place of fetching: fetched by hand, or from Kaggle.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", show_default=False, help="Fetch from here; publishers move their files.",
            rich_help_panel=WHERE_FROM,
        ),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            metavar="HEX", show_default=False, help="What the archive must have in place of the published checksum.",
            rich_help_panel=WHERE_FROM,
        ),
    ] = None,
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence", rich_help_panel=WHERE_FROM,
            help="You have read the dataset's licence and will keep to it. Asked once for each dataset.",
        ),
    ] = False,
) -> None:  # fmt: skip
    """Fetch a published dataset from its publisher.

    What is fetched is checked against its sha256, where one is known, and unpacked safely. A download that was cut off
    goes on from there when it is run again. The folder gets whole categories only.

    Example: `mvtec-convert download --category carpet`
    """
    from mvtec_convert import downloads
    from mvtec_convert.cli import console, licences

    plan = downloads.plan_download(dataset, out, category=category, archive=archive, url=url, sha256=sha256)
    if plan.archives:
        licences.ask_once(plan.source, accept_licence)
        console.show_plan(plan)
    try:
        with console.transfer() as progress:
            done = downloads.run(plan, keep_archive=keep_archive, progress=progress)
    except KeyboardInterrupt:
        if plan.archives:
            console.show_note("what was fetched is kept; run the same again to go on from there")
        raise
    console.show_download(done)
