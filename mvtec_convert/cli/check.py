"""`mvtec-convert check`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvtec_convert.cli.options import DATASET, OUTPUT, DatasetFlags, with_flags

if TYPE_CHECKING:
    from mvtec_convert.dataset import Dataset
    from mvtec_convert.source_checks import SourceCheck


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


@with_flags(DatasetFlags)
def check(
    flags: DatasetFlags,
    near_duplicates: Annotated[
        bool,
        typer.Option(
            "--near-duplicates", rich_help_panel=DATASET,
            help="Also find photos that are in train and in test, saved in another way. Decodes every image, which "
            "takes several times as long as all else.",
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, in the form of `mvtec-convert schema check`.")
    ] = False,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT", show_default=False, rich_help_panel=OUTPUT,
            help="Write a copy in which all is mended that takes no guess, and tell what is left. The source is only "
            "read.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Check a source dataset before it is converted.

    Masks that are missing, orphaned, empty, of another size, damaged, inverted, or not black and white; images that
    are there twice, turned by EXIF, or called what they are not; junk, links and names; and how the copy compares
    with the published MVTec AD.

    Exits 1 if there is an error. The codes are explained in docs/findings.md.

    Example: `mvtec-convert check --category carpet --fix carpet-fixed`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.repairs import repair

    dataset = flags.load()
    found = _check(dataset, near_duplicates, flags.jobs)
    if fix is None:
        if json:
            console.print_json({**found.document(), "repaired": None})
        else:
            console.show_check(found)
        raise typer.Exit(1 if found.errors else 0)
    with console.progress("Copying") as progress:
        repairs = repair(dataset, found, fix, jobs=flags.jobs, progress=progress)
    from mvtec_convert.layouts import load

    left = _check(load(fix, layout=dataset.layout), near_duplicates, flags.jobs)
    if json:
        repaired = {"repairs": [asdict(entry) for entry in repairs], "left": left.document()}
        console.print_json({**found.document(), "repaired": repaired})
    else:
        console.show_repairs(fix, repairs)
        console.show_check(left)
    raise typer.Exit(1 if left.errors else 0)


def _check(dataset: Dataset, near_duplicates: bool, jobs: int) -> SourceCheck:
    from mvtec_convert.cli import console
    from mvtec_convert.source_checks import check

    with console.progress("Checking") as progress:
        return check(dataset, near_duplicates=near_duplicates, jobs=jobs, progress=progress)
