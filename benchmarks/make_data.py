"""A large dataset in MVTec AD's layout, for benchmarks: image files of real size, masks shaped like real defects.

    python benchmarks/make_data.py OUT [--masks 1000] [--good 300]

Images are flat, since no converter looks at their pixels, but no two files are the same. Each mask has one to three
ragged blobs, three in ten of them with a hole, as 8-bit greyscale PNG. At most 1,000 masks are drawn; the others are
hard links to these.
"""

import argparse
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIDE = 1024  # px
CATEGORIES = 5
DEFECTS = ("bent", "crack", "hole", "scratch", "stain")
DRAWN = 1000
END = 12  # bytes of a PNG's last chunk


def blobs(rng: np.random.Generator) -> np.ndarray:
    """A mask, shape (SIDE, SIDE), 0 and 255."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    for _ in range(rng.integers(1, 4)):
        centre = rng.uniform(SIDE / 8, SIDE * 7 / 8, 2)
        radius = rng.uniform(SIDE / 100, SIDE / 12)
        waves = sum(rng.normal(0, 0.35 / k) * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in range(2, 12))
        reach = radius * np.clip(1 + 0.5 * waves, 0.2, 2)
        points = centre + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 255)
        if rng.random() < 0.3:
            cv2.circle(mask, np.rint(centre).astype(int).tolist(), max(1, int(radius / 3)), 0, -1)
    return mask


def numbered(png: bytes, number: int) -> bytes:
    """The same image with a comment that makes it another file of the same size."""
    text = b"tEXtComment\0%09d" % number
    return png[:-END] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + png[-END:]


def make(out: Path, masks: int, good: int) -> None:
    """Write the dataset.

    Args:
        out: a folder that is not there yet.
        masks: number of defective images, a multiple of 25.
        good: number of good images, a multiple of 10; five in six of them to train on.
    """
    rng = np.random.default_rng(0)
    flat = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (120, 110, 100)).save(flat, "PNG")
    drawn: list[Path] = []
    written = 0

    def image(path: Path) -> None:
        nonlocal written
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbered(flat.getvalue(), written))
        written += 1

    for i in range(good):
        split = "test" if i % 6 == 5 else "train"
        image(out / f"part{i % CATEGORIES}" / split / "good" / f"{i // CATEGORIES:05d}.png")
    for i in range(masks):
        category, rest = out / f"part{i % CATEGORIES}", i // CATEGORIES
        defect, stem = DEFECTS[rest % len(DEFECTS)], f"{rest // len(DEFECTS):05d}"
        image(category / "test" / defect / f"{stem}.png")
        mask = category / "ground_truth" / defect / f"{stem}_mask.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        if i < DRAWN:
            Image.fromarray(blobs(rng)).save(mask)
            drawn.append(mask)
        else:
            os.link(drawn[i % DRAWN], mask)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--masks", type=int, default=1000)
    parser.add_argument("--good", type=int, default=300)
    arguments = parser.parse_args()
    make(arguments.out, arguments.masks, arguments.good)
