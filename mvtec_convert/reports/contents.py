"""A dataset, read for the page: a source dataset or an export, in one form."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from mvtec_convert import splits
from mvtec_convert.dataset import GOOD, Dataset, Sample
from mvtec_convert.errors import MaskError, SelectionError
from mvtec_convert.exports import read_export
from mvtec_convert.geometry.regions import RegionOptions
from mvtec_convert.labelled import split_order
from mvtec_convert.plan import file_safe
from mvtec_convert.reports.heat import HeatMap, heat_map
from mvtec_convert.reports.pictures import CELLS, Coverage, Picture, coverage, labelled, picture
from mvtec_convert.statistics import ExportStatistics, Statistics, export_stats, stats
from mvtec_convert.statistics.parts import BACKGROUND

Progress = Callable[[int, int], None]

Look = TypeVar("Look")


@dataclass(frozen=True, slots=True)
class Words:
    """What things are called in a dataset of one sort.

    Attributes:
        dataset: what it is.
        type: what an image or a region is of.
        types: several of them.
        labelled: what an image is that has one.
    """

    dataset: str
    type: str
    types: str
    labelled: str


@dataclass(frozen=True, slots=True)
class Contents:
    """All that the page says of a dataset, but for the pixels.

    Attributes:
        name: of its folder.
        words: for what is in it.
        is_export: whether its types are classes, the same in all categories.
        statistics: tables and sentences.
        pictures: every image that could be read, in the order of the dataset.
        heat_maps: one for each category that shows a defect.
    """

    name: str
    words: Words
    is_export: bool
    statistics: Statistics | ExportStatistics
    pictures: tuple[Picture, ...]
    heat_maps: tuple[HeatMap, ...]

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, sorted; empty where nothing tells of them."""
        return tuple(sorted({picture.category for picture in self.pictures} - {""}))

    @property
    def splits(self) -> tuple[str, ...]:
        """In the order train, val, test, others."""
        return tuple(sorted({picture.image.split for picture in self.pictures}, key=split_order))

    def class_name(self, picture: Picture, type_name: str) -> str:
        """A type among all categories: a hole in carpet is none in hazelnut, unless one class is learnt of both."""
        if self.is_export or len(self.categories) < 2:
            return type_name
        return f"{picture.category}/{type_name}"


def of_dataset(dataset: Dataset, regions: RegionOptions, jobs: int, progress: Progress | None) -> Contents:
    """Read a source dataset; files that cannot be read are among the findings of its statistics."""

    def look(sample: Sample) -> tuple[Picture, Coverage | None] | None:
        try:
            image = labelled(sample, regions)
        except MaskError:
            return None  # the statistics tell of it
        return picture(image, sample.category, GOOD), coverage(image) if image.objects else None

    name = _name(dataset.root, dataset.categories)
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        seen = _told(pool.map(look, dataset), len(dataset), progress)
        pictures, heat_maps = _gathered((found for found in seen if found is not None), name)
    return Contents(
        name=name,
        words=Words("dataset", "defect type", "defect types", "defective"),
        is_export=False,
        statistics=stats(dataset, regions=regions, jobs=jobs),
        pictures=pictures,
        heat_maps=heat_maps,
    )


def of_export(folder: Path, format: str | None, progress: Progress | None) -> Contents:
    """Read an exported dataset.

    Raises:
        ExportError, MaskError, SelectionError: see `exports.read_export`.
    """
    statistics = export_stats(folder, format=format)
    categories = _categories(folder)
    looks = (
        (picture(image, _category(image.name, categories), BACKGROUND), coverage(image) if image.objects else None)
        for image in read_export(folder, format=format)
    )
    name = _name(folder)
    pictures, heat_maps = _gathered(_told(looks, 0, progress), name)
    return Contents(
        name=name,
        words=Words(f"{statistics.format} export", "class", "classes", "labelled"),
        is_export=True,
        statistics=statistics,
        pictures=pictures,
        heat_maps=heat_maps,
    )


def _told(looks: Iterable[Look], total: int, progress: Progress | None) -> Iterator[Look]:
    """The same, telling `progress` of each; how many there are may not be known (0)."""
    for done, look in enumerate(looks, start=1):
        if progress is not None:
            progress(done, total)
        yield look


def _gathered(
    looks: Iterable[tuple[Picture, Coverage | None]], name: str
) -> tuple[tuple[Picture, ...], tuple[HeatMap, ...]]:
    """All pictures, and where the objects of each category (or of all, called `name`) lie: the sums, not each."""
    pictures = []
    covered: defaultdict[str, Coverage] = defaultdict(lambda: np.zeros((CELLS, CELLS), np.float32))
    images: Counter[str] = Counter()
    sizes: defaultdict[str, Counter[tuple[int, int]]] = defaultdict(Counter)
    for shown, where in looks:
        pictures.append(shown)
        if where is not None:
            category = shown.category or name
            covered[category] += where
            images[category] += 1
            sizes[category][shown.image.width, shown.image.height] += 1
    maps = (heat_map(each, covered[each], images[each], sizes[each].most_common(1)[0][0]) for each in sorted(covered))
    return tuple(pictures), tuple(maps)


def _name(root: Path, categories: Sequence[str] = ()) -> str:
    """Of the folder, or of the category where there is one."""
    return categories[0] if len(categories) == 1 else root.resolve().name


def _categories(folder: Path) -> tuple[str, ...]:
    """The categories that an export of this tool was made from, longer names first; none where nothing tells."""
    try:
        saved = splits.load(folder)
    except SelectionError:
        return ()
    return tuple(sorted({key.split("/")[0] for key in saved.assignments}, key=lambda name: (-len(name), name)))


def _category(name: str, categories: Sequence[str]) -> str:
    """The category of an image by the name that exports give it, `<category>_<defect type>_<stem>`."""
    return next((category for category in categories if name.startswith(f"{file_safe(category)}_")), "")
