"""COCO files, for every format that is built on them: written as a stream, and read back by pycocotools."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import orjson

import mvtec_convert
from mvtec_convert.geometry.borders import Ring
from mvtec_convert.geometry.polygons import keyhole_polygons_of, simplify
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.geometry.rle import Rle, compress, decompress, intersection_over_union, rasterise, run_lengths
from mvtec_convert.plan import Item, Plan

JUDGE = "masks, by pycocotools"
"""Who reads the masks back."""

Segmentation: TypeAlias = Literal["polygon", "rle", "rle-uncompressed"]


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


def categories(plan: Plan, first_id: int = 1, by_phrase: bool = False) -> list[dict[str, Any]]:
    """The classes as COCO's categories.

    Args:
        plan: of the export.
        first_id: id of the first one; the others follow without gaps.
        by_phrase: name them by their phrase, for readers that prompt with the name, not by the class name.
    """
    return [
        {
            "id": label.id + first_id,
            "name": plan.phrases.of_class(label)[0] if by_phrase else label.name,
            "supercategory": label.members[0][0] if len({c for c, _ in label.members}) == 1 else "defect",
        }
        for label in plan.labels.classes
    ]


def segmentations(image: AnnotatedImage, form: Segmentation = "polygon", iou: float | None = None) -> list[Any]:
    """Each region as COCO has it: polygons, the numbers of each an array, or run lengths.

    Args:
        image: the image with its regions.
        form: `polygon`, `rle` (compressed, a string) or `rle-uncompressed` (a list of counts).
        iou: lowest IoU with the mask that a polygon of fewer points may have; None keeps it exact.
    """
    if form != "polygon":
        return [_runs(run_lengths(region, image.height, image.width), form) for region in image.regions]
    if iou is None:
        polygons: Iterable[list[Ring]] = keyhole_polygons_of(image.regions)
    else:
        polygons = (simplify(region, iou) for region in image.regions)
    return [[ring.ravel() for ring in rings] for rings in polygons]


def _runs(rle: Rle, form: Segmentation) -> dict[str, Any]:
    return {"size": rle["size"], "counts": rle["counts"].decode() if form == "rle" else decompress(rle)}


def instances(item: Item, image: AnnotatedImage, masks: Iterable[Any], first_id: int = 1) -> tuple[bytes, ...]:
    """One annotation a region, as JSON, without `id` and `image_id`: these follow from what comes before.

    Args:
        item: which image; it knows the class of each region.
        image: the image with its regions; boxes are `x, y, width, height` in px, areas numbers of mask pixels.
        masks: what `segmentations` makes of the regions.
        first_id: id of the first category.
    """
    return tuple(
        orjson.dumps(
            {
                "category_id": item.class_of(region).id + first_id,
                "bbox": region.bbox,
                "area": region.area,
                "iscrowd": 0,
                "segmentation": mask,
            },
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        for region, mask in zip(image.regions, masks, strict=True)
    )


def fidelity(masks: Iterable[Any], image: AnnotatedImage) -> tuple[float, ...]:
    """For each region, the IoU of what pycocotools makes of its segmentation with the region itself."""
    return tuple(
        intersection_over_union(
            mask_of(mask, image.height, image.width), run_lengths(region, image.height, image.width)
        )
        for mask, region in zip(masks, image.regions, strict=True)
    )


def _comma(number: int) -> bytes:
    return b"\n" if number == 1 else b",\n"


def mask_of(segmentation: Any, height: int, width: int) -> Rle:
    """The mask of a COCO segmentation, by pycocotools, as `COCO.annToRLE` has it.

    Args:
        segmentation: polygons, quickest as arrays, or run lengths, compressed or not; sound (see `rle.unsound`).
        height: of the image, px.
        width: of the image, px.
    """
    if isinstance(segmentation, list):
        return rasterise(segmentation, height, width)
    counts = segmentation["counts"]
    if isinstance(counts, list):
        return compress(counts, height, width)
    return {"size": [height, width], "counts": counts.encode()}
