"""Binary masks of every awkward kind, and slow but plain oracles to judge what is made of them.

A mask has shape (height, width), dtype uint8, values 0 and 1. The oracles share nothing with the package: no OpenCV,
no run lengths, only sets of pixels and numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

Mask: TypeAlias = npt.NDArray[np.uint8]
Pixel: TypeAlias = tuple[int, int]

MAX_SIDE = 40

# --- drawing ----------------------------------------------------------------------------------------------------------


def disc(mask: Mask, x: float, y: float, radius: float, value: int) -> None:
    """Paint the pixels whose centre index is at most `radius` from (x, y)."""
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    mask[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = value


def noise(height: int, width: int, density: float, seed: int) -> Mask:
    """Pixels set at random."""
    return (np.random.default_rng(seed).random((height, width)) < density).astype(np.uint8)


def blobs(height: int, width: int, seed: int) -> Mask:
    """Discs, some of them cut out of the others, anywhere in the frame and over its borders."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for value in [1, 1, 0, 1, 0, 0][: rng.integers(1, 7)]:
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.5, max(height, width) / 2.5)
        disc(mask, x, y, radius, value)
    return mask


def nested(height: int, width: int, step: int, first: int) -> Mask:
    """Frames within frames: a region in the hole of a region, and so on to the middle."""
    rows, columns = np.ogrid[:height, :width]
    depth = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns))
    return ((depth // step) % 2 == first).astype(np.uint8)


def checkerboard(height: int, width: int, cell: int, first: int) -> Mask:
    """Cells that meet at their corners only."""
    rows, columns = np.ogrid[:height, :width]
    return ((rows // cell + columns // cell) % 2 == first).astype(np.uint8)


def diagonals(height: int, width: int, cell: int, down: bool) -> Mask:
    """A chain of square cells that touch at corners only, from one side to another."""
    rows, columns = np.ogrid[:height, :width]
    mask = (rows // cell == columns // cell).astype(np.uint8)
    return mask if down else np.ascontiguousarray(mask[:, ::-1])


def dots(height: int, width: int, seed: int) -> Mask:
    """One to four single pixels."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(height * width, np.uint8)
    mask[rng.integers(0, height * width, rng.integers(1, 5))] = 1
    return mask.reshape(height, width)


def hairlines(height: int, width: int, seed: int) -> Mask:
    """Lines one pixel wide that wander through the frame, in steps straight and diagonal."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        y, x = rng.integers(0, height), rng.integers(0, width)
        for dy, dx in rng.integers(-1, 2, (rng.integers(1, 2 * MAX_SIDE), 2)):
            mask[y, x] = 1
            y, x = np.clip([y + dy, x + dx], 0, [height - 1, width - 1])
    return mask


def on_borders(height: int, width: int, sides: int, seed: int) -> Mask:
    """Pieces along the borders: each bit of `sides` is one of them. Around a corner they meet."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for side in range(4):
        if sides >> side & 1:
            edge = [mask[0], mask[-1], mask[:, 0], mask[:, -1]][side]
            start, stop = sorted(rng.integers(0, len(edge) + 1, 2).tolist())
            edge[start : max(stop, start + 1)] = 1
    return mask


def full(height: int, width: int) -> Mask:
    """Nothing but defect."""
    return np.ones((height, width), np.uint8)


# --- strategies -------------------------------------------------------------------------------------------------------

SEEDS = st.integers(0, 2**32 - 1)


def sides(least: int = 1) -> st.SearchStrategy[int]:
    """Length of one side, px; small ones often."""
    return st.one_of(st.integers(least, 6), st.integers(least, MAX_SIDE))


def tiny() -> st.SearchStrategy[Mask]:
    """Any mask of up to 6 x 6 px, bit by bit, so that a failing one shrinks to its essence."""
    return st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
        lambda size: st.lists(st.integers(0, 1), min_size=size[0] * size[1], max_size=size[0] * size[1]).map(
            lambda bits: np.array(bits, np.uint8).reshape(size)
        )
    )


def lines() -> st.SearchStrategy[Mask]:
    """Images of one row or one column."""
    bits = st.lists(st.integers(0, 1), min_size=1, max_size=MAX_SIDE).map(lambda values: np.array([values], np.uint8))
    return st.one_of(bits, bits.map(lambda row: np.ascontiguousarray(row.T)))


def masks() -> st.SearchStrategy[Mask]:
    """Masks of every kind, up to 40 x 40 px; now and then an empty one."""
    cell, flag = st.integers(1, 4), st.integers(0, 1)
    return st.one_of(
        tiny(),
        lines(),
        st.builds(noise, sides(), sides(), st.sampled_from([0.03, 0.2, 0.5, 0.6, 0.8, 0.97]), SEEDS),
        st.builds(blobs, sides(4), sides(4), SEEDS),
        st.builds(nested, sides(3), sides(3), cell, flag),
        st.builds(checkerboard, sides(), sides(), cell, flag),
        st.builds(diagonals, sides(2), sides(2), cell, st.booleans()),
        st.builds(dots, sides(), sides(), SEEDS),
        st.builds(hairlines, sides(3), sides(3), SEEDS),
        st.builds(on_borders, sides(2), sides(2), st.integers(1, 15), SEEDS),
        st.builds(full, sides(), sides()),
    )


def defects() -> st.SearchStrategy[Mask]:
    """Masks with at least one defect pixel."""
    return masks().filter(lambda mask: bool(mask.any()))


def framed(inner: st.SearchStrategy[Mask]) -> st.SearchStrategy[Mask]:
    """The masks in a larger frame, not always in its middle."""
    margin = st.integers(0, 9)
    return st.builds(
        lambda mask, top, bottom, left, right: np.pad(mask, ((top, bottom), (left, right))),
        inner,
        *[margin] * 4,
    )


def connected() -> st.SearchStrategy[Mask]:
    """Masks whose defect pixels are one 8-connected piece; the holes in it are kept."""
    return st.builds(lambda mask, which: pieces(mask)[which % len(pieces(mask))], defects(), st.integers(0, 99))


def many_dots() -> Mask:
    """Single pixels on a lattice, in a wide frame."""
    mask = np.zeros((90, 400), np.uint8)
    mask[::9, 3::11] = 1
    return mask


def sieve() -> Mask:
    """A plate with holes in rows, and a pixel of its own in each."""
    mask = np.ones((120, 160), np.uint8)
    for y in range(6, 110, 10):
        for x in range(6, 150, 12):
            disc(mask, x, y, 4, 0)
            mask[y, x] = 1
    return mask


def large_disc() -> Mask:
    """A disc cut off by the right border."""
    mask = np.zeros((260, 300), np.uint8)
    disc(mask, 220, 120, 100.5, 1)
    return mask


LARGE: dict[str, Callable[[], Mask]] = {
    "noise": lambda: noise(130, 170, 0.55, 1),
    "blobs": lambda: blobs(220, 310, 4),
    "nested": lambda: nested(150, 201, 7, 1),
    "checkerboard": lambda: checkerboard(64, 90, 3, 0),
    "many dots": many_dots,
    "sieve": sieve,
    "disc": large_disc,
    "full": lambda: full(200, 257),
}
"""A few masks of more than 40 px a side, by what they show."""

# --- oracles ----------------------------------------------------------------------------------------------------------


def pixels(mask: npt.NDArray[Any]) -> set[Pixel]:
    """(x, y) of every pixel that is not 0."""
    rows, columns = np.nonzero(mask)
    return set(zip(columns.tolist(), rows.tolist(), strict=True))


def painted(where: Iterable[Pixel], shape: tuple[int, ...]) -> Mask:
    """The mask with these pixels set."""
    mask = np.zeros(shape, np.uint8)
    for x, y in where:
        mask[y, x] = 1
    return mask


def flood(free: set[Pixel], start: Pixel, *, diagonal: bool) -> set[Pixel]:
    """The pixels of `free` that can be reached from `start`, in steps to 4 or 8 neighbours."""
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1)] + ([(-1, -1), (-1, 1), (1, -1), (1, 1)] if diagonal else [])
    found, waiting = {start}, [start]
    while waiting:
        x, y = waiting.pop()
        for dx, dy in steps:
            place = (x + dx, y + dy)
            if place in free and place not in found:
                found.add(place)
                waiting.append(place)
    return found


def components(mask: npt.NDArray[Any]) -> list[set[Pixel]]:
    """The 8-connected components, each as its pixels."""
    free, found = pixels(mask), []
    while free:
        found.append(flood(free, min(free), diagonal=True))
        free -= found[-1]
    return found


def pieces(mask: Mask) -> list[Mask]:
    """The 8-connected components, each as a mask of the same size."""
    return [painted(component, mask.shape) for component in components(mask)]


def nearest(a: set[Pixel], b: set[Pixel]) -> float:
    """Smallest distance between a pixel of `a` and one of `b`, centre to centre, px."""
    first, second = np.array(sorted(a)), np.array(sorted(b))
    return float(np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=2).min()))


def whole(region: Any, shape: tuple[int, ...]) -> Mask:
    """A package's region as a mask of the whole image, pasted pixel by pixel."""
    return painted(((region.x + x, region.y + y) for x, y in pixels(region.crop)), shape)
