"""The tables that are the same for the categories of a source and for the splits of an export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mvtec_convert.statistics.measures import MEDIUM, SMALL, Numbers, SizeCounts, size_counts, spread
from mvtec_convert.statistics.options import ReportOptions
from mvtec_convert.statistics.parts import ClassStatistics, Part
from mvtec_convert.tables import Cell, Share, Table

SPREAD = ("smallest", "lower quartile", "median", "upper quartile", "largest")

SUMMARY_NOTE = "small: by COCO's bounds, below 32 x 32 px. ratio: of the largest class to the smallest, by images."
SHAPES_NOTE = (
    "per image: mean over the images that show the class. aspect: long side of the box over its short side. "
    "with holes, in pieces: of those that have a mask; pieces are 8-connected."
)
AREAS_NOTE = "Areas in px of the image at its own size."
TAIL_NOTE = (
    "ratio: largest count over smallest. Gini: 0 where all are equal, 1 - 1/classes where one has everything. "
    "entropy: 1 where all are equal, 0 where one has everything. images and {good}: {good} counts as a class too."
)
WEIGHTS_NOTE = (
    "effective number: (1 - beta^count) / (1 - beta), beta = {beta} (Cui et al., CVPR 2019). "
    "weight: its inverse, with mean 1."
)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the tables are about.

    Attributes:
        parts: categories, or splits.
        what: a part is.
        good: what images without a class are called.
        total: all parts as one; None where that has no meaning, or there is only one.
    """

    parts: Sequence[Part]
    what: str
    good: str
    total: Part | None = None

    @property
    def with_total(self) -> list[Part]:
        """The parts, then all as one."""
        return [*self.parts, *([self.total] if self.total else [])]

    @property
    def has_regions(self) -> bool:
        """False where images are classified as wholes."""
        return any(part.regions for part in self.parts)


def summary(about: Parts, options: ReportOptions) -> Table:
    """One row a part."""
    columns = (
        about.what, "regions", "per image", "median area", "median share", "small", f"small at {options.imgsz}",
        "on the border", "with holes", "ratio",
    )  # fmt: skip
    rows = []
    for part in about.with_total:
        measures = part.whole.measures
        area, relative = spread(measures.area), spread(measures.relative_area)
        own, scaled = size_counts(measures.area), size_counts(measures.area_at(options.imgsz))
        rows.append((
            part.name,
            part.regions,
            float(part.regions_per_image.mean()) if len(part.regions_per_image) else None,
            None if area is None else round(area.median),
            None if relative is None else Share(relative.median),
            share(own.small, part.regions),
            share(scaled.small, part.regions),
            share(int(measures.touches_border.sum()), part.regions),
            share(int((measures.holes > 0).sum()), measures.masks),
            part.tails(about.good)["images"].ratio,
        ))  # fmt: skip
    return Table(columns, tuple(rows), name="summary", title="Regions in brief", note=SUMMARY_NOTE)


def image_kinds(about: Parts) -> Table:
    """Every size and number of channels."""
    rows = tuple((part.name, *kind, count) for part in about.parts for kind, count in part.kinds.items())
    columns = (about.what, "width", "height", "channels", "images")
    return Table(columns, rows, name="images", title="Sizes and channels of the images")


def region_tables(about: Parts, options: ReportOptions) -> tuple[Table, ...]:
    """Number and shape, area, relative area, COCO's sizes: a row for each class that has a region."""
    at = tuple(f"{size} at {options.imgsz}" for size in SizeCounts._fields)
    return (
        _by_class(
            about, "regions", "Regions: number and shape",
            ("images", "regions", "per image", "most per image", "images with several", "median aspect",
             "largest aspect", "on the border", "with holes", "in pieces"),
            _shapes, SHAPES_NOTE,
        ),
        _by_class(
            about, "areas", "Regions: area in px", ("regions", *SPREAD),
            lambda found: _spread(found.measures.area, round), AREAS_NOTE,
        ),
        _by_class(
            about, "relative-areas", "Regions: area as a share of the image", ("regions", *SPREAD),
            lambda found: _spread(found.measures.relative_area, Share),
        ),
        _by_class(
            about, "sizes", "Regions: small, medium, large", ("regions", *SizeCounts._fields, *at),
            lambda found: [
                found.regions,
                *size_counts(found.measures.area),
                *size_counts(found.measures.area_at(options.imgsz)),
            ],
            f"COCO's bounds: small is below {SMALL:,} px, large from {MEDIUM:,} px on; at {options.imgsz}: once the "
            f"image's longer side is scaled to {options.imgsz} px.",
        ),
    )  # fmt: skip


