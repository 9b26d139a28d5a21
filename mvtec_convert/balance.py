"""Make rare classes more frequent in training: how often each image of `train` should be seen.

Repeat factors are those of LVIS (Gupta, Dollár and Girshick, CVPR 2019, appendix B.2, arxiv.org/abs/1908.03195): a
class in the share f of the images has r = max(1, sqrt(t / f)), an image the largest r of its classes, and t is the
share from which on a class is frequent enough. LVIS took 0.001, which suits 1,200 classes; here t is the share of the
most frequent class unless another is given, so that every other class gains, by the square root of how rare it is.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mvtec_convert.errors import SelectionError
from mvtec_convert.jsonio import save_json
from mvtec_convert.splits import shuffle

Method = Literal["none", "repeat-factor", "oversample"]

FILE_NAME = "balance.json"


@dataclass(frozen=True, slots=True)
class BalanceOptions:
    """How `train` is balanced.

    Attributes:
        method: `none`; `repeat-factor`, after LVIS; `oversample` until each class has as many images as the largest.
        threshold: share of the images of `train`, in (0, 1], from which on a class is frequent enough, for
            `repeat-factor`; None: the share of the most frequent class.
    """

    method: Method = "none"
    threshold: float | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense, before any work is done."""
        if self.threshold is not None and self.method != "repeat-factor":
            raise SelectionError(
                f"a repeat threshold belongs to repeat-factor, not to {self.method}", hint="add --balance repeat-factor"
            )
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise SelectionError(f"the repeat threshold is a share of the images, in (0, 1], not {self.threshold}")


@dataclass(frozen=True, slots=True)
class TrainImage:
    """What balancing has to know of an image.

    Attributes:
        name: file name in the export, without suffix.
        regions: number of regions of each class in it; empty for one without a class.
    """

    name: str
    regions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ClassBalance:
    """One class before and after.

    Attributes:
        name: of the class.
        factor: what the class asks for, 1 or more.
        images: images of `train` that show it.
        images_after: the same, each counted as often as it is repeated.
        regions: regions of it in `train`.
        regions_after: the same, repeats counted.
    """

    name: str
    factor: float
    images: int
    images_after: int
    regions: int
    regions_after: int


@dataclass(frozen=True, slots=True)
class Balance:
    """How often each image of `train` is to be seen.

    Attributes:
        options: what was asked for.
        threshold: the share that was used; None for `oversample`.
        classes: before and after, by name.
        factors: for each image by name, how often on average; the weight to draw it with.
        repeats: for each image by name, a whole number of times; the sum over a class follows the factors.
    """

    options: BalanceOptions
    threshold: float | None
    classes: tuple[ClassBalance, ...]
    factors: Mapping[str, float]
    repeats: Mapping[str, int]


def balance(images: Sequence[TrainImage], options: BalanceOptions, seed: int) -> Balance:
    """Balance the images of `train`; those without a class are seen once.

    Args:
        images: all of `train`, with names that are unique.
        options: how.
        seed: says which images of a class get one repeat more where its sum is no multiple of their number.
    """
    counts = Counter(name for image in images for name in image.regions)
    threshold = None
    if options.method == "repeat-factor":
        threshold = options.threshold or max(counts.values(), default=1) / len(images)
        of_class = repeat_factors(counts, len(images), threshold)
    else:
        of_class = oversampling_factors(counts)
    factors = {image.name: max((of_class[name] for name in image.regions), default=1.0) for image in images}
    alike: dict[frozenset[str], list[str]] = defaultdict(list)
    for image in images:
        alike[frozenset(image.regions)].append(image.name)
    repeats = {name: n for names in alike.values() for name, n in whole_repeats(names, factors[names[0]], seed).items()}
    classes = tuple(_before_and_after(name, of_class[name], images, repeats) for name in sorted(counts))
    return Balance(options, threshold, classes, factors, repeats)


def repeat_factors(counts: Mapping[str, int], total: int, threshold: float) -> dict[str, float]:
    """LVIS's repeat factor of each class.

    Args:
        counts: number of images that show the class.
        total: number of images, those without a class included.
        threshold: share of the images from which on a class is not repeated.
    """
    return {name: max(1.0, math.sqrt(threshold * total / count)) for name, count in counts.items()}


def oversampling_factors(counts: Mapping[str, int]) -> dict[str, float]:
    """What makes each class as frequent as the largest; where images show one class each, exactly."""
    return {name: max(counts.values()) / count for name, count in counts.items()}


def whole_repeats(names: Sequence[str], factor: float, seed: int) -> dict[str, int]:
    """How often each of these images is repeated, so that together they come nearest to `factor`, 1 or more.

    Rounding for each image by itself would turn 1.4 into 1 and leave a class as rare as it was.
    """
    each, over = divmod(round(factor * len(names)), len(names))
    once_more = set(shuffle(names, seed)[:over])
    return {name: each + (name in once_more) for name in names}


def _before_and_after(
    name: str, factor: float, images: Sequence[TrainImage], repeats: Mapping[str, int]
) -> ClassBalance:
    showing = [(image.regions[name], repeats[image.name]) for image in images if name in image.regions]
    return ClassBalance(
        name=name,
        factor=factor,
        images=len(showing),
        images_after=sum(times for _, times in showing),
        regions=sum(regions for regions, _ in showing),
        regions_after=sum(regions * times for regions, times in showing),
    )


def save(balance: Balance, folder: Path) -> None:
    """Write `balance.json`, in the form of `schemas/balance.schema.json`."""
    document = {
        "method": balance.options.method,
        "threshold": balance.threshold,
        "classes": [
            {
                "name": entry.name,
                "weight": round(entry.factor, 6),
                "images": entry.images,
                "images_after": entry.images_after,
                "regions": entry.regions,
                "regions_after": entry.regions_after,
            }
            for entry in balance.classes
        ],
        "images": {name: round(factor, 6) for name, factor in balance.factors.items()},
    }
    save_json(document, folder / FILE_NAME)
