"""Images that are there twice: byte for byte, or as one photo saved anew on the other side of a split."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Container, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.checks import identical_files
from mvtec_convert.dataset import Sample
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.pillow import read_image

SIDE = 64
"""Images are compared at this width and height, px."""

LARGEST_DIFFERENCE = 0.5
"""Between any two pixels of near-duplicates, in standard deviations of their image.

Photos of one part under one camera are nearly alike already, so the place where they differ most decides, not the mean:
in real data the most similar pair of different photos differs by 0.93 (of 2,542 pairs of train and test images: MVTec
AD toothbrush 1,800, a part of MVTec AD grid 98, a hazelnut set 644), and photos saved anew as JPEG of quality 40, or
at half the size, or brightened, by at most 0.19.
"""

Thumbnail: TypeAlias = npt.NDArray[np.float32]
"""Shape (SIDE * SIDE,), mean 0, standard deviation 1."""


def repeated_images(samples: Iterable[Sample]) -> Iterator[Finding]:
    """`split-leak`, `conflicting-images` and `identical-images`: images of the same bytes."""
    for sample, earlier in _copies(samples):
        twin = next((e for e in earlier if e.split != sample.split), None)
        if twin is not None:
            message = f"the same image is in {sample.split} and in {twin.split} ({twin.key})"
            yield _finding("split-leak", message, sample, f"remove it from {twin.split} or from {sample.split}")
            continue
        twin = next((e for e in earlier if _folder(e) != _folder(sample)), None)
        if twin is not None:
            message = f"the same image as {twin.key}, so one of the two is labelled wrongly"
            yield _finding("conflicting-images", message, sample, "keep it where it belongs")
            continue
        message = f"the same image as {earlier[0].image.name}"
        yield Finding("identical-images", message, str(sample.image), severity="warning", hint="keep one of them")


def copies_in_folders(samples: Iterable[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """(copy, original): images of the same bytes in one folder, and in no other."""
    for sample, earlier in _copies(samples):
        if all(_folder(e) == _folder(sample) for e in earlier):
            yield sample, earlier[0]


def repeated_masks(samples: Collection[Sample], useless: Container[Path]) -> Iterator[Finding]:
    """`identical-masks`: masks of the same bytes, on different images of a category; without those that are useless."""
    owners = {mask: sample for sample in samples for mask in sample.masks if mask not in useless}
    images = {path: number for number, same in enumerate(identical_files(s.image for s in samples)) for path in same}
    for same in identical_files(owners):
        first = same[0]
        for mask in same[1:]:
            one, other = owners[first], owners[mask]
            is_one_image = one.image in images and images[one.image] == images.get(other.image)
            if one.category == other.category and one is not other and not is_one_image:
                message = f"the same mask as {first.name} of {one.defect_type}, though their images differ"
                hint = "look at it: one of them may be a copy that was not drawn yet"
                yield Finding("identical-masks", message, str(mask), severity="warning", hint=hint)


def near_duplicates(thumbnails: Iterable[tuple[Sample, Thumbnail]]) -> Iterator[Finding]:
    """`near-duplicate`: images of one category that show the same photo in two splits, though their bytes differ."""
    splits: dict[str, list[tuple[Sample, Thumbnail]]] = {}
    for sample, small in thumbnails:
        splits.setdefault(sample.split, []).append((sample, small))
    for one, other in itertools.combinations(sorted(splits, reverse=True), 2):
        yield from _look_alike(splits[other], splits[one])


def _copies(samples: Iterable[Sample]) -> Iterator[tuple[Sample, list[Sample]]]:
    """Each image whose bytes an earlier one has, in the order of the keys, with all the earlier ones."""
    by_path = {sample.image: sample for sample in samples}
    for same in identical_files(by_path):
        group = [by_path[path] for path in same]
        for i in range(1, len(group)):
            yield group[i], group[:i]


def _folder(sample: Sample) -> Path:
    return sample.image.parent


def _finding(code: str, message: str, sample: Sample, hint: str) -> Finding:
    return Finding(code, message, str(sample.image), hint=hint)


def thumbnail(path: Path) -> Thumbnail | None:
    """The image in grey, small, and with brightness and contrast taken out; None where it is all one tone.

    Raises:
        MaskError: the image cannot be decoded.
    """
    pixels = read_image(path)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels
    small = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel()
    spread = small.std()
    return None if spread == 0 else (small - small.mean()) / spread


def _look_alike(some: list[tuple[Sample, Thumbnail]], others: list[tuple[Sample, Thumbnail]]) -> Iterator[Finding]:
    """Each of some images with the one among the others that looks the same."""
    stack = np.stack([small for _, small in others])
    for sample, small in some:
        # |a - b| < d at every pixel means that the correlation of a and b is above 1 - d * d / 2: cheap, asked first.
        candidates = np.flatnonzero(stack @ small / small.size > 1 - LARGEST_DIFFERENCE**2 / 2)
        differences = np.abs(stack[candidates] - small).max(axis=1)
        if differences.size == 0 or differences.min() >= LARGEST_DIFFERENCE:
            continue
        twin = others[candidates[differences.argmin()]][0]
        if twin.image.read_bytes() == sample.image.read_bytes():
            continue  # told as split-leak
        message = f"looks the same as {twin.key}, saved in another way"
        hint = f"if it is one photo, remove it from {sample.split} or from {twin.split}"
        yield Finding("near-duplicate", message, str(sample.image), severity="warning", hint=hint)
