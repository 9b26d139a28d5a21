"""Statistics as tables, for every renderer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mvtec_convert.dataset import GOOD, SPLIT_NAMES
from mvtec_convert.published import mvtec_ad
from mvtec_convert.statistics import part_tables
from mvtec_convert.statistics.options import ReportOptions
from mvtec_convert.statistics.part_tables import Parts, share
from mvtec_convert.statistics.parts import BACKGROUND, Part, merged
from mvtec_convert.tables import Cell, Table, without

if TYPE_CHECKING:
    from mvtec_convert.schemas.balance import BalanceFile
    from mvtec_convert.statistics.exported import ExportStatistics
    from mvtec_convert.statistics.source import CategoryStatistics


MOST_SIZES = 3
"""That the overview tells; the table `images` has all."""


def of_source(categories: Sequence[CategoryStatistics], options: ReportOptions) -> tuple[Table, ...]:
    """The tables of a source dataset."""
    parts = [category.part for category in categories]
    about = Parts(parts, "category", GOOD, merged(parts) if len(parts) > 1 else None)
    return (
        _source_overview(categories),
        *([part_tables.summary(about, options)] if about.has_regions else []),
        part_tables.image_kinds(about),
        _source_distribution(categories),
        *(part_tables.region_tables(about, options) if about.has_regions else []),
        part_tables.tails(about, options),
        part_tables.weights(about, options),
        *([_copy(categories)] if _are_published(categories) else []),
    )


def of_export(found: ExportStatistics, options: ReportOptions) -> tuple[Table, ...]:
    """The tables of an exported dataset."""
    about = Parts(found.splits, "split", BACKGROUND)
    return (
        _export_overview(found),
        *([part_tables.summary(about, options)] if about.has_regions else []),
        part_tables.image_kinds(about),
        _export_distribution(found.splits),
        *([_balance(found.balance)] if found.balance is not None else []),
        *(part_tables.region_tables(about, options) if about.has_regions else []),
        part_tables.tails(about, options),
        part_tables.weights(about, options),
    )


def _source_overview(categories: Sequence[CategoryStatistics]) -> Table:
    splits = _splits(categories)
    columns = (
        "category", "classes", "defect classes", "images", *splits, "good", "defective", "regions", "image size",
        "channels", "copy",
    )  # fmt: skip
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            each.name, len(each.defect_types), ", ".join(each.defect_types), each.images,
            *(each.splits[split] for split in splits), each.part.good, each.defective, each.regions,
            _sizes(each.part), _channels(each.part), each.completeness,
        )
        for each in categories
    )  # fmt: skip
    whole = merged([each.part for each in categories])
    sizes = whole.image_sizes
    total: tuple[Cell, ...] = (
        "total", len(whole.classes), "", whole.images,
        *(sum(each.splits[split] for each in categories) for split in splits),
        whole.good, whole.labelled, whole.regions,
        f"{len(sizes)} sizes" if len(sizes) > 1 else _sizes(whole), _channels(whole),
        f"{sum(each.differences == [] for each in categories)} of {len(mvtec_ad())}",
    )  # fmt: skip
    numeric = frozenset({"image size", "channels"})
    table = Table(columns, rows, numeric, total if len(rows) > 1 else None, "overview", "What the dataset holds")
    return table if _are_published(categories) else without(table, "copy")


def _are_published(categories: Sequence[CategoryStatistics]) -> bool:
    """Whether MVTec AD has any of the categories, so that there is something to compare."""
    return any(each.differences is not None for each in categories)


def _splits(categories: Sequence[CategoryStatistics]) -> tuple[str, ...]:
    """Train and test, and val where there is one."""
    return tuple(split for split in SPLIT_NAMES if split != "val" or any(each.splits[split] for each in categories))


def _export_overview(found: ExportStatistics) -> Table:
    columns = ("split", "images", BACKGROUND, "labelled", "classes", "regions", "image size")
    rows = tuple(
        (
            split.name, split.images, split.good, split.labelled, sum(each.images > 0 for each in split.classes),
            split.regions, _sizes(split),
        )
        for split in found.splits
    )  # fmt: skip
    title = f"A dataset in the format {found.format}, of {_count(len(found.class_names), 'class', 'classes')}"
    note = "classes: those that at least one image of the split shows."
    return Table(columns, rows, frozenset({"image size"}), None, "overview", title, note)


def _source_distribution(categories: Sequence[CategoryStatistics]) -> Table:
    splits = _splits(categories)
    rows: list[tuple[Cell, ...]] = []
    for category in categories:
        all_of = {split: category.splits[split] for split in splits}
        for name in (GOOD, *category.defect_types):
            counts = {split: category.images_of(name, split) for split in splits}
            rows.append((category.name, name, *_counts_and_shares(counts, all_of)))
        rows.append((category.name, "all", *_counts_and_shares(all_of, all_of)))
    if len(categories) > 1:
        rows += _distribution_of_all(categories, splits)
    return _distribution(("category", "class"), splits, rows)


def _distribution_of_all(categories: Sequence[CategoryStatistics], splits: Sequence[str]) -> list[tuple[Cell, ...]]:
    """Good, defective, and both, of all categories together."""
    all_of = {split: sum(each.splits[split] for each in categories) for split in splits}
    good = {split: sum(each.folders.get(f"{split}/{GOOD}", 0) for each in categories) for split in splits}
    defective = {split: all_of[split] - good[split] for split in splits}
    rows = {GOOD: good, "defective": defective, "all": all_of}
    return [("all", name, *_counts_and_shares(counts, all_of)) for name, counts in rows.items()]


def _export_distribution(splits: Sequence[Part]) -> Table:
    all_of = {split.name: split.images for split in splits}
    counts = {BACKGROUND: {split.name: split.good for split in splits}} if any(split.good for split in splits) else {}
    for split in splits:
        for found in split.classes:
            counts.setdefault(found.name, {})[split.name] = found.images
    rows = [(name, *_counts_and_shares(by_split, all_of)) for name, by_split in counts.items()]
    return _distribution(("class",), list(all_of), [*rows, ("all", *_counts_and_shares(all_of, all_of))])


def _balance(found: BalanceFile) -> Table:
    """Before and after, as training sees it."""
    columns = ("class", "weight", "images", "balanced images", "regions", "balanced regions")
    rows = tuple(
        (each.name, each.weight, each.images, each.images_after, each.regions, each.regions_after)
        for each in found.classes
    )
    note = "weight: how often training sees an image for this class. balanced: repeats counted. In train only."
    return Table(columns, rows, name="balance", title=f"What training sees, balanced by {found.method}", note=note)


def _distribution(keys: tuple[str, ...], splits: Sequence[str], rows: Sequence[tuple[Cell, ...]]) -> Table:
    columns = [*keys, *(column for split in splits for column in (split, f"share of {split}")), "all", "share of all"]
    note = "Images that show the class, and their share of all images; an image with two classes counts for both."
    title = "How the images are distributed"
    return Table(tuple(columns), tuple(rows), name="distribution", title=title, note=note, keys=len(keys))


def _counts_and_shares(counts: Mapping[str, int], all_of: Mapping[str, int]) -> list[Cell]:
    cells = [cell for split, count in counts.items() for cell in (count, share(count, all_of[split]))]
    total = sum(counts.values())
    return [*cells, total, share(total, sum(all_of.values()))]


def _copy(categories: Sequence[CategoryStatistics]) -> Table:
    """Every published figure beside the one that was found; categories that MVTec AD does not have are left out."""
    rows: list[tuple[Cell, ...]] = []
    for category in categories:
        published = mvtec_ad().get(category.name)
        if published is None:
            continue
        for folder in [*published.images, *sorted(category.folders.keys() - published.images.keys())]:
            here, there = category.folders.get(folder, 0), published.images.get(folder, 0)
            rows.append((category.name, f"images in {folder}", f"{here}", f"{there}"))
        for name, there in published.regions.items():
            here = category.defect_types[name].regions if name in category.defect_types else 0
            rows.append((category.name, f"regions of {name}", f"{here}", f"{there}"))
        size = _size(published.image_size)
        rows.append((category.name, "image size, px", _sizes(category.part), size))
        rows.append((category.name, "channels", _channels(category.part), f"{published.channels}"))
    columns = ("category", "figure", "here", "published")
    note = "Published: Bergmann et al., IJCV 129 (2021); regions are 8-connected."
    title = "The copy and the published MVTec AD"
    return Table(columns, tuple(rows), frozenset({"here", "published"}), name="copy", title=title, note=note, keys=2)


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def _sizes(part: Part, most: int = MOST_SIZES) -> str:
    """`1024 x 1024`; where there are several sizes, with their numbers of images."""
    sizes = part.image_sizes
    if len(sizes) == 1:
        return _size(next(iter(sizes)))
    told = ", ".join(f"{_size(size)} ({count})" for size, count in list(sizes.items())[:most])
    return told + (f" and {len(sizes) - most} more" if len(sizes) > most else "")


def _channels(part: Part) -> str:
    return ", ".join(str(number) for number in sorted({kind.channels for kind in part.kinds if kind.channels}))


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
