"""How much of each defect survives: contour points, as most converters write them, against this tool's polygons.

    python benchmarks/fidelity.py ROOT

Reads every mask below ROOT, writes each region both ways, reads it back as the trainer does, and prints one table:
pycocotools' rasteriser for COCO, cv2.fillPoly on numbers cut to integers for YOLO segment.
"""

import sys
from collections.abc import Callable

import cv2
import numpy as np

import mvtec_convert as mc
from mvtec_convert.formats.coco import Coco
from mvtec_convert.formats.yolo import Yolo
from mvtec_convert.geometry.regions import AnnotatedImage, Region, annotate
from mvtec_convert.geometry.rle import intersection_over_union, rasterise, run_lengths
from mvtec_convert.plan import Item, PlanOptions, make_plan
from mvtec_convert.tables import Table, markdown


def contour_points(region: Region) -> list[np.ndarray]:
    """The outer contours of a region as cv2.findContours gives them, holes filled: shape (points, 2), px."""
    contours, _ = cv2.findContours(region.crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [contour.reshape(-1, 2) + (region.x, region.y) for contour in contours]


def plain_coco(image: AnnotatedImage) -> list[float]:
    """IoU of each region's contour points under pycocotools; 0 for what is dropped for having under three points."""
    ious = []
    for region in image.regions:
        polygons = [points.ravel().tolist() for points in contour_points(region) if len(points) > 2]
        truth = run_lengths(region, image.height, image.width)
        read = rasterise(polygons, image.height, image.width) if polygons else None
        ious.append(intersection_over_union(read, truth) if read else 0.0)
    return ious


def plain_yolo(image: AnnotatedImage) -> list[float]:
    """IoU of each region's contour points under cv2.fillPoly, written as shares with six decimals."""
    size = np.array([image.width, image.height])
    ious = []
    for region in image.regions:
        read = np.zeros((image.height, image.width), np.uint8)
        for points in contour_points(region):
            shares = np.array([float(f"{value:.6f}") for value in (points / size).ravel()], np.float32).reshape(-1, 2)
            cv2.fillPoly(read, [(shares * size.astype(np.float32)).astype(np.int32)], color=1)
        truth = AnnotatedImage(image.sample, image.width, image.height, (region,)).mask()
        ious.append(float((read & truth).sum() / (read | truth).sum()))
    return ious


def main(root: str) -> None:
    """Measure and print."""
    dataset = mc.load(root)
    plan = make_plan(dataset, PlanOptions(split="official"))
    labels = plan.labels
    contenders: dict[str, tuple[str, Callable[[AnnotatedImage, Item], list[float] | tuple[float, ...]]]] = {
        "COCO, contour points": ("pycocotools", lambda image, item: plain_coco(image)),
        "COCO, mvtec-convert": ("pycocotools", lambda image, item: Coco().encode(item, image, labels).ious),
        "YOLO segment, contour points": ("cv2.fillPoly", lambda image, item: plain_yolo(image)),
        "YOLO segment, mvtec-convert": (
            "cv2.fillPoly",
            lambda image, item: Yolo("segment").encode(item, image, labels).ious,
        ),
    }
    ious: dict[str, list[float]] = {name: [] for name in contenders}
    for item in plan.items:
        if not item.sample.is_good:
            image = annotate(item.sample)
            for name, (_, read_back) in contenders.items():
                ious[name].extend(read_back(image, item))
    rows = tuple(
        (name, judge, f"{sum(iou == 1 for iou in ious[name])} of {len(ious[name])}",
         f"{np.mean(ious[name]):.4f}", f"{min(ious[name]):.4f}")
        for name, (judge, _) in contenders.items()
    )  # fmt: skip
    numeric = frozenset({"regions exact", "mean IoU", "lowest IoU"})
    print(markdown(Table(("written as", "read by", "regions exact", "mean IoU", "lowest IoU"), rows, numeric)))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__))
