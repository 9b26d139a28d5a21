"""The built-in sample: a small dataset in MVTec AD's tree, drawn by code, so that every command runs with no download.

A material is drawn as a `Part`: its bare surface, and the light that falls on it. A defect is a mask and a new surface;
an image shows the new surface inside the mask and the old one elsewhere, so a mask is exact by construction.
Sizes and positions are in pixels, x before y; colours are RGB from 0 to 255.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from mvtec_convert.errors import OutputError

SAMPLE_VERSION = 1
"""Raise it when the drawing changes: copies kept under an older number are then drawn anew."""

Field: TypeAlias = npt.NDArray[np.floating[Any]]
"""One number for each pixel, shape (H, W)."""

Surface: TypeAlias = npt.NDArray[np.floating[Any]]
"""One colour for each pixel before light falls on it, shape (H, W, 3)."""

Mask: TypeAlias = npt.NDArray[np.uint8]
"""Shape (H, W), 1 where there is a defect, 0 elsewhere."""

Point: TypeAlias = npt.NDArray[np.float64]
"""x and y, shape (2,)."""

Points: TypeAlias = npt.NDArray[np.float64]
"""A line or an outline, shape (N, 2)."""

# numpy promises the same numbers from RandomState in every version, which it does not for its newer Generator.
Random: TypeAlias = np.random.RandomState


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A good part in front of the camera.

    Attributes:
        surface: its colours, shape (H, W, 3).
        light: brightness of the light at each pixel, about 1, shape (H, W).
        body: 1 where a defect may be, shape (H, W).
        u: the material's own first coordinate at each pixel, shape (H, W). Woven parts count warp threads with it,
            the hazelnut runs from -1 (base) to 1 (tip).
        v: the second coordinate: woven parts count weft threads, the hazelnut goes from side to side.
    """

    surface: Surface
    light: Field
    body: Mask
    u: Field
    v: Field


Flaw: TypeAlias = tuple[Mask, Surface]
"""Where a part is not good, and how it looks there; the surface counts inside the mask only."""

Defect: TypeAlias = Callable[[Part, Random], Flaw]


@dataclass(frozen=True, slots=True)
class Category:
    """What the sample holds of one category.

    Attributes:
        draw: draws one good part.
        mode: Pillow mode of the images, RGB or L (grey).
        defects: for each defect type, how to draw it and how many images show it.
    """

    draw: Callable[[Random], Part]
    mode: str
    defects: dict[str, tuple[Defect, int]]


# --- helpers ----------------------------------------------------------------------------------------------------------


def noise(side: int, grain: float, rng: Random) -> Field:
    """Random spots about `grain` px wide, shape (side, side), mean 0, deviation near 1."""
    count = max(4, round(side / grain))
    spots = np.frombuffer(rng.bytes(count * count), np.uint8).reshape(count, count)
    smooth = cv2.resize(spots, (side, side), interpolation=cv2.INTER_CUBIC)
    return (smooth.astype(np.float32) - 127.5) / 74


def coordinates(side: int, unit: float, degrees: float, rng: Random) -> tuple[Field, Field]:
    """Coordinates u and v about the middle, counted in units of `unit` px and turned by about `degrees`."""
    turn = math.radians(degrees + rng.uniform(-3, 3))
    x = (np.arange(side, dtype=np.float32) - (side / 2 + rng.uniform(-8, 8))) / unit
    y = (np.arange(side, dtype=np.float32)[:, None] - (side / 2 + rng.uniform(-8, 8))) / unit
    cos, sin = math.cos(turn), math.sin(turn)
    return cos * x + sin * y, cos * y - sin * x


def lamp(side: int, tilt: float, grain: float, rng: Random) -> Field:
    """Light that falls off towards one side by `tilt`, with a camera grain of strength `grain`."""
    u, _ = coordinates(side, side / 2, rng.uniform(200, 250), rng)
    return rng.uniform(0.93, 1.05) + tilt * u + grain * noise(side, 1.5, rng)


