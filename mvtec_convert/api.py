"""The public functions that write datasets, with the options of the command line as keywords."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast, get_args

from mvtec_convert.dataset import Dataset, SplitName
from mvtec_convert.errors import SelectionError
from mvtec_convert.runs.records import Records, Run
from mvtec_convert.splits import DEFAULT_RATIOS, Protocol, given
from mvtec_convert.summary import Summary

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mvtec_convert.balance import Method
    from mvtec_convert.coco_file import Segmentation
    from mvtec_convert.formats import Format
    from mvtec_convert.formats.yolo import Task
    from mvtec_convert.geometry.regions import RegionRule
    from mvtec_convert.labels import NameScheme
    from mvtec_convert.pipeline import ExportOptions, Progress
    from mvtec_convert.plan import Background


SamLayout = Literal["sa1b", "sam2", "sam3", "saco", "medsam"]

FORMAT_OF_LAYOUT = {"sa1b": "sam"}
"""Name of the format; that of any other layout is the layout's own."""

CHANGES_NOTHING = frozenset({"jobs", "records"})
"""Keywords on which no byte of an export depends."""

PROMPTED = ("sa1b", "sam2")
"""Layouts that hold points and boxes to prompt with."""


class ExportKeywords(TypedDict, total=False):
    """What holds in any format: see `PlanOptions`, `RegionOptions`, `ExportOptions` and `BalanceOptions`.

    With `records`, it is remembered what was done: a run that would do the same again does nothing, and one that was
    cut off is gone on with, whatever it was cut off by.
    """

    names: NameScheme
    background: Background
    split: Protocol | Mapping[SplitName, Dataset]
    ratios: Sequence[float]
    seed: int
    split_from: str | Path | None
    phrases: str | Path | None
    regions: RegionRule
    merge_distance: float
    min_area: int
    threshold: int
    images: Literal["link", "copy"]
    jobs: int
    balance: Method
    repeat_threshold: float | None
    skip_bad: bool
    records: Records | None


