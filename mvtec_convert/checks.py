"""Checks that several formats share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mvtec_convert.errors import MaskError
from mvtec_convert.findings import Finding
from mvtec_convert.images import image_size

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def images_below(folder: Path) -> list[Path]:
    """Every image file below `folder`, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def image(path: Path, size: tuple[int, int] | None = None, smallest_side: int = 1) -> Iterator[Finding]:
    """Whether an image is there, can be opened, and has the stated `size` (width, height) in px."""
    if not path.is_file():
        yield Finding("missing-image", "the image is missing", str(path))
        return
    try:
        actual = image_size(path)
    except MaskError as error:
        yield Finding("bad-image", error.reason, str(path), hint=error.hint)
        return
    if size is not None and actual != size:
        message = f"the image is {actual[0]} x {actual[1]} px, the annotations say {size[0]} x {size[1]}"
        yield Finding("image-size", message, str(path))
    if min(actual) < smallest_side:
        message = f"{actual[0]} x {actual[1]} px: the trainer drops images below {smallest_side} px"
        yield Finding("tiny-image", message, str(path), severity="warning")


def shared_images(images_by_split: Mapping[str, Sequence[Path]]) -> Iterator[Finding]:
    """Images that are in two splits, by name or by content: a score on one would be learnt from the other."""
    named: dict[str, tuple[str, Path]] = {}
    sizes: dict[int, list[tuple[str, Path]]] = {}
    for split, paths in images_by_split.items():
        for path in paths:
            other, first = named.setdefault(path.name, (split, path))
            if other != split:
                yield _leak(path, split, other, first)
            elif path.is_file():
                sizes.setdefault(path.stat().st_size, []).append((split, path))
    for same_size in sizes.values():
        if len({split for split, _ in same_size}) > 1:
            yield from _same_content(same_size)


def _same_content(candidates: list[tuple[str, Path]]) -> Iterator[Finding]:
    first_of: dict[bytes, tuple[str, Path]] = {}
    told: set[tuple[bytes, str]] = set()
    for split, path in candidates:
        digest = hashlib.blake2b(path.read_bytes()).digest()
        other, first = first_of.setdefault(digest, (split, path))
        if other != split and (digest, split) not in told:
            told.add((digest, split))
            yield _leak(path, split, other, first)


def _leak(path: Path, split: str, other: str, first: Path) -> Finding:
    message = f"the same image is in {split} and in {other} ({first.name})"
    return Finding("split-leak", message, str(path), hint=f"remove it from {split} or from {other}")
