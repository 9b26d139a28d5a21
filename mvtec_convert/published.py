"""The published figures of MVTec AD, and how a copy on disk differs from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

SIZES = "images of "
"""How a difference in size begins."""


@dataclass(frozen=True, slots=True)
class PublishedCategory:
    """One category as published.

    Attributes:
        images: number of images by folder, `train/good`, `test/good`, `test/<defect>`.
        regions: number of 8-connected regions by defect type.
        image_size: (width, height), px.
        channels: 1 (greyscale) or 3.
    """

    images: Mapping[str, int]
    regions: Mapping[str, int]
    image_size: tuple[int, int]
    channels: int


@cache
def mvtec_ad() -> Mapping[str, PublishedCategory]:
    """All 15 categories by name.

    Source: Bergmann et al., IJCV 129:1038-1059 (2021), doi 10.1007/s11263-020-01400-4; regions counted anew.
    """
    text = files("mvtec_convert").joinpath("published_mvtec_ad.json").read_text(encoding="utf-8")
    return {name: _category(facts) for name, facts in json.loads(text)["categories"].items()}


def _category(facts: dict[str, Any]) -> PublishedCategory:
    types: dict[str, dict[str, int]] = facts["defect_types"]
    images = {"train/good": facts["train_good"], "test/good": facts["test_good"]}
    images |= {f"test/{name}": counts["images"] for name, counts in types.items()}
    regions = {name: counts["regions"] for name, counts in types.items()}
    return PublishedCategory(images, regions, tuple(facts["image_size"]), facts["channels"])


def comparison(differences: Mapping[str, list[str] | None]) -> list[str]:
    """How a copy compares, one sentence a category that differs, then a verdict; nothing of other datasets.

    Of categories that differ in the number of images and in their size too, one sentence says just that: to list
    all that a copy of them lacks would say nothing of what they are.

    Args:
        differences: by category, as `differences` gives them.
    """
    whole = [name for name, told in differences.items() if told == []]
    if set(whole) == set(mvtec_ad()):
        return ["This is the complete MVTec AD, as published."]
    if all(phrases is None for phrases in differences.values()):
        return []
    strange = [name for name, phrases in differences.items() if phrases and _is_strange(phrases)]
    told = [
        f"{name} differs from the published: {', '.join(phrases)}."
        for name, phrases in differences.items()
        if phrases and name not in strange
    ]
    if strange:
        told.append(
            f"Named as categories of MVTec AD, but of other images, in number and size: {', '.join(strange)} "
            "(the table 'copy' of the statistics has each figure)."
        )
    others = [name for name, phrases in differences.items() if phrases is None]
    if others:
        told.append(f"Not a category of MVTec AD: {', '.join(others)}.")
    count = f"of the {len(mvtec_ad())} categories of MVTec AD"
    return [*told, f"{len(whole)} {count} are complete: {', '.join(whole)}." if whole else f"None {count} is complete."]


def _is_strange(phrases: Sequence[str]) -> bool:
    sizes = sum(phrase.startswith(SIZES) for phrase in phrases)
    return 0 < sizes < len(phrases)


def differences(
    category: str,
    images: Mapping[str, int],
    regions: Mapping[str, int],
    sizes: Iterable[tuple[int, int]] = (),
    channels: Iterable[int] = (),
) -> list[str] | None:
    """What differs in a category, one short phrase each ("test/hole 16 of 17 images").

    Empty where it is complete, None where MVTec AD has no such category.

    Args:
        category: its name.
        images: number of images by folder, as in `PublishedCategory`.
        regions: number of regions by defect type.
        sizes: (width, height), px, of its images.
        channels: numbers of channels of its images.
    """
    published = mvtec_ad().get(category)
    if published is None:
        return None
    told = []
    for folder in [*published.images, *sorted(images.keys() - published.images.keys())]:
        here, there = images.get(folder, 0), published.images.get(folder, 0)
        if here != there:
            told.append(
                f"{folder} {here} of {there} images" if here < there else f"{folder} {here} images, not {there}"
            )
    for name, count in published.regions.items():
        # Fewer images have fewer regions; only a whole folder can be compared.
        if images.get(f"test/{name}") == published.images[f"test/{name}"] and regions.get(name, 0) != count:
            told.append(f"test/{name} {regions.get(name, 0)} regions, not {count}")
    others = set(sizes) - {published.image_size}
    if others:
        (width, height), (there_width, there_height) = min(others), published.image_size
        told.append(f"{SIZES}{width} x {height} px, not {there_width} x {there_height}")
    bands = set(channels) - {published.channels}
    if bands:
        told.append(f"images with {min(bands)} channel{'s' if min(bands) > 1 else ''}, not {published.channels}")
    return told