def _by_class(
    about: Parts,
    name: str,
    title: str,
    columns: Sequence[str],
    cells: Callable[[ClassStatistics], Sequence[Cell]],
    note: str = "",
) -> Table:
    """A row for each class of each part, one for all of them where there are several, and one for all parts."""
    rows: list[tuple[Cell, ...]] = []
    for part in about.parts:
        rows += [(part.name, found.name, *cells(found)) for found in part.classes if found.regions]
        if part.regions and len(part.classes) > 1:
            rows.append((part.name, "all", *cells(part.whole)))
    if about.total and about.total.regions:
        rows.append((about.total.name, "all", *cells(about.total.whole)))
    return Table((about.what, "class", *columns), tuple(rows), name=name, title=title, note=note, keys=2)


def _shapes(found: ClassStatistics) -> list[Cell]:
    measures, per_image = found.measures, found.regions_per_image
    aspect = spread(measures.aspect)
    return [
        len(per_image),
        found.regions,
        float(per_image.mean()),
        int(per_image.max()),
        share(int((per_image > 1).sum()), len(per_image)),
        None if aspect is None else aspect.median,
        None if aspect is None else aspect.largest,
        share(int(measures.touches_border.sum()), found.regions),
        share(int((measures.holes > 0).sum()), measures.masks),
        share(int((measures.pieces > 1).sum()), measures.masks),
    ]


def _spread(values: Numbers, form: Callable[[float], Cell]) -> list[Cell]:
    found = spread(values)
    return [len(values), *([None] * len(SPREAD) if found is None else map(form, found))]


def tails(about: Parts, options: ReportOptions) -> Table:
    """How uneven the classes are, by all that can be counted."""
    columns = (
        about.what, "counted in", "classes", "largest class", "largest", "smallest class", "smallest", "ratio", "Gini",
        "entropy",
    )  # fmt: skip
    rows = tuple(
        (
            part.name, what, len(tail.counts), _named(tail.most), max(tail.counts.values()), _named(tail.least),
            min(tail.counts.values()), tail.ratio, tail.gini, tail.entropy,
        )
        for part in about.with_total
        for what, tail in part.tails(about.good, options.beta).items()
        if tail.counts
    )  # fmt: skip
    return Table(columns, rows, name="tail", title="The long tail", note=TAIL_NOTE.format(good=about.good), keys=2)


def weights(about: Parts, options: ReportOptions) -> Table:
    """Effective numbers and weights of each class, by all that can be counted."""
    rows = tuple(
        (
            part.name, what, name, count, share(count, sum(tail.counts.values())), tail.effective[name],
            tail.weights[name],
        )
        for part in about.with_total
        for what, tail in part.tails(about.good, options.beta).items()
        for name, count in tail.counts.items()
    )  # fmt: skip
    beta = "1 - 1/N, N being the sum of the counts" if options.beta is None else f"{options.beta:g}"
    columns = (about.what, "counted in", "class", "count", "share", "effective number", "weight")
    return Table(columns, rows, name="weights", title="Class weights", note=WEIGHTS_NOTE.format(beta=beta), keys=3)


def _named(classes: Sequence[str]) -> str:
    """`cut`; `cut, hole`; `cut and 3 more`."""
    return ", ".join(classes) if len(classes) <= 2 else f"{classes[0]} and {len(classes) - 1} more"


def share(count: int, total: int) -> Share | None:
    """None where there is nothing to have a share of."""
    return Share(count / total) if total else None
