"""What the charts and maps of the page show, gathered from the pictures of a dataset."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mvtec_convert.reports import charts
from mvtec_convert.reports.charts import MOST_ROWS, Chart
from mvtec_convert.reports.contents import Contents
from mvtec_convert.reports.heat import HeatMap
from mvtec_convert.reports.pictures import Picture

OfType = TypeVar("OfType")

SIZES_NOTE = (
    "The box holds the middle half of the regions, the thick line is the median, the thin lines end at the smallest "
    "and the largest. Small, medium and large are COCO's: below 32², below 96², and more, in px."
)


@dataclass(frozen=True, slots=True)
class Group:
    """Figures that show the same of several categories.

    Attributes:
        title: of all.
        note: how to read them.
        figures: one a category.
        splits: what their colours stand for, in order; empty where they stand for nothing.
    """

    title: str
    note: str
    figures: Sequence[Chart | HeatMap]
    splits: Sequence[str] = ()


def groups_of(contents: Contents) -> list[Group]:
    """All figures of a dataset; groups with nothing to show are left out."""
    with charts.style():
        groups = [_heat_maps(contents), _long_tail(contents), _images(contents), _sizes(contents)]
    return [group for group in groups if group.figures]


def _heat_maps(contents: Contents) -> Group:
    note = f"The stronger the colour, the more of the {contents.words.labelled} images have a region there."
    if len(contents.heat_maps) > 1:
        note += " Each map has its own scale."
    return Group("Where on the image regions lie", note, contents.heat_maps)


def _long_tail(contents: Contents) -> Group:
    note = f"Images of each {contents.words.type}, the most frequent first."
    counts = Counter(
        contents.class_name(picture, name)
        for picture in contents.pictures
        if picture.is_labelled
        for name in picture.types
    )
    return Group("The long tail", note, [charts.long_tail(contents.name, counts)] if len(counts) > 1 else [])


def _images(contents: Contents) -> Group:
    images = {name: _images_by_type(pictures) for name, pictures in _by_category(contents)}
    figures = [
        charts.images_per_type(name, _most_frequent(of_types), contents.splits) for name, of_types in images.items()
    ]
    return Group(f"Images of each {contents.words.type}", _on_rows(images.values()), figures, contents.splits)


def _sizes(contents: Contents) -> Group:
    areas = {name: found for name, pictures in _by_category(contents) if (found := _areas(pictures))}
    every = [area for by_class in areas.values() for values in by_class.values() for area in values]
    figures = [
        charts.region_sizes(name, _most_frequent(by_class), (min(every), max(every)))
        for name, by_class in areas.items()
    ]
    return Group("Sizes of the regions", " ".join(filter(None, [SIZES_NOTE, _on_rows(areas.values())])), figures)


def _by_category(contents: Contents) -> Iterator[tuple[str, list[Picture]]]:
    """(name, pictures) of each category, by name; all as one where nothing tells of categories."""
    groups: defaultdict[str, list[Picture]] = defaultdict(list)
    for picture in contents.pictures:
        groups[picture.category or contents.name].append(picture)
    yield from sorted(groups.items())


def _images_by_type(pictures: Sequence[Picture]) -> dict[str, list[str]]:
    """The split of each image, by its types: those without a defect first, then by name."""
    splits: defaultdict[str, list[str]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda picture: (picture.is_labelled, picture.types)):
        for name in picture.types:
            splits[name].append(picture.image.split)
    return dict(splits)


def _areas(pictures: Sequence[Picture]) -> dict[str, list[float]]:
    """Areas of all regions by class, sorted by name, px."""
    areas: defaultdict[str, list[float]] = defaultdict(list)
    for picture in pictures:
        for shape in picture.shapes:
            areas[shape.class_name].append(shape.area)
    return dict(sorted(areas.items()))


def _on_rows(charted: Iterable[Mapping[str, object]]) -> str:
    """What to know where a chart has not all rows."""
    return f"The {MOST_ROWS} most frequent are shown." if any(len(each) > MOST_ROWS for each in charted) else ""


def _most_frequent(of_types: Mapping[str, list[OfType]]) -> dict[str, list[OfType]]:
    """As many as a chart has rows for, in the same order."""
    frequent = sorted(of_types, key=lambda name: -len(of_types[name]))[:MOST_ROWS]
    return {name: of_types[name] for name in of_types if name in frequent}
