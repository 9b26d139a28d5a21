"""Statistics of a dataset as it lies on disk, by category and defect type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from mvtec_convert.dataset import GOOD, SPLIT_NAMES, Dataset, Sample
from mvtec_convert.errors import MaskError
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.images import ImageHeader, upright_header
from mvtec_convert.geometry.regions import RegionOptions, read_regions, refuse_useless_threshold
from mvtec_convert.published import comparison, differences, mvtec_ad
from mvtec_convert.runs.workers import in_order
from mvtec_convert.statistics import document, report, sentences
from mvtec_convert.statistics.measures import Measured, measure
from mvtec_convert.statistics.options import ReportOptions
from mvtec_convert.statistics.parts import ClassStatistics, ImageKind, Part, Tally
from mvtec_convert.tables import Table


@dataclass(frozen=True, slots=True, eq=False)
class CategoryStatistics:
    """What one category holds.

    Attributes:
        part: its images, and each defect type with its regions.
        folders: number of images by folder, `train/good`, `test/hole`.
        shown: number of images that show a defect type, by split, `test/hole`. One with two of them counts for both;
            where every pixel shows what the folder says, the same as `folders`.
        differences: what is missing or extra against the published MVTec AD; None where it has no such category.
    """

    part: Part
    folders: Mapping[str, int]
    shown: Mapping[str, int]
    differences: list[str] | None

    @property
    def name(self) -> str:
        """Of the category."""
        return self.part.name

    @property
    def images(self) -> int:
        """All images."""
        return self.part.images

    @property
    def splits(self) -> dict[str, int]:
        """Images of the dataset's own splits, in the order train, val, test; MVTec AD has no val."""
        return {
            split: sum(count for folder, count in self.folders.items() if folder.startswith(f"{split}/"))
            for split in SPLIT_NAMES
        }

    @property
    def train(self) -> int:
        """Images of the dataset's own train split."""
        return self.splits["train"]

    @property
    def test(self) -> int:
        """Images of the dataset's own test split."""
        return self.splits["test"]

    @property
    def train_good(self) -> int:
        """Good images to train on."""
        return self.folders.get(f"train/{GOOD}", 0)

    @property
    def test_good(self) -> int:
        """Good images to test on."""
        return self.folders.get(f"test/{GOOD}", 0)

    @property
    def defective(self) -> int:
        """Images with a defect."""
        return self.part.labelled

    @property
    def regions(self) -> int:
        """Connected defects."""
        return self.part.regions

    @property
    def defect_types(self) -> dict[str, ClassStatistics]:
        """By name, sorted; `good` is none of them."""
        return {found.name: found for found in self.part.classes}

    def images_of(self, name: str, split: str) -> int:
        """Images of the dataset's own split that show a defect type, or are `good`."""
        return (self.folders if name == GOOD else self.shown).get(f"{split}/{name}", 0)

    @property
    def completeness(self) -> str:
        """Whether it is the published category: complete, differs, or a dash where MVTec AD has no such category."""
        return "-" if self.differences is None else "differs" if self.differences else "complete"


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """What a dataset holds.

    Attributes:
        root: its folder.
        layout: the layout it is in.
        categories: one each, sorted by name.
        findings: files that could not be read and are counted nowhere but in the number of images.
    """

    root: str
    layout: str
    categories: tuple[CategoryStatistics, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all 15 categories are there, each as published."""
        return {category.name for category in self.categories if category.differences == []} == set(mvtec_ad())

    @property
    def is_brief(self) -> bool:
        """Whether one look takes in whole categories, and not each class."""
        return len(self.categories) > 1

    def tables(self, options: ReportOptions = ReportOptions()) -> tuple[Table, ...]:
        """Everything, table by table: an overview first, then a summary where there are regions."""
        return report.of_source(self.categories, options)

    def sentences(self, options: ReportOptions = ReportOptions()) -> list[str]:
        """What the figures mean, then how the copy compares with the published MVTec AD."""
        parts = [category.part for category in self.categories]
        return [*sentences.of_source(parts, options), *self.comparison()]

    def comparison(self) -> list[str]:
        """How the copy compares with the published MVTec AD, one sentence a category that differs, then a verdict."""
        return comparison({category.name: category.differences for category in self.categories})

    def document(self, options: ReportOptions = ReportOptions()) -> dict[str, Any]:
        """The statistics as plain data, in the form of `schemas/stats.schema.json`."""
        return document.of_source(self, options)

    def _repr_html_(self) -> str:
        from mvtec_convert.notebook import report_html

        return report_html(self)


def stats(
    dataset: Dataset,
    *,
    regions: RegionOptions = RegionOptions(),
    jobs: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Count what a dataset holds. Image sizes and channels come from headers; only masks are decoded, each once.

    Args:
        dataset: what to look at; see `Dataset.filter`.
        regions: how masks are cut into regions.
        jobs: workers; 0 means one for each core.
        progress: called with (images done, images in all).

    Raises:
        SelectionError: a threshold, though pixels name all defects.

    >>> found = mc.stats(mc.load("mvtec_anomaly_detection"))
    >>> [(each.name, each.defective, each.regions) for each in found.categories]
    [('carpet', 23, 39), ('grid', 19, 38), ('hazelnut', 18, 24)]
    """
    refuse_useless_threshold(dataset, regions)
    tallies = {name: Tally() for name in dataset.categories}
    folders: dict[str, Counter[str]] = {name: Counter() for name in dataset.categories}
    shown: dict[str, Counter[str]] = {name: Counter() for name in dataset.categories}
    findings = list(dataset.findings)
    looks = in_order(partial(_look, options=regions), dataset.samples, jobs)
    for done, (sample, look) in enumerate(zip(dataset, looks, strict=True), start=1):
        if look.finding is not None:
            findings.append(look.finding)
        tallies[sample.category].add(look.kind, look.measured, is_good=sample.is_good, readable=look.finding is None)
        folders[sample.category][f"{sample.split}/{sample.defect_type}"] += 1
        shown[sample.category].update(f"{sample.split}/{name}" for name in look.measured)
        if progress is not None:
            progress(done, len(dataset))
    declared = _declared(dataset)
    categories = tuple(
        _category(tally.part(name, sorted(declared[name])), folders[name], shown[name])
        for name, tally in tallies.items()
    )
    return Statistics(str(dataset.root), dataset.layout, categories, tuple(findings))


def _declared(dataset: Dataset) -> dict[str, set[str]]:
    """The defect types of each category, those that pixels could name but none does too, as in an export."""
    names: dict[str, set[str]] = {name: set() for name in dataset.categories}
    for sample in dataset:
        names[sample.category].update(sample.defect_types)
    return names


@dataclass(frozen=True, slots=True)
class _Look:
    """What one sample's files say.

    Attributes:
        kind: of its image; None where not even the header could be read.
        measured: its regions by defect type; empty for a good image.
        finding: what is wrong; the regions are not known then.
    """

    kind: ImageKind | None
    measured: Mapping[str, Sequence[Measured]]
    finding: Finding | None = None


def _look(sample: Sample, options: RegionOptions) -> _Look:
    kind = None
    try:
        header = upright_header(sample.image)
        kind = _kind(header)
        if sample.is_good:
            return _good(kind)
        found, _ = read_regions(sample, header.width, header.height, options)
    except MaskError as error:
        path = error.path or str(sample.image)
        finding = Finding(error.code, error.reason, path, hint=error.hint)
        # What the pixels name is not known then.
        return _Look(kind, dict.fromkeys(sample.defect_types if sample.pixel_names is None else (), ()), finding)
    measured: dict[str, list[Measured]] = {} if sample.pixel_names else {name: [] for name in sample.defect_types}
    for region in found:
        measured.setdefault(region.defect_type, []).append(measure(region, header.width, header.height))
    return _Look(kind, measured)


@lru_cache(maxsize=64)  # images of a dataset are mostly alike, and one object is soon handed over to another process
def _kind(header: ImageHeader) -> ImageKind:
    return ImageKind(header.width, header.height, header.channels)


@lru_cache(maxsize=64)
def _good(kind: ImageKind) -> _Look:
    return _Look(kind, {})


def _category(part: Part, folders: Counter[str], shown: Counter[str]) -> CategoryStatistics:
    regions = {found.name: found.regions for found in part.classes}
    channels = {kind.channels for kind in part.kinds if kind.channels}
    told = differences(part.name, folders, regions, part.image_sizes, channels)
    return CategoryStatistics(part, folders, shown, told)
