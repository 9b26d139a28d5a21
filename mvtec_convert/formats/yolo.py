"""Ultralytics YOLO: detect, segment and obb.

    data.yaml
    images/{train,val}/<name>.png
    labels/{train,val}/<name>.txt       one row a region; empty for a good image

detect   `class x_center y_center width height`
segment  `class x1 y1 x2 y2 ...`
obb      `class x1 y1 x2 y2 x3 y3 x4 y4`

All coordinates are shares of the image's width and height. Sources: docs.ultralytics.com/datasets/detect, /segment and
/obb, and `ultralytics/data/utils.py` (`verify_image_label`, `polygon2mask`), `ultralytics/data/dataset.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt
import shapely
import yaml
from pydantic import ValidationError

from mvtec_convert import checks
from mvtec_convert.dataset import SPLIT_NAMES
from mvtec_convert.errors import SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.polygons import Ring, oriented_box, pixel_ring
from mvtec_convert.regions import AnnotatedImage, Region
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.yolo import BoxRow, DataYaml, PolygonRow

Task = Literal["detect", "segment", "obb"]
Points = npt.NDArray[np.float64]

DATA_FILE = "data.yaml"
RESAMPLED_POINTS = 1000  # `segment_resamples` in ultralytics/data/dataset.py
SMALLEST_SIDE = 10  # px; `verify_image_label` drops smaller images
TOLERANCE = 0.05  # px; six decimals of an image of 16,384 px are 0.01 px


@dataclass(frozen=True, slots=True)
class Yolo:
    """Options of the format.

    Attributes:
        task: `detect` upright boxes, `segment` polygons, `obb` rotated boxes.
    """

    name: ClassVar[str] = "yolo"
    task: Task = "detect"

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        if self.task == "segment":
            return "masks, by cv2.fillPoly as Ultralytics calls it"
        return (
            "boxes, as Ultralytics reads them" if self.task == "detect" else "corners, as Ultralytics reads them"
        )

    def image_path(self, item: Item) -> str:
        """`images/<split>/<name>.<suffix>`."""
        return f"images/{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """Ultralytics wants a train and a val (or test) split."""
        filled = {item.split for item in plan.items}
        if "train" not in filled or len(filled) < 2:
            raise SelectionError(
                f"YOLO needs images in train and in val; this selection fills only {', '.join(sorted(filled))}",
                hint="select more images, keep the good ones with --background all, or use --split supervised",
            )

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """One row a region."""
        size = np.array([image.width, image.height], np.float64)
        coordinates = [self._coordinates(region, image) / size for region in image.regions]
        rows = tuple(f"{item.class_id} {_numbers(values)}".encode() for values in coordinates)
        return Encoded(item, image.width, image.height, rows, tuple(self._read_back(rows, image)))

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """Label files, then data.yaml."""
        for split in plan.split_names:
            (out / "labels" / split).mkdir(parents=True)
        for image in encoded:
            # A reader drops a row that is there twice; two regions of one image can share a box.
            rows = dict.fromkeys(image.rows)
            path = out / "labels" / image.item.split / f"{image.item.name}.txt"
            path.write_bytes(b"".join(row + b"\n" for row in rows))
        self._write_data_yaml(out, plan)

    def next_step(self, out: Path) -> str:
        """Ultralytics' own command line."""
        suffix = {"detect": "", "segment": "-seg", "obb": "-obb"}[self.task]
        imgsz = " imgsz=1024" if self.task == "segment" else ""
        return f"yolo {self.task} train model=yolo11n{suffix}.pt data={out / DATA_FILE}{imgsz}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """A `data.yaml`, or `images` and `labels` side by side."""
        return _data_yaml(folder) is not None or all((folder / part).is_dir() for part in ("images", "labels"))

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """See the findings' codes in docs/findings.md."""
        yield from _check(folder)

    def _coordinates(self, region: Region, image: AnnotatedImage) -> Points:
        """What the row says, in px, shape (points, 2); for `detect` the centre, then the size."""
        if self.task == "segment":
            return _label_points(pixel_ring(region), region, image)
        if self.task == "obb":
            return oriented_box(region, image.height, image.width)
        x, y, width, height = region.bbox
        return np.array([[x + width / 2, y + height / 2], [width, height]])

    def _read_back(self, rows: Sequence[bytes], image: AnnotatedImage) -> list[float]:
        size = np.array([image.width, image.height], np.float32)
        read = [np.array(row.split()[1:], np.float32).reshape(-1, 2) for row in rows]
        if self.task == "segment":
            return [
                _fill_iou(points * size, region) for points, region in zip(_resampled(read), image.regions, strict=True)
            ]
        if self.task == "obb":
            wanted = (oriented_box(region, image.height, image.width) for region in image.regions)
            return [_corner_iou(points * size, corners) for points, corners in zip(read, wanted, strict=True)]
        return [_box_iou(values * size, region) for values, region in zip(read, image.regions, strict=True)]

    def _write_data_yaml(self, out: Path, plan: Plan) -> None:
        splits: dict[str, str] = {name: f"images/{name}" for name in plan.split_names}
        # Both keys are required; MVTec's own split has no val. No `path`: the folder can then be moved.
        document: dict[str, Any] = {"train": splits["train"], "val": splits.get("val", splits.get("test"))}
        document |= splits
        document["names"] = dict(enumerate(plan.labels.names))
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
        (out / DATA_FILE).write_text(text, encoding="utf-8", newline="\n")


