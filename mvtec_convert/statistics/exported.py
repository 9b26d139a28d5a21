"""Statistics of an exported dataset, by split and class: what a model will learn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mvtec_convert.dataset import SPLIT_NAMES
from mvtec_convert.errors import MaskError
from mvtec_convert.exports import balance_of, format_of
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.images import read_header
from mvtec_convert.labelled import LabelledImage, LabelledObject
from mvtec_convert.schemas.balance import BalanceFile
from mvtec_convert.statistics import document, report, sentences
from mvtec_convert.statistics.measures import Measured, measure, measure_box
from mvtec_convert.statistics.options import ReportOptions
from mvtec_convert.statistics.parts import ImageKind, Part, Tally
from mvtec_convert.tables import Table

MOST_ROWS = 24
"""Of classes in all splits together, that one look takes in."""


@dataclass(frozen=True, slots=True, eq=False)
class ExportStatistics:
    """What an exported dataset holds.

    Attributes:
        root: its folder.
        format: name of the format it is in.
        class_names: in the order of their ids, those that no image shows too.
        splits: one part each, in the order train, val, test, then others.
        crowds: regions that trainers leave out (COCO's `iscrowd`), counted nowhere else.
        boxes: objects without a mask, whose area is that of their box or polygon.
        balance: how often training is to see each class; None where the export is not balanced.
        findings: none; an export that cannot be read is an error.
    """

    root: str
    format: str
    class_names: tuple[str, ...]
    splits: tuple[Part, ...]
    crowds: int = 0
    boxes: int = 0
    balance: BalanceFile | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def is_brief(self) -> bool:
        """Whether one look takes in whole splits, and not each class."""
        return len(self.splits) * len(self.class_names) > MOST_ROWS

    def tables(self, options: ReportOptions = ReportOptions()) -> tuple[Table, ...]:
        """Everything, table by table: an overview first, then a summary where there are regions."""
        return report.of_export(self, options)

    def sentences(self, options: ReportOptions = ReportOptions()) -> list[str]:
        """What the figures mean."""
        return sentences.of_export(self, options)

    def document(self, options: ReportOptions = ReportOptions()) -> dict[str, Any]:
        """The statistics as plain data, in the form of `schemas/stats.schema.json`."""
        return document.of_export(self, options)

    def _repr_html_(self) -> str:
        from mvtec_convert.notebook import report_html

        return report_html(self)


def export_stats(
    folder: str | Path, *, format: str | None = None, progress: Callable[[int, int], None] | None = None
) -> ExportStatistics:
    """Count what a YOLO, COCO or SAM dataset holds, as its own reader takes it, whoever wrote it.

    Args:
        folder: the dataset; for COCO, one annotation file will do.
        format: name of its format; recognised where None.
        progress: called with (images done, 0) after each image; how many there are is not known before.

    Raises:
        ExportError, MaskError, SelectionError: see `exports.read_export`.

    >>> _ = mc.to_coco(mc.load("mvtec_anomaly_detection").filter(category="carpet"), "carpet-coco")
    >>> found = mc.export_stats("carpet-coco")
    >>> [(each.name, each.images, each.regions) for each in found.splits]
    [('train', 28, 31), ('val', 9, 8)]
    """
    folder = Path(folder).expanduser()
    chosen = format_of(folder, format)
    class_names = chosen.class_names(folder)
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    crowds = boxes = 0
    for done, image in enumerate(chosen.read(folder), start=1):
        objects = [each for each in image.objects if not each.is_crowd]
        tallies[image.split].add(_kind(image), _measured(image, objects))
        crowds += len(image.objects) - len(objects)
        boxes += sum(each.region is None for each in objects)
        if progress is not None:
            progress(done, 0)
    seen = (name for split in tallies.values() for name in split.names())
    every_class = tuple(dict.fromkeys((*class_names, *seen)))
    splits = tuple(tallies[name].part(name, every_class) for name in sorted(tallies, key=_order))
    return ExportStatistics(str(folder), chosen.name, every_class, splits, crowds, boxes, balance_of(folder))


def _measured(image: LabelledImage, objects: list[LabelledObject]) -> dict[str, list[Measured]]:
    found: dict[str, list[Measured]] = {name: [] for name in image.classes}
    for each in objects:
        found.setdefault(each.class_name, []).append(_measure(each, image))
    return found


def _measure(found: LabelledObject, image: LabelledImage) -> Measured:
    if found.region is not None:
        return measure(found.region, image.width, image.height)
    x0, y0, x1, y1 = found.box
    rings = found.outlines
    area = sum(cv2.contourArea(ring.astype(np.float32)) for ring in rings) if rings else (x1 - x0) * (y1 - y0)
    return measure_box(found.box, area, image.width, image.height)


def _kind(image: LabelledImage) -> ImageKind:
    channels = None
    with suppress(MaskError):  # an array of pixels, or missing; the labels are what is counted here
        channels = read_header(image.image).channels
    return ImageKind(image.width, image.height, channels)


def _order(split: str) -> tuple[int, str]:
    known = [*SPLIT_NAMES]
    return (known.index(split) if split in known else len(known)), split
