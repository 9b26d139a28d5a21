"""What a dataset holds: classes, counts, splits, sizes, regions, and whether the copy is complete."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from mvtec_convert.dataset import GOOD, Dataset, Sample
from mvtec_convert.errors import MaskError
from mvtec_convert.findings import Finding
from mvtec_convert.published import differences, mvtec_ad
from mvtec_convert.regions import RegionOptions, annotate
from mvtec_convert.tables import Table

OVERVIEW = (
    "category",
    "classes",
    "defect classes",
    "images",
    "train",
    "test",
    "defective",
    "regions",
    "image size",
    "copy",
)
NUMERIC = frozenset({"classes", "images", "train", "test", "defective", "regions"})


@dataclass(slots=True)
class DefectStatistics:
    """One defect type of one category: its images and its regions."""

    images: int = 0
    regions: int = 0


@dataclass(slots=True)
class CategoryStatistics:
    """What one category holds.

    Attributes:
        name: the category.
        train_good: good images to train on.
        test_good: good images to test on.
        defect_types: by name, sorted; `good` is none of them.
        image_sizes: number of images by (width, height), px, the most frequent first.
        folders: number of images by folder, `train/good`, `test/hole`.
        differences: what is missing or extra against the published MVTec AD; None where it has no such category.
    """

    name: str
    train_good: int = 0
    test_good: int = 0
    defect_types: dict[str, DefectStatistics] = field(default_factory=dict)
    image_sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    differences: list[str] | None = None

    @property
    def defective(self) -> int:
        """Images with a defect."""
        return sum(counts.images for counts in self.defect_types.values())

    @property
    def images(self) -> int:
        """All images."""
        return self.folders.total()

    @property
    def train(self) -> int:
        """Images of the dataset's own train split."""
        return sum(count for folder, count in self.folders.items() if folder.startswith("train/"))

    @property
    def test(self) -> int:
        """Images of the dataset's own test split."""
        return sum(count for folder, count in self.folders.items() if folder.startswith("test/"))

    @property
    def regions(self) -> int:
        """Connected defects."""
        return sum(counts.regions for counts in self.defect_types.values())

    @property
    def completeness(self) -> str:
        """Whether it is the published category: complete, differs, or a dash where MVTec AD has no such category."""
        return "-" if self.differences is None else "differs" if self.differences else "complete"


