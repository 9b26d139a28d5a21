"""What the figures mean, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mvtec_convert.dataset import GOOD
from mvtec_convert.statistics.longtail import LongTail, imbalance_ratio, long_tail
from mvtec_convert.statistics.measures import size_counts
from mvtec_convert.statistics.options import ReportOptions
from mvtec_convert.statistics.parts import BACKGROUND, Part, merged
from mvtec_convert.tables import Share, shown

if TYPE_CHECKING:
    from mvtec_convert.schemas.balance import BalanceFile
    from mvtec_convert.statistics.exported import ExportStatistics

NEARLY_EVEN = 1.5
"""Below this imbalance ratio the rarest class has two thirds of the images of the most frequent, or more."""

MOST_NAMED = 3


def of_source(parts: Sequence[Part], options: ReportOptions) -> list[str]:
    """Sentences on a source dataset as a whole."""
    whole = parts[0] if len(parts) == 1 else merged(parts)
    return [*_on_classes(whole, "defective images"), *_on_good(whole, GOOD, "defective"), *_on_regions(whole, options)]


def of_export(found: ExportStatistics, options: ReportOptions) -> list[str]:
    """Sentences on what a model learns from, the first split, and on what the other splits cannot tell."""
    told: list[str] = []
    for split in found.splits:
        told += _on_missing(split)
    if found.splits:
        learnt = found.splits[0]
        about = [
            *_on_classes(learnt, "labelled images"),
            *_on_good(learnt, BACKGROUND, "labelled"),
            *_on_regions(learnt, options),
        ]
        told += [f"{learnt.name}: {sentence}" for sentence in about]
        told += _on_balance(found.balance)
    if found.crowds:
        told.append(f"Not counted: {found.crowds} crowd regions, which trainers leave out.")
    if found.boxes:
        told.append(
            f"{found.boxes} objects have a box or a polygon and no mask; its area is counted in place of theirs."
        )
    return told


def _on_classes(part: Part, those: str) -> Iterator[str]:
    tail = long_tail({found.name: found.images for found in part.classes if found.images})
    if tail.ratio is None:
        return
    if len(tail.counts) == 1:
        yield f"There is one class, {_named(tail.most)}, so there is nothing to balance between classes."
        return
    most, least = max(tail.counts.values()), min(tail.counts.values())
    if tail.ratio < NEARLY_EVEN:
        images = "1 image" if most == 1 else f"{_span(least, most)} images"
        yield f"The {len(tail.counts)} classes are nearly even: they have {images} each."
    else:
        rare = tail.least[0]
        never = Share(1 - least / part.labelled)
        yield (
            f"{_compared(tail)}. A model that never predicts '{rare}' still misses nothing in "
            f"{shown(never)} of the {those}: judge by the mean over classes, not by accuracy."
        )
    others = {"regions": {found.name: found.regions for found in part.classes if found.regions},
              "pixels": {found.name: found.pixels for found in part.classes if found.pixels}}  # fmt: skip
    ratios = [(what, long_tail(counts)) for what, counts in others.items()]
    told = [
        f"{_times(tail.ratio)} by {what} ('{tail.most[0]}' and '{tail.least[0]}')"
        for what, tail in ratios
        if tail.ratio
    ]
    if told:
        factors = " and ".join([", ".join([f"{_times(most / least)} by images", *told[:-1]]), told[-1]])
        yield f"Between the largest and the smallest class lies a factor of {factors}."


def _compared(tail: LongTail) -> str:
    most, least = max(tail.counts.values()), min(tail.counts.values())
    verb = "has" if len(tail.most) == 1 else "have"
    return (
        f"{_named(tail.most)} {verb} {_times(most / least)} times as many images as {_named(tail.least)} "
        f"({most:,} against {least:,})"
    )


def _on_balance(balance: BalanceFile | None) -> Iterator[str]:
    if balance is None:
        return
    there = [each for each in balance.classes if each.images]
    before, after = imbalance_ratio(each.images for each in there), imbalance_ratio(each.images_after for each in there)
    if before is not None and after is not None:
        yield (
            f"train is balanced by {balance.method}: as training sees it, the factor by images is {_times(after)} "
            f"instead of {_times(before)}."
        )


def _on_good(part: Part, good: str, labelled: str) -> Iterator[str]:
    if part.good and not part.labelled:
        yield f"No image is {labelled}: a detector or a segmenter has nothing to learn here."
    if not part.good or not part.labelled:
        return
    more, less, ratio = good, labelled, part.good / part.labelled
    if ratio < 1:
        more, less, ratio = labelled, good, 1 / ratio
    share = Share(part.good / part.images)
    yield (
        f"There are {_times(ratio)} {more} images for each {less} one: a model that finds nothing is right "
        f"about {shown(share)} of all images."
    )


def _on_regions(part: Part, options: ReportOptions) -> Iterator[str]:
    if not part.regions or not part.image_pixels:
        return
    measures = part.whole.measures
    what = "Defects" if measures.masks == len(measures) else "Boxes and polygons"
    own, scaled = size_counts(measures.area), size_counts(measures.area_at(options.imgsz))
    yield f"{what} cover {shown(Share(part.pixels / part.image_pixels))} of all pixels."
    yield (
        f"{shown(Share(own.small / part.regions))} of the regions are small by COCO's bounds, below 32 x 32 px; "
        f"{shown(Share(scaled.small / part.regions))} once images are scaled to {options.imgsz} px."
    )


def _on_missing(split: Part) -> Iterator[str]:
    missing = [found.name for found in split.classes if not found.images]
    if missing and split.labelled:
        consequence = "a model cannot learn them" if split.name == "train" else "no figure measured there tells of them"
        yield f"No image of {split.name} shows {_named(missing)}: {consequence}."


def _named(classes: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in classes]
    more = len(quoted) - MOST_NAMED
    if more > 1:
        quoted = [*quoted[:MOST_NAMED], f"{more} more"]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}"


def _span(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
