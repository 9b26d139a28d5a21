"""A source dataset before it is converted: what cannot be used, what would be learnt wrongly, what to look at.

By theme: `files` (junk, links, names), `pictures` (images), `masks`, `duplicates`. What the layout says of missing and
orphaned masks is told with it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mvtec_convert.dataset import Dataset, Sample
from mvtec_convert.errors import DatasetNotFoundError, MaskError
from mvtec_convert.findings import Counted, Finding
from mvtec_convert.geometry.images import ImageHeader
from mvtec_convert.geometry.regions import find_regions, no_defect
from mvtec_convert.published import comparison, differences
from mvtec_convert.source_checks.duplicates import (
    Thumbnail,
    near_duplicates,
    repeated_images,
    repeated_masks,
    thumbnail,
)
from mvtec_convert.source_checks.files import Tree, look_at_files, read_tree
from mvtec_convert.source_checks.masks import look_at_masks
from mvtec_convert.source_checks.pictures import finding_of, look_at_image, mixed_images, turned

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SourceCheck(Counted):
    """What was found in a source dataset.

    Attributes:
        root: its folder.
        layout: the layout it is in.
        images: how many images it has.
        findings: errors and warnings, by path.
        differences: by category, what is missing or extra against the published MVTec AD; None where that has no such
            category.
    """

    root: Path
    layout: str
    images: int
    findings: tuple[Finding, ...]
    differences: Mapping[str, list[str] | None] = field(default_factory=dict)

    def comparison(self) -> list[str]:
        """How the copy compares with the published MVTec AD; see `mvtec_convert.published.comparison`."""
        return comparison(self.differences)

    def document(self) -> dict[str, Any]:
        """The check as plain data, in the form of `schemas/check.schema.json`."""
        return {
            "root": str(self.root),
            "layout": self.layout,
            "images": self.images,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [asdict(finding) for finding in self.findings],
            "differences": dict(self.differences),
        }


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen of one sample.

    Attributes:
        header: of its image; None where that cannot be read.
        findings: on its image and its masks.
        regions: number of connected defects.
    """

    header: ImageHeader | None
    findings: list[Finding]
    regions: int


def check(
    dataset: Dataset, *, near_duplicates: bool = False, jobs: int = 0, progress: Progress | None = None
) -> SourceCheck:
    """Look at all files of a source dataset: images by their headers and checksums, masks by their pixels.

    Args:
        dataset: what to look at, in whole categories; see `Dataset.filter`.
        near_duplicates: decode every image as well, in search of photos that are in two splits, saved in two ways.
        jobs: threads; 0 means one for each core.
        progress: called with (steps done, steps in all), a step being an image.

    Raises:
        DatasetNotFoundError: a folder cannot be read.

    >>> found = mc.check(mc.load("mvtec_anomaly_detection"))
    >>> found.errors, [finding.code for finding in found.findings]
    (0, [])
    """
    counted = _counted(progress, len(dataset) * (2 if near_duplicates else 1))
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:

        def each(function: Callable[[Sample], T], samples: Sequence[Sample]) -> Iterator[T]:
            return counted(pool.map(function, samples))

        looks = dict(zip(dataset, each(_look, dataset.samples), strict=True))
        findings = [*dataset.findings, *look_at_files(tree_of(dataset), dataset), *_all_images(dataset, looks)]
        for name in dataset.categories if near_duplicates else ():
            sound = [s for s, look in looks.items() if s.category == name and look.header is not None]
            findings += _similar_images(zip(sound, each(_thumbnail, sound), strict=True))
    ordered = sorted(dict.fromkeys(findings), key=lambda found: (found.path, found.code, found.message))
    return SourceCheck(dataset.root, dataset.layout, len(dataset), tuple(ordered), _differences(dataset, looks))


def _counted(progress: Progress | None, total: int) -> Callable[[Iterator[T]], Iterator[T]]:
    done = 0

    def counted(results: Iterator[T]) -> Iterator[T]:
        nonlocal done
        for result in results:
            done += 1
            if progress is not None:
                progress(done, total)
            yield result

    return counted


def _look(sample: Sample) -> _Look:
    header, findings = look_at_image(sample.image)
    if header is not None:
        findings += turned(sample.image)
    masks = list(look_at_masks(sample, header))
    findings += (finding for look in masks for finding in look.findings)
    drawn = [look.mask for look in masks if look.mask is not None]
    if not drawn or len(drawn) < len(masks) or len({mask.shape for mask in drawn}) > 1:
        return _Look(header, findings, 0)
    regions = find_regions(np.maximum.reduce(drawn))
    if not regions:
        findings.append(finding_of(no_defect(sample.masks[0]), sample.image))
    return _Look(header, findings, len(regions))


def tree_of(dataset: Dataset) -> Tree:
    """All that lies in the dataset's folders.

    Raises:
        DatasetNotFoundError: a folder cannot be read.
    """
    try:
        return read_tree(dataset)
    except OSError as error:
        raise DatasetNotFoundError(
            f"cannot be read: {error.strerror}", path=error.filename or dataset.root, hint="check its permissions"
        ) from None


def _all_images(dataset: Dataset, looks: Mapping[Sample, _Look]) -> Iterator[Finding]:
    for look in looks.values():
        yield from look.findings
    yield from mixed_images((sample, look.header) for sample, look in looks.items() if look.header is not None)
    useless = {Path(f.path) for look in looks.values() for f in look.findings if f.code in {"bad-image", "empty-mask"}}
    yield from repeated_images(sample for sample in dataset if sample.image not in useless)
    yield from repeated_masks(dataset.samples, useless)


def _thumbnail(sample: Sample) -> Thumbnail | Finding | None:
    try:
        return thumbnail(sample.image)
    except MaskError as error:
        return finding_of(error, sample.image)


def _similar_images(thumbnails: Iterable[tuple[Sample, Thumbnail | Finding | None]]) -> list[Finding]:
    """`near-duplicate`, and `bad-image` for what cannot be decoded, in one category."""
    findings: list[Finding] = []
    seen: list[tuple[Sample, Thumbnail]] = []
    for sample, found in thumbnails:
        if isinstance(found, Finding):
            findings.append(found)
        elif found is not None:
            seen.append((sample, found))
    return [*findings, *near_duplicates(seen)]


def _differences(dataset: Dataset, looks: Mapping[Sample, _Look]) -> dict[str, list[str] | None]:
    told = {}
    for category in dataset.categories:
        members = [sample for sample in dataset if sample.category == category]
        images = Counter(f"{sample.split}/{sample.defect_type}" for sample in members)
        regions: Counter[str] = Counter()
        for sample in members:
            regions[sample.defect_type] += looks[sample].regions
        headers = [header for header in (looks[sample].header for sample in members) if header is not None]
        sizes, channels = {header.size for header in headers}, {header.channels for header in headers}
        told[category] = differences(category, images, regions, sizes, channels)
    return told