@dataclass(slots=True)
class Statistics:
    """What a dataset holds.

    Attributes:
        root: its folder.
        categories: one each, sorted by name.
        findings: files that could not be read and are counted nowhere but in the number of images.
    """

    root: str
    categories: list[CategoryStatistics]
    findings: list[Finding] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all 15 categories are there, each as published."""
        return {c.name for c in self.categories if c.differences == []} == set(mvtec_ad())

    def overview(self) -> Table:
        """One row a category, and a total."""
        rows = tuple(_overview_row(category) for category in self.categories)
        sizes: Counter[tuple[int, int]] = sum((category.image_sizes for category in self.categories), Counter())
        sums = {column: str(sum(int(row[column]) for row in rows)) for column in NUMERIC}
        whole = sum(category.differences == [] for category in self.categories)
        total = {"category": "total", **sums, "image size": _range(sizes), "copy": f"{whole} of {len(mvtec_ad())}"}
        return Table(
            OVERVIEW,
            tuple(tuple(row.values()) for row in rows),
            NUMERIC,
            tuple(total.get(name, "") for name in OVERVIEW),
        )

    def defects(self) -> Table:
        """One row for each defect type of each category."""
        rows = tuple(
            (category.name, name, str(counts.images), str(counts.regions))
            for category in self.categories
            for name, counts in category.defect_types.items()
        )
        total = ("total", str(len(rows)), *(str(sum(int(row[i]) for row in rows)) for i in (2, 3)))
        return Table(("category", "defect class", "images", "regions"), rows, frozenset({"images", "regions"}), total)

    def document(self) -> dict[str, Any]:
        """The statistics as plain data, in the form of `schemas/stats.schema.json`."""
        return {
            "root": self.root,
            "complete": self.complete,
            "categories": [_category_document(category) for category in self.categories],
            "total": {
                key: sum(getattr(category, key) for category in self.categories)
                for key in ("images", "train", "test", "train_good", "test_good", "defective", "regions")
            },
            "findings": [asdict(finding) for finding in self.findings],
        }

    def comparison(self) -> list[str]:
        """How the copy compares with the published MVTec AD, one sentence a category that differs, then a verdict."""
        told = [f"{c.name} differs: {', '.join(c.differences)}" for c in self.categories if c.differences]
        whole = [c.name for c in self.categories if c.differences == []]
        others = [c.name for c in self.categories if c.differences is None]
        if others:
            told.append(f"no category of MVTec AD: {', '.join(others)}")
        if self.complete:
            return ["This is the complete MVTec AD, as published."]
        told.append(
            f"{len(whole)} of the {len(mvtec_ad())} categories of MVTec AD are complete: {', '.join(whole) or 'none'}"
        )
        return told


def stats(
    dataset: Dataset,
    *,
    regions: RegionOptions = RegionOptions(),
    jobs: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Statistics:
    """Count what a dataset holds. Image sizes come from headers; only masks are decoded.

    Args:
        dataset: what to look at; see `Dataset.filter`.
        regions: how masks are cut into regions.
        jobs: threads; 0 means one for each core.
        progress: called with (images done, images in all).
    """
    categories = {name: CategoryStatistics(name) for name in dataset.categories}
    findings = list(dataset.findings)

    def look(sample: Sample) -> tuple[tuple[int, int], int] | Finding:
        try:
            image = annotate(sample, regions)
        except MaskError as error:
            return Finding("bad-source", error.reason, error.path or str(sample.image), hint=error.hint)
        return (image.width, image.height), len(image.regions)

    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        for done, (sample, seen) in enumerate(zip(dataset, pool.map(look, dataset), strict=True), start=1):
            if isinstance(seen, Finding):
                findings.append(seen)
            _count(categories[sample.category], sample, None if isinstance(seen, Finding) else seen)
            if progress is not None:
                progress(done, len(dataset))
    for category in categories.values():
        category.defect_types = dict(sorted(category.defect_types.items()))
        found = {name: counts.regions for name, counts in category.defect_types.items()}
        category.differences = differences(category.name, category.folders, found)
    return Statistics(str(dataset.root), list(categories.values()), findings)


def _count(category: CategoryStatistics, sample: Sample, seen: tuple[tuple[int, int], int] | None) -> None:
    category.folders[f"{sample.split}/{sample.defect_type}"] += 1
    size, regions = seen or (None, 0)
    if size is not None:
        category.image_sizes[size] += 1
    if sample.defect_type != GOOD:
        counts = category.defect_types.setdefault(sample.defect_type, DefectStatistics())
        counts.images += 1
        counts.regions += regions
    elif sample.split == "train":
        category.train_good += 1
    else:
        category.test_good += 1


def _category_document(category: CategoryStatistics) -> dict[str, Any]:
    return {
        "name": category.name,
        "images": category.images,
        "train": category.train,
        "test": category.test,
        "train_good": category.train_good,
        "test_good": category.test_good,
        "defective": category.defective,
        "regions": category.regions,
        "defect_types": {name: asdict(counts) for name, counts in category.defect_types.items()},
        "image_sizes": [
            {"width": width, "height": height, "images": count}
            for (width, height), count in _by_frequency(category.image_sizes)
        ],
        "differences": category.differences,
    }


def _overview_row(category: CategoryStatistics) -> dict[str, str]:
    return {
        "category": category.name,
        "classes": str(len(category.defect_types)),
        "defect classes": ", ".join(category.defect_types),
        "images": str(category.images),
        "train": str(category.train),
        "test": str(category.test),
        "defective": str(category.defective),
        "regions": str(category.regions),
        "image size": _sizes(category.image_sizes),
        "copy": category.completeness,
    }


def _by_frequency(sizes: Counter[tuple[int, int]]) -> list[tuple[tuple[int, int], int]]:
    return sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0]))


def _sizes(sizes: Counter[tuple[int, int]]) -> str:
    """`1024 x 1024`, with counts where there are several."""
    ordered = _by_frequency(sizes)
    if len(ordered) == 1:
        return _size(ordered[0][0])
    shown = ", ".join(f"{_size(size)} ({count})" for size, count in ordered[:3])
    return shown + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


def _range(sizes: Counter[tuple[int, int]]) -> str:
    return _size(next(iter(sizes))) if len(sizes) == 1 else f"{len(sizes)} sizes"


def _size(size: Sequence[int]) -> str:
    return f"{size[0]} x {size[1]}"