def strands(u: Field, v: Field, width: float) -> tuple[Field, Field]:
    """Heights of the warp (at whole u) and the weft (at whole v), passing over and under; 0 beside a strand."""
    wave = 0.4 * np.cos(math.pi * u) * np.cos(math.pi * v)
    return roundness(u - np.rint(u), width) * (1 + wave), roundness(v - np.rint(v), width) * (1 - wave)


def roundness(offset: Field, width: float) -> Field:
    """Height of a round strand of the given width at an offset from its axis: 1 on the axis, 0 outside."""
    height: Field = np.sqrt(np.maximum(1 - np.square(offset * (2 / width)), 0))
    return height


def tinted(tone: Field, colour: Sequence[float]) -> Surface:
    """A colour made darker or lighter by each pixel's tone, shape (H, W, 3)."""
    surface: Surface = tone[..., None] * np.array(colour, np.float32)
    return surface


def place(body: Mask, margin: int, rng: Random) -> Point:
    """A random point of the body, `margin` px or more from its edge if there is room."""
    inside = cv2.distanceTransform(np.pad(body, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    rows, columns = np.nonzero(inside >= min(margin, inside.max()))
    pick = rng.randint(len(rows))
    return np.array([columns[pick], rows[pick]], np.float64)


def walk(start: Point, heading: float, length: float, wobble: float, rng: Random) -> Points:
    """A line of about `length` px in steps of 4 px, its heading (radians) drifting by `wobble` a step."""
    headings = heading + np.cumsum(rng.uniform(-wobble, wobble, max(2, round(length / 4))))
    steps = 4 * np.column_stack([np.cos(headings), np.sin(headings)])
    return np.vstack([start, start + np.cumsum(steps, axis=0)])


def stroke(mask: Mask, points: Points, thickness: int) -> None:
    """Draw a line into a mask."""
    cv2.polylines(mask, [np.rint(points).astype(np.int32)], False, 1, thickness)


def fill(mask: Mask, points: Points) -> None:
    """Fill a polygon into a mask."""
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)


def blob(centre: Point, radius: float, uneven: float, rng: Random) -> Points:
    """Outline of a roundish patch, from a circle (`uneven` 0) to a torn shape (1)."""
    angles = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    reach = np.full(60, radius)
    for waves in range(2, 8):
        reach += radius * uneven * rng.uniform(-0.4, 0.4) / waves * np.sin(waves * angles + rng.uniform(0, 6))
    outline: Points = centre + np.column_stack([reach * np.cos(angles), reach * np.sin(angles)])
    return outline


def slit(line: Points, width: float) -> Points:
    """Outline of an opening along a line, `width` px wide in its middle and pointed at both ends."""
    along = np.gradient(line, axis=0)
    across = along[:, ::-1] * [-1, 1] / np.linalg.norm(along, axis=1, keepdims=True)
    half = across * (width / 2 * np.sin(np.linspace(0, math.pi, len(line))))[:, None]
    return np.vstack([line + half, (line - half)[::-1]])


def depth(mask: Mask, full: float) -> Field:
    """How far inside the mask each pixel is: 0 outside, 1 from `full` px on."""
    distance = cv2.distanceTransform(np.pad(mask, 1, mode="edge"), cv2.DIST_L2, 3)[1:-1, 1:-1]
    inside: Field = np.minimum(distance.astype(np.float32) / full, 1)
    return inside


# --- materials --------------------------------------------------------------------------------------------------------


def carpet(rng: Random) -> Part:
    """A dense grey weave of wool."""
    side = 320
    u, v = coordinates(side, 9, 0, rng)
    u, v = u + 0.12 * noise(side, 20, rng), v + 0.12 * noise(side, 20, rng)
    warp, weft = strands(u, v, 1.0)
    wool = 1 + 0.12 * noise(side, 2, rng) + 0.05 * noise(side, 40, rng)
    over = (warp > weft)[..., None]
    surface = np.where(over, tinted(warp * wool, (74, 78, 88)), tinted(weft * wool, (116, 108, 96))) + 14
    return Part(surface, lamp(side, 0.07, 0.02, rng), np.ones((side, side), np.uint8), u, v)


WIRE = 0.28
"""Thickness of the mesh's wires, in distances from wire to wire."""


def grid(rng: Random) -> Part:
    """A mesh of metal wire in front of a dark ground."""
    side = 288
    u, v = coordinates(side, 34, rng.choice([45, 135]), rng)
    u, v = u + 0.03 * noise(side, 60, rng), v + 0.03 * noise(side, 60, rng)
    surface = mesh(*strands(u, v, WIRE))
    return Part(surface, lamp(side, 0.15, 0.03, rng), np.ones((side, side), np.uint8), u, v)


def mesh(warp: Field, weft: Field) -> Surface:
    """Colours of a wire mesh whose wires have these heights."""
    height = np.maximum(warp, weft)
    return tinted(38 + 90 * height + 22 * height**4, (1, 1, 1))


def hazelnut(rng: Random) -> Part:
    """A hazelnut on a dark ground, lying in any direction."""
    side = 336
    u, v = coordinates(side, side * rng.uniform(0.33, 0.36), rng.uniform(0, 360), rng)
    wide = v * (1.06 + 0.2 * u + 0.12 * np.maximum(u, 0) ** 3)
    bulge = np.sqrt(np.maximum(1 - u * u - wide * wide, 0))
    body = (bulge > 0).astype(np.uint8)
    longitude = np.clip(wide / np.sqrt(np.maximum(1 - u * u, 1e-3)), -1, 1)
    streaks = np.interp(longitude, np.linspace(-1, 1, 70), rng.uniform(-1, 1, 70)).astype(np.float32)
    shell = tinted(1 + 0.14 * streaks + 0.07 * noise(side, 12, rng), (164, 102, 58))
    base = tinted(1 + 0.10 * noise(side, 4, rng) + 0.05 * noise(side, 2, rng), (196, 160, 116))
    edge = u + 0.25 * wide * wide + 0.03 * noise(side, 9, rng)
    surface = np.where((edge < -0.62)[..., None], base, shell)
    surface = np.where(body[..., None] > 0, surface, np.array([26, 27, 31], np.float32))
    light = lamp(side, 0.25, 0.02, rng) * np.where(body > 0, 0.28 + 0.9 * bulge, 1)
    return Part(surface, light, body, u, v)


# --- defects ----------------------------------------------------------------------------------------------------------


DYES = [(1.5, 0.35, 0.3), (0.4, 0.65, 1.6), (0.45, 1.3, 0.55), (1.7, 1.15, 0.3)]
"""What each dye does to the red, green and blue of the wool."""


def stain(part: Part, rng: Random) -> Flaw:
    """Spilt dye: a patch or a dried ring, with splashes down to a single pixel."""
    mask = np.zeros_like(part.body)
    centre, radius = place(part.body, 30, rng), rng.uniform(18, 55)
    outline = blob(centre, radius, 0.8, rng)
    fill(mask, outline)
    if rng.rand() < 0.4:
        middle = np.zeros_like(mask)
        fill(middle, centre + (outline - centre) * rng.uniform(0.5, 0.75))
        mask -= middle
    for x, y in rng.normal(centre, radius, (rng.randint(6), 2)).astype(int).tolist():
        cv2.circle(mask, (x, y), rng.randint(4), 1, -1)
    strength = (0.35 + 0.5 * depth(mask, 5))[..., None]
    return mask, part.surface * (1 - strength + strength * np.array(DYES[rng.randint(len(DYES))]))


def knife_cut(part: Part, rng: Random) -> Flaw:
    """A long slit with loose fibres along it."""
    mask = np.zeros_like(part.body)
    line = walk(place(part.body, 40, rng), rng.uniform(0, 2 * math.pi), rng.uniform(60, 150), 0.06, rng)
    outline = slit(line, rng.uniform(8, 15))
    fill(mask, outline)
    return frayed(mask, outline, 30, rng)


def torn_hole(part: Part, rng: Random) -> Flaw:
    """A hole with a frayed rim, now and then with a whole thread left across it."""
    mask = np.zeros_like(part.body)
    outline = blob(place(part.body, 24, rng), rng.uniform(12, 40), 0.8, rng)
    fill(mask, outline)
    if rng.rand() < 0.4:
        mask[np.rint(part.u) == np.rint(part.u[mask > 0].mean())] = 0
    return frayed(mask, outline, 45, rng)


def frayed(mask: Mask, outline: Points, count: int, rng: Random) -> Flaw:
    """A dark opening in the wool, with loose fibres around it that belong to the defect."""
    loose = np.zeros_like(mask)
    for start in outline[rng.randint(len(outline), size=count)]:
        stroke(loose, walk(start, rng.uniform(0, 2 * math.pi), rng.uniform(4, 14), 0.4, rng), 1)
    opening = tinted(1 - 0.75 * depth(mask, 5), (62, 58, 54))
    return mask | loose, np.where(loose[..., None] > 0, np.array([150, 143, 130]), opening)


def metal(part: Part, rng: Random) -> Flaw:
    """Bits of metal: curled shavings, a washer, filings of a single pixel."""
    mask = np.zeros_like(part.body)
    for _ in range(rng.randint(1, 4)):
        curl = walk(place(part.body, 4, rng), rng.uniform(0, 2 * math.pi), rng.uniform(30, 70), 0.5, rng)
        stroke(mask, curl, rng.randint(3, 7))
    if rng.rand() < 0.6:
        x, y = place(part.body, 6, rng).astype(int).tolist()
        radius = rng.randint(12, 20)
        cv2.circle(mask, (x, y), radius, 1, -1)
        cv2.circle(mask, (x, y), radius // 2, 0, -1)
    for _ in range(rng.randint(5)):
        x, y = place(part.body, 4, rng).astype(int).tolist()
        mask[y, x] = 1
    gleam = 0.3 + 0.6 * depth(mask, 2.5) + 0.2 * noise(len(mask), 10, rng)
    return mask, tinted(gleam, (224, 229, 238))


def thread(part: Part, rng: Random) -> Flaw:
    """A foreign thread that lies across the part, between one and three pixels thick."""
    mask = np.zeros_like(part.body)
    side = len(mask)
    start = np.array([-4, rng.uniform(0.2, 0.8) * side])
    stroke(mask, walk(start, rng.uniform(-0.4, 0.4), side * rng.uniform(0.6, 1.3), 0.25, rng), rng.randint(1, 4))
    colour = [(226, 62, 54), (250, 206, 66), (240, 238, 230)][rng.randint(3)]
    return mask, tinted(0.75 + 0.25 * depth(mask, 2), colour)


def crack(part: Part, rng: Random) -> Flaw:
    """A branching crack in the shell, wide in its middle and a hairline at its ends."""
    mask = np.zeros_like(part.body)
    heading = rng.uniform(0, 2 * math.pi)
    trunk = walk(place(part.body, 60, rng), heading, rng.uniform(70, 120), 0.55, rng)
    fill(mask, slit(trunk, rng.uniform(1, 9)))
    stroke(mask, trunk, 1)
    for start in trunk[rng.randint(3, len(trunk), size=rng.randint(3))]:
        stroke(mask, walk(start, heading + rng.choice([-0.9, 0.9]), rng.uniform(20, 50), 0.5, rng), 1)
    mask &= part.body
    return mask, tinted(1 - 0.6 * depth(mask, 3), (58, 34, 22))


def scrapes(part: Part, rng: Random) -> Flaw:
    """Nicks of a blade that lay the pale wood of the shell open."""
    mask = np.zeros_like(part.body)
    start, heading = place(part.body, 50, rng), rng.uniform(0, 2 * math.pi)
    for _ in range(rng.randint(1, 4)):
        nick = walk(start + rng.uniform(-24, 24, 2), heading, rng.uniform(25, 70), 0.1, rng)
        fill(mask, slit(nick, rng.uniform(5, 11)))
    mask &= part.body
    return mask, tinted(0.62 + 0.38 * depth(mask, 3), (238, 204, 156))


def worm_hole(part: Part, rng: Random) -> Flaw:
    """A round hole gnawed by a weevil, with a pale rim."""
    mask = np.zeros_like(part.body)
    for _ in range(rng.choice([1, 1, 2])):
        fill(mask, blob(place(part.body, 50, rng), rng.uniform(6, 17), 0.25, rng))
    deep = depth(mask, 6)
    return mask, np.where(deep[..., None] < 0.5, tinted(1.3 - deep, (206, 160, 108)), tinted(1.7 - deep, (40, 24, 16)))


GLYPHS = {
    "A": [[(0, 6), (2, 0), (4, 6)], [(1, 4), (3, 4)]],
    "K": [[(0, 0), (0, 6)], [(4, 0), (0, 3), (4, 6)]],
    "O": [[(1, 0), (3, 0), (4, 1), (4, 5), (3, 6), (1, 6), (0, 5), (0, 1), (1, 0)]],
    "4": [[(3, 6), (3, 0), (0, 4), (4, 4)]],
    "7": [[(0, 0), (4, 0), (1, 6)]],
}
"""Strokes of the letters that `stamp` prints, on a lattice 4 wide and 6 high. OpenCV's fonts differ by its version."""


def stamp(part: Part, rng: Random) -> Flaw:
    """Letters printed on the shell."""
    mask = np.zeros_like(part.body)
    turn, size = rng.uniform(-0.5, 0.5), rng.uniform(4, 6)
    axes = size * np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    middle = place(part.body, 90, rng)
    for column, letter in enumerate(rng.permutation(list(GLYPHS))[:3]):
        for line in GLYPHS[letter]:
            stroke(mask, middle + np.add(line, [6 * column - 8, -3]) @ axes, 4)
    mask &= part.body
    return mask, tinted(0.9 + 0.06 * noise(len(mask), 3, rng), (238, 236, 228))


def bent_wire(part: Part, rng: Random) -> Flaw:
    """One wire pushed aside; the mask shows where it was and where it is now."""
    u, v = place_on_wire(part, rng)
    push = rng.choice([-1, 1]) * rng.uniform(0.3, 0.55) * np.exp(-np.square((part.v - v) / rng.uniform(0.6, 1.2)))
    warp, weft = strands(part.u, part.v, WIRE)
    straight = np.where(np.rint(part.u) == u, warp, 0)
    bent = 1.4 * roundness(part.u - u - push, WIRE)
    mask = ((np.abs(push) > 0.03) & (np.maximum(straight, bent) > weft)).astype(np.uint8)
    return mask, mesh(np.maximum(warp - straight, bent), weft)


def place_on_wire(part: Part, rng: Random) -> tuple[float, float]:
    """Coordinates u and v of a crossing well inside the image."""
    x, y = place(part.body, 50, rng).astype(int)
    return float(np.rint(part.u[y, x])), float(np.rint(part.v[y, x]))


def broken_wire(part: Part, rng: Random) -> Flaw:
    """A piece of one wire missing; it shows in several regions where other wires pass over the gap."""
    u, v = place_on_wire(part, rng)
    warp, weft = strands(part.u, part.v, WIRE)
    gap = (np.rint(part.u) == u) & (np.abs(part.v - v - 0.5) < rng.uniform(0.6, 1.8))
    mask = (gap & (warp > weft)).astype(np.uint8)
    return mask, mesh(np.where(gap, 0, warp), weft)


def glue(part: Part, rng: Random) -> Flaw:
    """Drops of cloudy glue between the wires."""
    mask = np.zeros_like(part.body)
    centre, spread = place(part.body, 30, rng), 0.0
    for radius in rng.uniform(10, 36, rng.randint(1, 4)):
        fill(mask, blob(centre + rng.uniform(-spread, spread, 2), radius, 0.5, rng))
        spread = 60
    thick = cv2.GaussianBlur(depth(mask, 14), (0, 0), 4)
    slope = thick - np.roll(thick, (4, 4), (0, 1))
    return mask, 0.5 * part.surface + tinted(108 + 140 * slope, (1, 1, 1))


# --- the dataset ------------------------------------------------------------------------------------------------------

CATEGORIES = {
    "carpet": Category(
        carpet,
        "RGB",
        {
            "color": (stain, 6),
            "cut": (knife_cut, 4),
            "hole": (torn_hole, 8),
            "metal_contamination": (metal, 3),
            "thread": (thread, 2),
        },
    ),
    "grid": Category(
        grid,
        "L",
        {
            "bent": (bent_wire, 6),
            "broken": (broken_wire, 5),
            "glue": (glue, 4),
            "metal_contamination": (metal, 2),
            "thread": (thread, 2),
        },
    ),
    "hazelnut": Category(
        hazelnut,
        "RGB",
        {"crack": (crack, 7), "cut": (scrapes, 4), "hole": (worm_hole, 5), "print": (stamp, 2)},
    ),
}
"""The sample. Types of defect differ in number, as they do on a real line."""

TRAIN_GOOD, TEST_GOOD = 10, 4
"""Number of good images of each category."""


def write_sample(out: str | Path) -> Path:
    """Draw the sample dataset into `out`, in MVTec AD's tree, and give its path.

    Args:
        out: the folder to fill; created if missing.

    Raises:
        OutputError: the folder holds something already.

    >>> mc.load(mc.write_sample("sample")).categories
    ('carpet', 'grid', 'hazelnut')
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise OutputError("the folder for the sample is not empty", path=out, hint="name an empty or a new folder")
    for name, category in CATEGORIES.items():
        for index in range(TRAIN_GOOD):
            write_image(out, name, "train/good", index)
        for index in range(TEST_GOOD):
            write_image(out, name, "test/good", index)
        for defect_type, (defect, count) in category.defects.items():
            for index in range(count):
                write_image(out, name, f"test/{defect_type}", index, defect)
    return out


def write_image(out: Path, name: str, folder: str, index: int, defect: Defect | None = None) -> None:
    """Draw one image, and its mask if it shows a defect."""
    image = out / name / folder / f"{index:03}.png"
    rng = random_for(f"{name}/{folder}/{index}")
    part = CATEGORIES[name].draw(rng)
    if defect is not None:
        mask, changed = defect(part, rng)
        part.surface[mask > 0] = changed[mask > 0]
        save(mask * np.uint8(255), "L", out / name / "ground_truth" / image.parent.name / f"{index:03}_mask.png")
    save(photograph(part), CATEGORIES[name].mode, image)


def random_for(key: str) -> Random:
    """A stream of random numbers of the image's own, so that adding an image changes no other."""
    return Random(zlib.crc32(key.encode()))


def photograph(part: Part) -> npt.NDArray[np.uint8]:
    """What the camera sees, shape (H, W, 3), RGB."""
    seen: npt.NDArray[np.uint8] = np.clip(part.surface * part.light[..., None], 0, 255).astype(np.uint8)
    return seen


def save(pixels: npt.NDArray[np.uint8], mode: str, path: Path) -> None:
    """Write a PNG, quickly rather than small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path, compress_level=1)
