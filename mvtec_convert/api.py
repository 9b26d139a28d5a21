"""The public functions that write datasets, with the options of the command line as keywords."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from mvtec_convert.dataset import Dataset
from mvtec_convert.labels import NameScheme
from mvtec_convert.pipeline import ExportOptions, Progress, Summary, export
from mvtec_convert.plan import Background, PlanOptions
from mvtec_convert.regions import RegionOptions, RegionRule
from mvtec_convert.splits import DEFAULT_RATIOS, Protocol

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mvtec_convert.formats.coco import Segmentation
    from mvtec_convert.formats.yolo import Task


class ExportKeywords(TypedDict, total=False):
    """What holds in any format. See `PlanOptions`, `RegionOptions` and `ExportOptions` for what each means."""

    names: NameScheme
    background: Background
    split: Protocol
    ratios: Sequence[float]
    seed: int
    split_from: str | Path | None
    phrases: str | Path | None
    regions: RegionRule
    merge_distance: float
    min_area: int
    images: Literal["link", "copy"]
    jobs: int


def to_yolo(
    dataset: Dataset,
    out: str | Path,
    *,
    task: Task = "detect",
    progress: Progress | None = None,
    **keywords: Unpack[ExportKeywords],
) -> Summary:
    """Write an Ultralytics YOLO dataset.

    Args:
        dataset: what to export.
        out: folder to create, or an earlier export to replace; it appears whole or not at all.
        task: `detect` upright boxes, `segment` polygons, `obb` rotated boxes.
        progress: called with (images done, images in all).
        **keywords: see `ExportKeywords`.

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.
    """
    from mvtec_convert.formats.yolo import Yolo

    return export(dataset, Yolo(task), Path(out), export_options(**keywords), progress)


def to_coco(
    dataset: Dataset,
    out: str | Path,
    *,
    segmentation: Segmentation = "polygon",
    simplify: float | None = None,
    first_id: Literal[0, 1] = 1,
    layout: Literal["coco", "roboflow"] = "coco",
    progress: Progress | None = None,
    **keywords: Unpack[ExportKeywords],
) -> Summary:
    """Write a COCO instance dataset.

    Args:
        dataset: what to export.
        out: folder to create, or an earlier export to replace; it appears whole or not at all.
        segmentation: `polygon`, `rle` (compressed) or `rle-uncompressed`.
        simplify: lowest IoU with the mask that a polygon of fewer points may have; None keeps it exact.
        first_id: id of the first category.
        layout: `coco`, or `roboflow`: annotations beside the images, classes named by their phrase.
        progress: called with (images done, images in all).
        **keywords: see `ExportKeywords`.

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.
    """
    from mvtec_convert.formats.coco import Coco

    return export(
        dataset, Coco(segmentation, simplify, first_id, layout), Path(out), export_options(**keywords), progress
    )


def to_sam(
    dataset: Dataset,
    out: str | Path,
    *,
    points: int = 1,
    negatives: int = 0,
    box_jitter: float = 0.0,
    progress: Progress | None = None,
    **keywords: Unpack[ExportKeywords],
) -> Summary:
    """Write SA-1B files with prompts.

    Args:
        dataset: what to export.
        out: folder to create, or an earlier export to replace; it appears whole or not at all.
        points: positive points for each region; the first is the deepest.
        negatives: points outside every region, near this one.
        box_jitter: each edge of the prompt box is moved by up to this many px.
        progress: called with (images done, images in all).
        **keywords: see `ExportKeywords`; `seed` seeds the prompts as well.

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.
    """
    from mvtec_convert.formats.sam import Sam
    from mvtec_convert.prompts import PromptOptions

    prompts = PromptOptions(points, negatives, box_jitter, keywords.get("seed", 0))
    return export(dataset, Sam(prompts), Path(out), export_options(**keywords), progress)


def export_options(
    *,
    names: NameScheme = "defect",
    background: Background = "all",
    split: Protocol = "supervised",
    ratios: Sequence[float] = DEFAULT_RATIOS,
    seed: int = 0,
    split_from: str | Path | None = None,
    phrases: str | Path | None = None,
    regions: RegionRule = "component",
    merge_distance: float = 0.0,
    min_area: int = 0,
    images: Literal["link", "copy"] = "link",
    jobs: int = 0,
) -> ExportOptions:
    """The flat keywords, grouped as the pipeline takes them."""
    plan = PlanOptions(
        names=names,
        background=background,
        split=split,
        ratios=tuple(ratios),
        seed=seed,
        split_from=None if split_from is None else Path(split_from),
        phrases=None if phrases is None else Path(phrases),
    )
    return ExportOptions(plan, RegionOptions(regions, merge_distance, min_area), images, jobs)