FORMAT = Yolo


# --- writing ---------------------------------------------------------------------------------------------------------


def _numbers(values: Points) -> str:
    return " ".join(f"{value:.6f}" for value in np.clip(values, 0, 1).ravel().tolist())


def _label_points(ring: Ring, region: Region, image: AnnotatedImage) -> Points:
    """The ring through the pixels' centres, made proof against how Ultralytics reads it; px, shape (points, 2).

    The reader resamples the ring, then cuts the decimals off. So a step across a corner gets one more point well
    inside the next pixel: no sample then falls on the corner itself, where the cut may go either way. And on each side
    of the region one point goes out to the pixel's edge and back, since the reader takes the box from the points.
    """
    points = ring + 0.5
    steps = np.roll(ring, -1, axis=0) - ring
    across = (np.abs(steps) == 1).all(axis=1)
    beyond = points + steps * 1.118
    spurs = _edge_points(ring, region, np.array([image.width, image.height]))
    full: list[npt.NDArray[np.float64]] = []
    for i in range(len(ring)):
        full.append(points[i])
        for spur in spurs.get(i, ()):
            full += [spur, points[i]]
        if across[i]:
            full.append(beyond[i])
    return np.array(full)


def _edge_points(ring: Ring, region: Region, size: npt.NDArray[np.int64]) -> dict[int, list[Points]]:
    """For the first ring point on each of the region's four sides: its index, and a point just inside that edge."""
    low = np.array([region.x, region.y])
    high = low + (region.width, region.height)
    inside = 0.002 + size * 1e-6  # px; stays within the pixel when rounded to six decimals of the image's size
    found: dict[int, list[Points]] = {}
    for axis in (0, 1):
        for at, edge in ((low[axis], low[axis] + inside[axis]), (high[axis] - 1, high[axis] - inside[axis])):
            index = int(np.argmax(ring[:, axis] == at))
            spur = ring[index] + 0.5
            spur[axis] = edge
            found.setdefault(index, []).append(spur)
    return found


# --- reading back, as Ultralytics does -------------------------------------------------------------------------------


