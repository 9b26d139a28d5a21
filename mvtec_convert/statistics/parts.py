"""What one part of a dataset holds: a category of a source, or a split of an export."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np

from mvtec_convert.statistics.longtail import LongTail, long_tail
from mvtec_convert.statistics.measures import Measured, Numbers, Regions

BACKGROUND = "background"
"""What an export's images without a label are called."""


class ImageKind(NamedTuple):
    """The form of an image.

    Attributes:
        width: px.
        height: px.
        channels: 1 for greyscale, 3 for colour, one more with transparency; None where the file tells no channels.
    """

    width: int
    height: int
    channels: int | None


@dataclass(frozen=True, slots=True, eq=False)
class ClassStatistics:
    """One class in one part of a dataset.

    Attributes:
        name: of the class: a defect type, or what a model learns.
        images: images that show it.
        regions_per_image: how many regions of it each of these images has, of those that could be read.
        measures: of each region.
    """

    name: str
    images: int
    regions_per_image: Numbers
    measures: Regions

    @property
    def regions(self) -> int:
        """How many there are."""
        return len(self.measures)

    @property
    def pixels(self) -> int:
        """The areas of all its regions together, px."""
        return round(float(self.measures.area.sum()))


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One part of a dataset.

    Attributes:
        name: of the category, or of the split.
        images: all images.
        good: images without any class: good in a source, background in an export.
        classes: in the order of their names (source) or ids (export), those without an image too.
        regions_per_image: of any class, in each image that has a class and could be read.
        kinds: number of images by size and channels, the most frequent first.
    """

    name: str
    images: int
    good: int
    classes: tuple[ClassStatistics, ...]
    regions_per_image: Numbers
    kinds: Mapping[ImageKind, int]

    @property
    def labelled(self) -> int:
        """Images with a class: defective ones in a source."""
        return self.images - self.good

    @property
    def regions(self) -> int:
        """Connected defects."""
        return sum(found.regions for found in self.classes)

    @property
    def pixels(self) -> int:
        """The areas of all regions together, px."""
        return sum(found.pixels for found in self.classes)

    @property
    def image_pixels(self) -> int:
        """Pixels of all images whose size is known."""
        return sum(kind.width * kind.height * count for kind, count in self.kinds.items())

    @property
    def image_sizes(self) -> dict[tuple[int, int], int]:
        """Number of images by (width, height), px, the most frequent first."""
        sizes: Counter[tuple[int, int]] = Counter()
        for kind, count in self.kinds.items():
            sizes[kind.width, kind.height] += count
        return dict(sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0])))

    @property
    def whole(self) -> ClassStatistics:
        """All classes as if they were one."""
        measures = Regions.joined(found.measures for found in self.classes)
        return ClassStatistics("all", self.labelled, self.regions_per_image, measures)

    def tails(self, good: str, beta: float | None = None) -> dict[str, LongTail]:
        """How uneven the classes are, by what is counted.

        Args:
            good: what images without a class are called.
            beta: see `long_tail`.
        """
        images = {found.name: found.images for found in self.classes}
        counts = {"images": images}
        if self.regions:
            counts["regions"] = {found.name: found.regions for found in self.classes}
            counts["pixels"] = {found.name: found.pixels for found in self.classes}
        if self.good:
            counts[f"images and {good}"] = {good: self.good, **images}
            counts[f"{good} or not"] = {good: self.good, f"not {good}": self.labelled}
        if self.regions:
            # Masks that cover one another count a pixel twice.
            counts["defect pixels"] = {"none": max(self.image_pixels - self.pixels, 0), "defect": self.pixels}
        return {what: long_tail(numbers, beta) for what, numbers in counts.items()}


def merged(parts: Sequence[Part], name: str = "all") -> Part:
    """All parts as one, each class called `<part>/<class>`."""
    kinds: Counter[ImageKind] = Counter()
    for part in parts:
        kinds.update(part.kinds)
    return Part(
        name=name,
        images=sum(part.images for part in parts),
        good=sum(part.good for part in parts),
        classes=tuple(replace(found, name=f"{part.name}/{found.name}") for part in parts for found in part.classes),
        regions_per_image=np.concatenate([np.zeros(0), *(part.regions_per_image for part in parts)]),
        kinds=kinds,
    )


class Tally:
    """Counts one part, image by image."""

    def __init__(self) -> None:
        self.images = 0
        self.good = 0
        self._kinds: Counter[ImageKind] = Counter()
        self._shown: Counter[str] = Counter()
        self._regions_per_image: list[int] = []
        self._regions_of_class: defaultdict[str, list[int]] = defaultdict(list)
        self._measures: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))

    def add(
        self,
        kind: ImageKind | None,
        objects: Mapping[str, Sequence[Measured]],
        *,
        is_good: bool | None = None,
        readable: bool = True,
    ) -> None:
        """Count one image.

        Args:
            kind: its size and channels; None where they are unknown.
            objects: its regions by class; a class that only the image as a whole has comes without any.
            is_good: whether nothing is wrong with it; None: where it has no class.
            readable: whether the regions could be read; where not, the image still counts.
        """
        self.images += 1
        self.good += not objects if is_good is None else is_good
        self._shown.update(objects.keys())
        if kind is not None:
            self._kinds[kind] += 1
        if objects and readable:
            self._regions_per_image.append(sum(map(len, objects.values())))
            for name, measured in objects.items():
                self._regions_of_class[name].append(len(measured))
                self._measures[name].extend(chain.from_iterable(measured))

    def names(self) -> list[str]:
        """The classes that were seen, sorted."""
        return sorted(self._shown)

    def part(self, name: str, classes: Iterable[str]) -> Part:
        """What was counted, with these classes in their order."""
        found = tuple(
            ClassStatistics(
                name=each,
                images=self._shown[each],
                regions_per_image=np.array(self._regions_of_class[each], np.float64),
                measures=Regions.of(self._measures[each]),
            )
            for each in classes
        )
        kinds = dict(sorted(self._kinds.items(), key=lambda entry: (-entry[1], entry[0][:2], entry[0].channels or 0)))
        per_image = np.array(self._regions_per_image, np.float64)
        return Part(name, self.images, self.good, found, per_image, kinds)