def to_yolo(
    dataset: Dataset,
    out: str | Path,
    *,
    task: Task | Literal["classify"] = "detect",
    world: bool = False,
    progress: Progress | None = None,
    **keywords: Unpack[ExportKeywords],
) -> Summary:
    """Write an Ultralytics YOLO dataset.

    Args:
        dataset: what to export.
        out: folder to create, or an earlier export to replace; it appears whole or not at all.
        task: `detect` upright boxes, `segment` polygons, `obb` rotated boxes, `classify` a folder for each class,
            `good` among them.
        world: add what YOLO-World reads (`detect` and `segment` only).
        progress: called with (images done, images in all).
        **keywords: see `ExportKeywords`.

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.

    >>> dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet")
    >>> summary = mc.to_yolo(dataset, "carpet-yolo", task="segment", background=1)
    >>> summary.fidelity.exact, summary.next_step
    (39, 'yolo segment train model=yolo11n-seg.pt data=carpet-yolo/data.yaml imgsz=1024')
    """

    def target(_: ExportOptions) -> Format:
        from mvtec_convert.formats.classify import Classify
        from mvtec_convert.formats.yolo import Yolo

        return Classify() if task == "classify" else Yolo(task, world)

    if world and task == "classify":
        raise SelectionError("YOLO-World finds regions, it classifies no images", hint="use --task detect or segment")
    return _export(dataset, out, target, {"yolo": [task, world]}, keywords, progress)


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

    >>> dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet")
    >>> summary = mc.to_coco(dataset, "carpet-coco", split=dataset.split(seed=1))
    >>> summary.splits["val"].images, dict(summary.splits["val"].regions)
    (9, {'color': 1, 'cut': 1, 'hole': 4, 'metal_contamination': 3, 'thread': 1})
    """

    def target(_: ExportOptions) -> Format:
        from mvtec_convert.formats.coco import Coco

        return Coco(segmentation, simplify, first_id, layout)

    return _export(dataset, out, target, {"coco": [segmentation, simplify, first_id, layout]}, keywords, progress)


def to_sam(
    dataset: Dataset,
    out: str | Path,
    *,
    layout: SamLayout = "sa1b",
    points: int | None = None,
    negatives: int | None = None,
    box_jitter: float | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExportKeywords],
) -> Summary:
    """Write a dataset for SAM and its kin.

    Args:
        dataset: what to export.
        out: folder to create, or an earlier export to replace; it appears whole or not at all.
        layout: `sa1b` one JSON file an image, with prompts; `sam2` the same as SAM 2's own trainer reads it; `sam3`
            COCO with phrases, as SAM 3's trainer reads it; `saco` SA-Co's questions, an image and a phrase each, to
            evaluate with; `medsam` arrays.
        points: positive points for each region, the first of them the deepest; 1 where None. This and the following
            are for `sa1b` and `sam2` only.
        negatives: points outside every region, near this one; 0 where None.
        box_jitter: each edge of the prompt box is moved by up to this many px; 0 where None.
        progress: called with (images done, images in all).
        **keywords: see `ExportKeywords`; `seed` seeds the prompts as well.

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.

    >>> dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet")
    >>> mc.to_sam(dataset, "carpet-sam", points=3, negatives=2).fidelity.lowest
    1.0
    """
    given = {"points": points, "negatives": negatives, "box_jitter": box_jitter}
    prompts = {name: value for name, value in given.items() if value is not None}

    def target(options: ExportOptions) -> Format:
        return _sam_format(layout, prompts, dataset, options)

    return _export(dataset, out, target, {"sam": [layout, prompts]}, keywords, progress)


def _export(
    dataset: Dataset,
    out: str | Path,
    target: Callable[[ExportOptions], Format],
    asked: Mapping[str, object],
    keywords: ExportKeywords,
    progress: Progress | None,
) -> Summary:
    """Export, unless that was done already and nothing has changed since. Only then are the libraries loaded.

    Args:
        dataset: what to export.
        out: folder to create.
        target: makes the format.
        asked: all that the format depends on.
        keywords: the options that hold in any format.
        progress: called with (images done, images in all).
    """
    records = keywords.get("records")
    run = None
    if records is not None:
        chosen = {name: value for name, value in keywords.items() if name not in CHANGES_NOTHING}
        split = keywords.get("split", "supervised")
        if not isinstance(split, str):
            chosen["split"] = given(split)  # where each image goes, not the datasets
        run = Run(records, dataset, Path(out), {**asked, **chosen})
        known = run.recall()
        if known is not None:
            return known
    from mvtec_convert.pipeline import export

    options = export_options(**keywords)
    return export(dataset, target(options), Path(out), options, progress, run)


def to_labelme(
    dataset: Dataset,
    out: str | Path,
    *,
    shape: Literal["polygon", "mask"] = "polygon",
    simplify: float | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExportKeywords],
) -> Summary:
    """Write a dataset for labelme, in which labels can be corrected; `to_masks` brings them back.

    Args:
        dataset: what to export.
        out: folder to create, or an earlier export to replace; it appears whole or not at all.
        shape: `polygon`, whose points can be moved there, or `mask`.
        simplify: lowest IoU with the mask that a polygon of fewer points may have; None keeps it exact.
        progress: called with (images done, images in all).
        **keywords: see `ExportKeywords`.

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.

    >>> dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet")
    >>> mc.to_labelme(dataset, "carpet-labelme").fidelity.exact
    39
    """

    def target(_: ExportOptions) -> Format:
        from mvtec_convert.formats.labelme import Labelme

        return Labelme(shape, simplify)

    return _export(dataset, out, target, {"labelme": [shape, simplify]}, keywords, progress)


def to_voc(
    dataset: Dataset, out: str | Path, *, progress: Progress | None = None, **keywords: Unpack[ExportKeywords]
) -> Summary:
    """Write a Pascal VOC dataset: boxes as XML, masks as palette images, images as JPEG.

    Args:
        dataset: what to export.
        out: folder to create, or an earlier export to replace; it appears whole or not at all.
        progress: called with (images done, images in all).
        **keywords: see `ExportKeywords`.

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.

    >>> dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet")
    >>> mc.to_voc(dataset, "carpet-voc").fidelity.exact
    39
    """

    def target(_: ExportOptions) -> Format:
        from mvtec_convert.formats.voc import Voc

        return Voc()

    return _export(dataset, out, target, {"voc": []}, keywords, progress)


def to_format(
    dataset: Dataset,
    out: str | Path,
    format: str | Format,
    options: Mapping[str, object] | None = None,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[ExportKeywords],
) -> Summary:
    """Write a dataset in any format, those of other installed packages too.

    Args:
        dataset: what to export.
        out: folder to create, or an earlier export to replace; it appears whole or not at all.
        format: name of the format, as `mvtec-convert formats` lists it; or a format itself, with its options.
        options: options of the format called so; text is turned into what they are.
        progress: called with (images done, images in all).
        **keywords: see `ExportKeywords`.

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.

    >>> dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet")
    >>> mc.to_format(dataset, "carpet-rle", "coco", {"segmentation": "rle"}).fidelity.exact
    39
    """
    from mvtec_convert.formats import format_named, with_options
    from mvtec_convert.runs.journal import key_of

    target = with_options(format_named(format), options or {}) if isinstance(format, str) else format
    return _export(dataset, out, lambda _: target, {"format": key_of(target)}, keywords, progress)


def _sam_format(layout: SamLayout, prompts: dict[str, Any], dataset: Dataset, options: ExportOptions) -> Format:
    """The format of a layout, with the prompt options that were given."""
    from mvtec_convert.formats import format_named
    from mvtec_convert.geometry.prompts import PromptOptions
    from mvtec_convert.plan import make_plan

    if layout not in get_args(SamLayout):
        raise SelectionError(f"no layout {layout!r}; there are: {', '.join(get_args(SamLayout))}")
    chosen: Any = format_named(FORMAT_OF_LAYOUT.get(layout, layout))
    if layout in PROMPTED:
        return cast("Format", chosen(prompts=PromptOptions(**prompts, seed=options.plan.seed)))
    if prompts:
        names = ", ".join("--" + name.replace("_", "-") for name in prompts)
        raise SelectionError(
            f"the layout {layout} holds no points or boxes to prompt with, so {names} would do nothing",
            hint=f"leave it away; the layouts {' and '.join(PROMPTED)} take it",
        )
    if layout == "sam3" and not dataset.findings and "test" in make_plan(dataset, options.plan).split_names:
        return cast("Format", chosen(val_folder="valid"))
    return cast("Format", chosen())


def export_options(
    *,
    names: NameScheme = "defect",
    background: Background = "all",
    split: Protocol | Mapping[SplitName, Dataset] = "supervised",
    ratios: Sequence[float] = DEFAULT_RATIOS,
    seed: int = 0,
    split_from: str | Path | None = None,
    phrases: str | Path | None = None,
    regions: RegionRule = "component",
    merge_distance: float = 0.0,
    min_area: int = 0,
    threshold: int = 0,
    images: Literal["link", "copy"] = "link",
    jobs: int = 0,
    balance: Method = "none",
    repeat_threshold: float | None = None,
    skip_bad: bool = False,
    records: Records | None = None,
) -> ExportOptions:
    """The flat keywords, grouped as the pipeline takes them; records are no option, but say what need not be done."""
    from mvtec_convert.balance import BalanceOptions
    from mvtec_convert.geometry.regions import RegionOptions
    from mvtec_convert.pipeline import ExportOptions
    from mvtec_convert.plan import PlanOptions

    plan = PlanOptions(
        names=names,
        background=background,
        split=split if isinstance(split, str) else given(split, seed),
        ratios=tuple(ratios),
        seed=seed,
        split_from=None if split_from is None else Path(split_from),
        phrases=None if phrases is None else Path(phrases),
    )
    cut = RegionOptions(regions, merge_distance, min_area, threshold)
    return ExportOptions(plan, cut, images, jobs, BalanceOptions(balance, repeat_threshold), skip_bad)
