"""What the statistics of a whole dataset cost beside reading its masks once, which none can do without.

    python benchmarks/stats.py ROOT

Reads every mask below ROOT with three readers, then counts the whole dataset, in turn, five times each, in one thread,
and prints the best times. The files come from memory after the first time.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.images import read_mask
from mvtec_convert.tables import Table, markdown

ROUNDS = 5
READERS: dict[str, Callable[[Path], object]] = {
    "Pillow": lambda path: np.asarray(Image.open(path)),
    "OpenCV": lambda path: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE),
    "mvtec-convert": read_mask,
}


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def read_all(read: Callable[[Path], object], masks: list[Path]) -> None:
    """Read, and forget each at once."""
    for path in masks:
        read(path)


def main(root: str) -> None:
    """Measure and print."""
    dataset = mc.load(root)
    masks = [mask for sample in dataset for mask in sample.masks]
    reading = dict.fromkeys(READERS, float("inf"))
    counting = float("inf")
    for _ in range(ROUNDS):
        for name, read in READERS.items():
            reading[name] = min(reading[name], seconds(lambda read=read: read_all(read, masks)))
        counting = min(counting, seconds(lambda: mc.stats(dataset, jobs=1)))
    rows = [(f"read {len(masks):,} masks, {name}", taken, counting / taken) for name, taken in reading.items()]
    rows.append((f"stats of {len(dataset):,} images", counting, 1.0))
    print(markdown(Table(("work", "seconds", "stats take times as long"), tuple(rows))))


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
