"""`mvtec-convert masks`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

GOOD_IMAGES, NAMES = "Good images", "Names and images"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("masks")(masks)


def masks(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FROM",
            help="An annotated dataset, ours or any other: COCO (from CVAT, Roboflow, Label Studio too), YOLO, "
            "labelme, Pascal VOC, SA-1B and the other SAM layouts. For COCO, one annotation file will do.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="ROOT",
            show_default="FROM-masks, here",
            help="Folder of categories to write; it must not be there yet.",
        ),
    ] = None,
    category: Annotated[
        str | None,
        typer.Option(
            "--category",
            "-c",
            metavar="NAME",
            show_default=False,
            rich_help_panel=NAMES,
            help="What all images show. Without it: what our exports say, else the name of FROM.",
        ),
    ] = None,
    boxes: Annotated[
        bool,
        typer.Option(
            "--boxes",
            help="Fill boxes as if they were masks, where there is nothing else; otherwise that is an error.",
        ),
    ] = False,
    train: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            show_default=False,
            rich_help_panel=GOOD_IMAGES,
            help="Share of the images without objects that goes to train/good, the others to test/good. Without it: "
            "those that FROM has in train; 0.8 where it has no splits.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the lot that draws this share.", rich_help_panel=GOOD_IMAGES)] = 0,
    place: Annotated[
        Literal["link", "copy"],
        typer.Option(help="PNG images: hard links where the disk allows it, or copies.", rich_help_panel=NAMES),
    ] = "link",
    keep_format: Annotated[
        bool,
        typer.Option(
            "--keep-format",
            rich_help_panel=NAMES,
            help="Leave JPEG and other images as they are. Without it they are saved as PNG, without loss: this tool "
            "reads all, but anomalib's MVTecAD reads PNG alone.",
        ),
    ] = False,
    format: Annotated[
        str | None, typer.Option(metavar="NAME", show_default="recognised", help="The format of FROM.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Threads; 0: one for each core.")] = 0,
) -> None:
    """Write any annotated dataset as MVTec AD's tree of masks, which anomaly detectors and this tool read.

    Classes become defect types, images without objects become good, an image with several types goes to
    test/combined. Labels corrected in labelme, CVAT, Roboflow or Label Studio come back this way; from our own exports
    come the original categories, types and names.

    Example: `mvtec-convert masks carpet-coco --out corrected`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.mask_tree import to_masks

    target = out or Path(f"{folder.expanduser().resolve().stem}-masks")
    with console.progress("Writing masks") as progress:
        found = to_masks(
            folder,
            target,
            category=category,
            train=train,
            seed=seed,
            boxes=boxes,
            images=place,
            as_png=not keep_format,
            jobs=jobs,
            format=format,
            progress=progress,
        )
    console.show_tree(found)
