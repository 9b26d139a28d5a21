"""COCO files, for every format that is built on them: written as a stream, and read back by pycocotools."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import orjson

import mvtec_convert
from mvtec_convert.rle import Rle, compress, rasterise


class CocoWriter:
    """One COCO file in the making, one record a line; ids of images and annotations count from 1.

    Annotations are spooled beside the file, so that memory stays flat.
    """

    def __init__(self, path: Path, categories: Sequence[dict[str, Any]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("wb")
        self._spool: IO[bytes] = path.with_suffix(".part").open("w+b")
        self._images = self._annotations = 0
        info = {"description": f"converted by mvtec-convert {mvtec_convert.__version__}"}
        head = {"info": info, "licenses": [], "categories": list(categories)}
        self._file.write(orjson.dumps(head)[:-1] + b',\n"images":[')

    def __enter__(self) -> CocoWriter:
        return self

    def add(self, image: dict[str, Any], annotations: Iterable[bytes]) -> None:
        """Append an image and its annotations: a record, and JSON objects, all without ids."""
        self._images += 1
        self._file.write(_comma(self._images) + orjson.dumps({"id": self._images, **image}))
        for annotation in annotations:
            self._annotations += 1
            ids = b'{"id":%d,"image_id":%d,' % (self._annotations, self._images)
            self._spool.write(_comma(self._annotations) + ids + annotation[1:])

    def __exit__(self, *error: object) -> None:
        with self._file, self._spool:
            self._file.write(b'\n],\n"annotations":[')
            self._spool.seek(0)
            shutil.copyfileobj(self._spool, self._file)
            self._file.write(b"\n]}\n")
        Path(self._spool.name).unlink()


def _comma(number: int) -> bytes:
    return b"\n" if number == 1 else b",\n"


def mask_of(segmentation: Any, height: int, width: int) -> Rle:
    """The mask of a COCO segmentation, by pycocotools, as `COCO.annToRLE` has it.

    Args:
        segmentation: polygons, or run lengths, compressed or not; sound (see `rle.unsound`).
        height: of the image, px.
        width: of the image, px.
    """
    if isinstance(segmentation, list):
        return rasterise(segmentation, height, width)
    counts = segmentation["counts"]
    if isinstance(counts, list):
        return compress(counts, height, width)
    return {"size": [height, width], "counts": counts.encode()}