def _resampled(segments: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """What `resample_segments` makes of an image's polygons: 1,000 points each, the original ones among them."""
    count = max([RESAMPLED_POINTS, *(len(segment) + 1 for segment in segments)])
    resampled = []
    for segment in segments:
        closed = np.concatenate([segment, segment[:1]])
        at = np.linspace(0, len(closed) - 1, count - len(closed) if len(closed) < count else count)
        whole = np.arange(len(closed))
        if len(closed) < count:
            at = np.insert(at, np.searchsorted(at, whole), whole)
        resampled.append(
            np.stack([np.interp(at, whole, closed[:, axis]) for axis in (0, 1)], axis=1).astype(np.float32)
        )
    return resampled


def _fill_iou(points: npt.NDArray[np.float32], region: Region) -> float:
    """IoU of the polygon, filled as `polygon2mask` fills it, with the region."""
    cut = points.astype(np.int32)
    low = np.minimum(cut.min(axis=0), (region.x, region.y))
    high = np.maximum(cut.max(axis=0) + 1, (region.x + region.width, region.y + region.height))
    filled = np.zeros((high - low)[::-1], np.uint8)
    cv2.fillPoly(filled, [cut - low], color=1)
    truth = np.zeros_like(filled)
    left, top = (region.x, region.y) - low
    truth[top : top + region.height, left : left + region.width] = region.crop
    return float(np.count_nonzero(filled & truth) / np.count_nonzero(filled | truth))


def _box_iou(values: npt.NDArray[np.float32], region: Region) -> float:
    low, high = values[0] - values[1] / 2, values[0] + values[1] / 2
    read = np.concatenate([low, high])
    truth = np.array([region.x, region.y, region.x + region.width, region.y + region.height])
    if (np.abs(read - truth) < TOLERANCE).all():
        return 1.0
    return _polygon_iou(shapely.box(*read.tolist()), shapely.box(*truth.tolist()))


def _corner_iou(read: npt.NDArray[np.float32], corners: Points) -> float:
    if (np.abs(read - corners) < TOLERANCE).all():
        return 1.0
    return _polygon_iou(shapely.Polygon(read), shapely.Polygon(corners))


def _polygon_iou(a: shapely.Polygon, b: shapely.Polygon) -> float:
    return float(a.intersection(b).area / a.union(b).area)


# --- checking --------------------------------------------------------------------------------------------------------


def _data_yaml(folder: Path) -> Path | None:
    preferred = [path for name in (DATA_FILE, "dataset.yaml", "data.yml") if (path := folder / name).is_file()]
    return next(iter([*preferred, *sorted(folder.glob("*.y*ml"))]), None) if folder.is_dir() else None


def _check(folder: Path) -> Iterator[Finding]:
    path = _data_yaml(folder)
    if path is None:
        hint = "write one with train, val and names"
        yield Finding("no-data-yaml", "no data.yaml, so no trainer can start", str(folder), hint=hint)
        data = None
    else:
        data, found = _read_data_yaml(path)
        yield from found
    splits = _split_folders(folder, data)
    names = data.names_by_id() if data else None
    images_by_split: dict[str, list[Path]] = {}
    for split, (source, images_folder) in splits.items():
        if not images_folder.is_dir():
            where = str(path or folder)
            yield Finding("no-split-folder", f"{split}: no folder {source}", where, hint="put the images there")
            continue
        images = checks.images_below(images_folder)
        images_by_split.setdefault(str(images_folder.resolve()), images)
        yield from _check_split(split, images_folder, images, names)
    yield from checks.shared_images({Path(name).name: images for name, images in images_by_split.items()})


def _read_data_yaml(path: Path) -> tuple[DataYaml | None, list[Finding]]:
    def wrong(code: str, message: str, hint: str | None = None) -> Finding:
        return Finding(code, message, str(path), hint=hint)

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        data = DataYaml.model_validate(document)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        return None, [wrong("bad-yaml", " ".join(f"cannot be read: {error}".split()))]
    except ValidationError as error:
        return None, [wrong("schema", problem) for problem in problems(error)]
    findings = []
    names = data.names_by_id()
    if sorted(names) != list(range(len(names))):
        findings.append(wrong("class-ids", f"class ids must run from 0 to {len(names) - 1}, not {sorted(names)[:10]}"))
    if data.nc is not None and data.nc != len(names):
        findings.append(wrong("class-count", f"nc is {data.nc}, but there are {len(names)} names"))
    repeated = [name for name, count in Counter(names.values()).items() if count > 1]
    if repeated:
        findings.append(wrong("class-names", f"names given twice: {', '.join(repeated)}"))
    return data, findings


def _split_folders(folder: Path, data: DataYaml | None) -> dict[str, tuple[str, Path]]:
    """(as written, resolved) images folder by split; without a readable data.yaml, the usual ones that exist."""
    if data is None:
        usual = {split: f"images/{split}" for split in SPLIT_NAMES if (folder / "images" / split).is_dir()}
        return {split: (source, folder / source) for split, source in usual.items()}
    root = folder / data.path if data.path else folder
    if data.path and not root.is_dir():
        root = folder  # where another machine's path is written, what lies beside the file is meant
    found: dict[str, tuple[str, Path]] = {}
    for split in SPLIT_NAMES:
        value: str | list[str] | None = getattr(data, split)
        for i, source in enumerate([value] if isinstance(value, str) else value or []):
            found[split if i == 0 else f"{split}[{i}]"] = (source, root / source)
    return found


def _check_split(split: str, folder: Path, images: list[Path], names: dict[int, str] | None) -> Iterator[Finding]:
    if not images:
        yield Finding("empty-split", f"{split} has no image", str(folder))
        return
    labels_folder = _labels_folder(folder)
    for cache in sorted({*labels_folder.glob("*.cache"), *labels_folder.parent.glob(f"{labels_folder.name}.cache")}):
        hint = "delete it; the trainer writes a new one"
        yield Finding("stale-cache", "a label cache may hide changed labels", str(cache), severity="warning", hint=hint)
    boxes: Counter[int] = Counter()
    labels = {path.stem: path for path in labels_folder.rglob("*.txt")} if labels_folder.is_dir() else {}
    for image in images:
        yield from checks.image(image, smallest_side=SMALLEST_SIDE)
        label = labels.pop(image.stem, None)
        if label is not None:
            yield from _check_labels(label, names, boxes)
    for label in sorted(labels.values()):
        yield Finding("orphan-label", f"labels without an image in {folder.name}", str(label), hint="add the image")
    if not boxes:
        yield Finding("no-boxes", f"{split} has no box at all", str(labels_folder), severity="warning")
    elif names and split == "train":
        for class_id in sorted(set(names) - set(boxes)):
            message = f"{split} has no box of class {class_id} ({names[class_id]})"
            yield Finding("unused-class", message, str(labels_folder), severity="warning")


def _labels_folder(images: Path) -> Path:
    """The folder that `img2label_paths` looks in: the last `images` of the path becomes `labels`."""
    parts = list(images.parts)
    for i in reversed(range(len(parts))):
        if parts[i] == "images":
            return Path(*parts[:i], "labels", *parts[i + 1 :])
    return images


def _check_labels(path: Path, names: dict[int, str] | None, boxes: Counter[int]) -> Iterator[Finding]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        yield Finding("bad-label-file", f"cannot be read: {error}", str(path))
        return
    rows = [(number, line.split()) for number, line in enumerate(lines, start=1) if line.strip()]
    if len({len(row) > 6 for _, row in rows}) > 1:
        hint = "keep one kind a file"
        yield Finding(
            "mixed-rows", "boxes and polygons in one file: all would be read as polygons", str(path), hint=hint
        )
    seen: dict[tuple[str, ...], int] = {}
    for number, row in rows:
        first = seen.setdefault(tuple(row), number)
        if first != number:
            message = f"the same row as line {first}; the trainer drops it"
            yield Finding("duplicate-row", message, str(path), number, "warning")
        class_id, findings = _check_row(row, names)
        yield from (Finding(code, message, str(path), number) for code, message in findings)
        if class_id is not None:
            boxes[class_id] += 1


def _check_row(row: list[str], names: dict[int, str] | None) -> tuple[int | None, list[tuple[str, str]]]:
    """(class id or None, (code, message) of everything wrong) of one row."""
    try:
        class_id, values = int(row[0]), [float(token) for token in row[1:]]
    except ValueError:
        return None, [("not-a-number", f"not a class id and numbers: {' '.join(row)[:60]}")]
    try:
        if len(values) == 4:
            BoxRow.model_validate(dict(zip(BoxRow.model_fields, [class_id, *values], strict=True)))
        elif len(values) < 6 or len(values) % 2:
            return class_id, [("row-length", f"{len(row)} numbers; a box has 5, a polygon 7 or more, an odd number")]
        else:
            PolygonRow(class_id=class_id, points=list(zip(values[::2], values[1::2], strict=True)))
    except ValidationError as error:
        return class_id, [("schema", problem) for problem in problems(error)[:3]]
    if names is not None and class_id not in names:
        return class_id, [("unknown-class", f"class {class_id}, but data.yaml names 0 to {len(names) - 1}")]
    if len(values) == 4:
        (x, y), (width, height) = values[:2], values[2:]
        if min(x - width / 2, y - height / 2) < -1e-5 or max(x + width / 2, y + height / 2) > 1 + 1e-5:
            return class_id, [("outside-image", "the box reaches outside the image")]
    elif len(set(values[::2])) == 1 or len(set(values[1::2])) == 1:
        return class_id, [("empty-polygon", "the polygon has no extent in one direction")]
    return class_id, []
