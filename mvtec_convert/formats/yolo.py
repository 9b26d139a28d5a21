"""Ultralytics YOLO: detect, segment and obb.

    data.yaml
    images/{train,val}/<name>.png
    labels/{train,val}/<name>.txt       one row a region; empty for a good image

and, for YOLO-World, what `mvtec_convert.world_files` says.

detect   `class x_center y_center width height`
segment  `class x1 y1 x2 y2 ...`
obb      `class x1 y1 x2 y2 x3 y3 x4 y4`

All coordinates are shares of the image's width and height. Sources: docs.ultralytics.com/datasets/detect, /segment and
/obb, and `ultralytics/data/utils.py` (`verify_image_label`, `polygon2mask`), `ultralytics/data/dataset.py`.
"""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt
import yaml
from pydantic import ValidationError

from mvtec_convert import checks, world_files
from mvtec_convert.checks import Paths
from mvtec_convert.dataset import SPLIT_NAMES
from mvtec_convert.errors import ExportError, SelectionError
from mvtec_convert.findings import Finding, Severity
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.borders import Ring
from mvtec_convert.geometry.images import image_size
from mvtec_convert.geometry.polygons import oriented_box, pixel_ring
from mvtec_convert.geometry.regions import AnnotatedImage, Region
from mvtec_convert.labelled import LabelledImage, LabelledObject, bounded, key_of, whole_region
from mvtec_convert.labels import LabelMap
from mvtec_convert.opening import read_file
from mvtec_convert.plan import Item, Plan
from mvtec_convert.runs.publish import load_manifest
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.yolo import BoxRow, DataYaml, PolygonRow
from mvtec_convert.yaml_checks import MOST_YAML, open_yaml

if TYPE_CHECKING:
    import shapely

Task = Literal["detect", "segment", "obb"]
Points = npt.NDArray[np.float64]

DATA_FILE = "data.yaml"
TRAIN_LIST = "train.txt"
RESAMPLED_POINTS = 1000  # `segment_resamples` in ultralytics/data/dataset.py
SMALLEST_SIDE = 10  # px; `verify_image_label` drops smaller images
NOT_LABELS = {"classes.txt", "labels.txt", "obj.names.txt", "readme.txt"}  # what annotation tools write beside labels
BORDER = 0.01  # share of the image; as far beyond [0, 1] as `verify_image_label` lets coordinates go
ROW_HINT = "a row is `class x_center y_center width height` or `class x1 y1 x2 y2 x3 y3 ...`, in shares of the image"
TOLERANCE = 0.05  # px; six decimals of an image of 16,384 px are 0.01 px


@dataclass(frozen=True, slots=True)
class Yolo:
    """Options of the format.

    Attributes:
        task: `detect` upright boxes, `segment` polygons, `obb` rotated boxes.
        world: add what YOLO-World reads, which has no rotated boxes.
    """

    name: ClassVar[str] = "yolo"
    task: Task = "detect"
    world: bool = False

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        if self.task == "segment":
            return "masks, by cv2.fillPoly as Ultralytics calls it"
        return "boxes, as Ultralytics reads them" if self.task == "detect" else "corners, as Ultralytics reads them"

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

        if self.world:
            if self.task == "obb":
                raise SelectionError("YOLO-World has no rotated boxes", hint="use --task detect or --task segment")
            world_files.refuse(plan)

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """One row a region; for YOLO-World, then the caption and as many annotations."""
        size = np.array([image.width, image.height], np.float64)
        coordinates = [self._coordinates(region, image) / size for region in image.regions]
        ids = [item.class_of(region).id for region in image.regions]
        rows = tuple(f"{i} {_numbers(values)}".encode() for i, values in zip(ids, coordinates, strict=True))
        ious = tuple(self._read_back(rows, image))
        if self.world:
            outlines = [_label_points(pixel_ring(region), region, image) for region in image.regions]
            rows += world_files.grounding_rows(item, image, outlines)
        return Encoded(item, image.width, image.height, image.defect_types, rows, ious)

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """data.yaml, then label files."""
        for split in plan.split_names:
            (out / "labels" / split).mkdir(parents=True)
        document = self._data_yaml(plan)
        world_files.save_yaml(document, out / DATA_FILE)
        with world_files.WorldWriter(out, plan, document) if self.world else nullcontext() as world:
            for image in encoded:
                # A reader drops a row that is there twice; two regions of one image can share a box.
                rows = dict.fromkeys(image.rows[: image.regions])
                path = out / "labels" / image.item.split / f"{image.item.name}.txt"
                path.write_bytes(b"".join(row + b"\n" for row in rows))
                if world is not None:
                    world.add(image, image.rows[image.regions :])

    def repeat(self, out: Path, repeats: Sequence[tuple[Item, int]]) -> None:
        """A list of images in place of their folder; a line that begins with `./` starts where the list lies."""
        lines = (f"./{self.image_path(item)}\n" * times for item, times in repeats)
        (out / TRAIN_LIST).write_text("".join(lines), encoding="utf-8", newline="\n")
        for path in (out / DATA_FILE, out / world_files.DATA_FILE):
            if path.exists():
                world_files.save_yaml({**yaml.safe_load(path.read_text(encoding="utf-8")), "train": TRAIN_LIST}, path)

    def next_step(self, out: Path) -> str:
        """Ultralytics' own command line."""
        if self.world:
            data = shlex.quote(str(out / world_files.DATA_FILE))
            return f"yolo detect train model=yolov8s-worldv2.pt data={data}"
        suffix = {"detect": "", "segment": "-seg", "obb": "-obb"}[self.task]
        imgsz = " imgsz=1024" if self.task == "segment" else ""
        return f"yolo {self.task} train model=yolo11n{suffix}.pt data={shlex.quote(str(out / DATA_FILE))}{imgsz}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """A `data.yaml`, or `images` and `labels` side by side."""
        return _data_yaml(folder) is not None or all((folder / part).is_dir() for part in ("images", "labels"))

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder, or the one that a data.yaml lies in; docs/findings.md explains the codes."""
        root = folder if folder.is_dir() else folder.parent
        yield from checks.limited(chain(_check(folder), world_files.check(root)))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Masks by `cv2.fillPoly` as Ultralytics calls it, at the image's own size; boxes as rows state them."""
        yield from _Reader(folder)

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """Of data.yaml; without it `class_0`, `class_1` and so on, as many as labels have."""
        reader = _Reader(folder)
        if reader.names is not None:
            return tuple(name for _, name in sorted(reader.names.items()))
        return tuple(f"class_{i}" for i in range(max(reader.ids(), default=-1) + 1))

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

    def _data_yaml(self, plan: Plan) -> dict[str, Any]:
        splits: dict[str, str] = {name: f"images/{name}" for name in plan.split_names}
        # Both keys are required; MVTec's own split has no val. No `path`: the folder can then be moved.
        document: dict[str, Any] = {"train": splits["train"], "val": splits.get("val", splits.get("test"))}
        document |= splits
        document["names"] = dict(enumerate(plan.labels.names))
        return document


FORMAT = Yolo
READERS = "Ultralytics' YOLO and YOLO-World"


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
    import shapely  # takes a while, and is hardly ever needed

    return _polygon_iou(shapely.box(*read.tolist()), shapely.box(*truth.tolist()))


def _corner_iou(read: npt.NDArray[np.float32], corners: Points) -> float:
    if (np.abs(read - corners) < TOLERANCE).all():
        return 1.0
    import shapely

    return _polygon_iou(shapely.Polygon(read), shapely.Polygon(corners))


def _polygon_iou(a: shapely.Polygon, b: shapely.Polygon) -> float:
    return float(a.intersection(b).area / a.union(b).area)


# --- reading ---------------------------------------------------------------------------------------------------------

MOST_LIST = 1 << 28
"""Bytes of a list of images."""

MOST_LABELS = 1 << 24
"""Bytes of one image's labels."""

FILES_ASKED = 20  # label files that tell rotated boxes from polygons, where no manifest does
MOST_CLASSES = 100_000  # where nothing names them; as many as `nc` may say
MOST_POINTS = 2**24  # of all polygons of an image; the reader gives each as many as the longest has
MOST_CROSSED = 2e9
"""Of all polygons of an image, the sum over the rows of pixels of the square of how many edges cross each: what the
time of `cv2.fillPoly` grows with, to ten seconds here. A checkerboard of 1,024 x 1,024 px comes to half of it."""
UNREADABLE = {"row-length", "unknown-class", "out-of-range"}
"""Codes of what makes Ultralytics drop a whole image."""


class _Reader:
    """A dataset folder, or the one that a data.yaml lies in, opened for reading.

    Attributes:
        names: class names by id; None where nothing names them.
        images: image files by split.
    """

    def __init__(self, folder: Path) -> None:
        path = _data_yaml(folder)
        self._root = folder if folder.is_dir() else folder.parent
        data, found = (None, []) if path is None else _read_data_yaml(path)
        if path is not None and data is None:
            raise checks.refusal(found[0])
        self.names = (data.names_by_id() if data else None) or None
        self.images = checks.sound(_images_by_split(self._root, path, data), {"no-split-folder", "empty-split"})
        if not self.images:
            hint = "give the dataset's top folder, or mend train and val in data.yaml"
            raise ExportError("no image is found", path=folder, hint=hint)

    def __iter__(self) -> Iterator[LabelledImage]:
        is_obb = self._is_obb()
        for split, images in self.images.items():
            for path in images:
                width, height = image_size(path)
                objects = bounded(self._objects(path, width, height, is_obb), _label_of(path, self._root))
                yield LabelledImage(path, key_of(path, self._root), path.stem, split, width, height, objects)

    def ids(self) -> set[int]:
        """The class ids of all labels."""
        paths = (path for images in self.images.values() for path in images)
        return {int(values[0]) for path in paths for values in self._rows(path)}

    def _rows(self, image: Path) -> list[list[float]]:
        """The labels of an image, each once, as the trainer keeps them; none where there is no file."""
        path = _label_of(image, self._root)
        if checks.is_no_file(path):
            raise checks.refusal(_no_labels(path))
        if not checks.is_file(path):
            return []
        kept: dict[tuple[float, ...], list[float]] = {}
        for number, values in checks.sound(_read_labels(path)):
            for code, message in _wrong_row(values, self.names):
                if code in UNREADABLE:
                    raise checks.refusal(Finding(code, message, str(path), number, hint=ROW_HINT))
            if values[0] >= MOST_CLASSES:
                message = f"class {values[0]:g}, but there are {MOST_CLASSES:,} classes at most"
                raise checks.refusal(Finding("unknown-class", message, str(path), number, hint=ROW_HINT))
            kept.setdefault(_as_read(values), values)
        return list(kept.values())

    def _is_obb(self) -> bool:
        """Whether four corners are a rotated box, and not a polygon: the manifest says so, else all rows have four."""
        try:
            options = load_manifest(self._root).get("options")
        except ExportError:
            labelled = filter(None, (self._rows(path) for images in self.images.values() for path in images))
            asked = [len(values) for rows in islice(labelled, FILES_ASKED) for values in rows]
            return bool(asked) and set(asked) == {9}
        return isinstance(options, dict) and options.get("task") == "obb"

    def _objects(self, image: Path, width: int, height: int, is_obb: bool) -> Iterator[LabelledObject]:
        size = np.array([width, height], np.float32)
        rows = self._rows(image)
        shares = [np.array(values[1:], np.float32).reshape(-1, 2) for values in rows]
        filled: Sequence[npt.NDArray[np.float32] | None] = [None] * len(rows)
        if not is_obb and max(map(len, shares), default=0) > 2:
            filled = _dense(shares, size, _label_of(image, self._root))
        for values, points, dense in zip(rows, shares, filled, strict=True):
            class_id = int(values[0])
            corners = points.astype(np.float64) * size
            is_box = len(corners) == 2
            if is_box:
                corners = np.array([corners[0] - corners[1] / 2, corners[0] + corners[1] / 2])
            (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
            yield LabelledObject(
                class_name=self.names[class_id] if self.names else f"class_{class_id}",
                box=(x0, y0, x1, y1),
                region=None if dense is None else _filled(dense, width, height),
                outlines=() if is_box else (corners,),
            )


def _dense(
    shares: Sequence[npt.NDArray[np.float32]], size: npt.NDArray[np.float32], path: Path
) -> list[npt.NDArray[np.float32]]:
    """The polygons of an image, px, with as many points as the trainer fills.

    Raises:
        ExportError: that would take all of the memory, or minutes; names `path`, the file they are from.
    """
    longest = max(map(len, shares))
    hint = "draw them with fewer points"
    if max(longest, RESAMPLED_POINTS) * len(shares) > MOST_POINTS:
        message = f"{len(shares)} polygons, one of {longest} points: the trainer makes too many points of them"
        raise ExportError(message, path=path, hint=hint)
    polygons = [points * size for points in _resampled(shares)]
    if sum(_crossed(points[:, 1].astype(np.int64)) for points in polygons) > MOST_CROSSED:
        message = "polygons whose edges cross each other more often than can be filled in a few seconds"
        raise ExportError(message, path=path, hint=hint)
    return polygons


def _crossed(rows: npt.NDArray[np.int64]) -> float:
    """How many edges of a polygon cross a row of pixels, squared, over all rows; given is the row of each corner."""
    before = np.roll(rows, 1)
    begin, end = np.bincount(np.minimum(rows, before)), np.bincount(np.maximum(rows, before))
    crossing = np.cumsum(np.pad(begin, (0, len(end) - len(begin))) - end).astype(np.float64)
    return float(crossing @ crossing)


def _filled(points: npt.NDArray[np.float32], width: int, height: int) -> Region | None:
    """The polygon, px, filled as `polygon2mask` fills it in an image of this size."""
    cut = points.astype(np.int32)
    low = np.minimum(cut.min(axis=0), (width - 1, height - 1))
    high = np.minimum(cut.max(axis=0) + 1, (width, height))
    canvas = np.zeros((high - low)[::-1], np.uint8)
    cv2.fillPoly(canvas, [cut - low], color=1)
    return whole_region(canvas, int(low[0]), int(low[1]))


# --- checking --------------------------------------------------------------------------------------------------------


def _data_yaml(folder: Path) -> Path | None:
    """The file that describes the dataset in `folder`, or `folder` itself where it is that file."""
    if checks.is_file(folder):
        return folder if folder.suffix in {".yaml", ".yml"} else None
    usual = [path for name in (DATA_FILE, "dataset.yaml", "data.yml") if checks.is_file(path := folder / name)]
    others = (path for path in sorted(folder.glob("*.y*ml")) if _says_names(path))
    return next(iter([*usual, *others]), None)


def _says_names(path: Path) -> bool:
    try:
        return re.search(rb"^(names|nc|train)\s*:", read_file(path, MOST_YAML), re.MULTILINE) is not None
    except OSError:
        return False


def _check(folder: Path) -> Iterator[Finding]:
    path = _data_yaml(folder)
    root = folder if folder.is_dir() else folder.parent
    data: DataYaml | None = None
    if path is None:
        hint = "write one with train, val and names"
        yield Finding("no-data-yaml", "no data.yaml, so no trainer can start", str(root), hint=hint)
    else:
        data, found = _read_data_yaml(path)
        yield from found
    names = (data.names_by_id() if data else None) or None
    images_by_split = yield from _images_by_split(root, path, data)
    owners: dict[str, str] = {}  # text takes a third of the memory
    for split, images in images_by_split.items():
        yield from _check_split(split, images, root, names, owners)
    yield from _orphans(root, owners)
    yield from checks.shared_images(images_by_split)


def _read_data_yaml(path: Path) -> tuple[DataYaml | None, list[Finding]]:
    file = open_yaml(path, "write train, val and names; see `mvtec-convert schema yolo`")
    if isinstance(file, Finding):
        return None, [file]
    try:
        data = DataYaml.model_validate(file.document)
    except ValidationError as error:
        return None, list(file.schema_findings(problems(error)))
    return data, [file.finding(*problem) for problem in _wrong_names(data)]


def _wrong_names(data: DataYaml) -> Iterator[tuple[str, str, str, Severity, str]]:
    """(code, message, key, severity, hint) of what is well formed but wrong in data.yaml."""
    names = data.names_by_id()
    if data.path:
        message = f"path is {data.path}: the dataset is looked for there, and cannot be moved"
        yield "yaml-path", message, "path", "warning", "remove path; train and val then start at this file's folder"
    if data.names is None and names:
        message = "no names: the classes will be called class_0, class_1, ..."
        yield "class-names", message, "nc", "warning", "write the classes' names"
    elif not names:
        yield "class-names", "neither names nor nc, so no trainer can start", "names", "error", "write names"
    if sorted(names) != list(range(len(names))):
        message = f"class ids must run from 0 to {len(names) - 1}, not {', '.join(map(str, sorted(names)[:10]))}"
        yield "class-ids", message, "names", "error", "number the names from 0, without gaps"
    if data.nc is not None and data.nc != len(names):
        yield "class-count", f"nc is {data.nc}, but there are {len(names)} names", "nc", "error", "remove nc"
    repeated = [name for name, count in Counter(names.values()).items() if count > 1]
    if repeated:
        message = f"names given to two classes: {', '.join(repeated[:10])}"
        yield "class-names", message, "names", "error", "give each class its own name"
    slashed = [name for name in names.values() if "/" in name]
    if slashed:
        message = f"a / in a name: YOLO-World reads {slashed[0]} as several names of one thing"
        yield "class-names", message, "names", "warning", "write another character"


def _images_by_split(
    root: Path, data_yaml: Path | None, data: DataYaml | None
) -> Generator[Finding, None, dict[str, Paths]]:
    """The images of each split that has some, each once; a list may repeat one, so that it is seen more often."""
    found: dict[str, Paths] = {}
    for split, sources in _sources(root, data):
        images: list[str] = []
        for source in sources:
            yield from _find_images(split, source, _place(source, root, data), root, data_yaml or root, images)
        if images:
            found[split] = Paths(list(dict.fromkeys(images)))
    if found.get("val") == found.get("test"):  # MVTec's own split has no val: its test serves as both
        found.pop("val", None)
    return found


def _sources(root: Path, data: DataYaml | None) -> Iterator[tuple[str, list[str]]]:
    """(split, sources as written); without a readable data.yaml, the usual folders that exist."""
    for split in SPLIT_NAMES:
        if data is None:
            usual = [f"images/{split}", f"{split}/images", *(["valid/images"] if split == "val" else [])]
            yield split, [source for source in usual if checks.is_folder(root / source)][:1]
        else:
            value: str | list[str] = getattr(data, split) or []
            yield split, [value] if isinstance(value, str) else value


def _find_images(
    split: str, source: str, place: Path | None, root: Path, data_yaml: Path, images: list[str]
) -> Iterator[Finding]:
    """Add the images of one source of a split to `images`."""
    known = len(images)
    if place is None:
        message = f"{split}: {source} leads out of the dataset, and was not checked"
        yield Finding("outside-folder", message, str(data_yaml), hint="write a path inside the folder")
    elif checks.is_folder(place):
        images += checks.images_below(place).texts
        if len(images) == known:
            yield Finding("empty-split", f"{split} has no image", str(place), hint="add its images")
        if place.resolve() != root.resolve() / place.relative_to(root):
            message = f"{split}: the folder is a link, and labels are looked for beside what it points to"
            yield Finding("linked-folder", message, str(place), hint="make a folder of it, and link the files in it")
    elif checks.is_file(place):
        yield from _read_list(place, root, images)
        if len(images) == known:
            yield Finding("empty-split", f"{split}: the list names no image", str(place), hint="add its images")
    else:
        hint = "put the images there, or mend the path"
        yield Finding("no-split-folder", f"{split}: no folder {source}", str(data_yaml), hint=hint)


def _place(source: str, root: Path, data: DataYaml | None) -> Path | None:
    """Where `check_det_dataset` finds a source; None where that is not in the dataset."""
    # Where another machine's path is written, what lies beside data.yaml is meant.
    base = checks.below(root, root / data.path) if data and data.path else None
    base = base if base is not None and checks.is_folder(base) else root
    # Ultralytics leaves a leading `../` away if nothing is there; Roboflow writes one.
    places = [place for text in (source, source.removeprefix("../")) if (place := checks.below(root, base / text))]
    return next(
        (place for place in places if checks.is_folder(place) or checks.is_file(place)), places[0] if places else None
    )


def _read_list(path: Path, root: Path, images: list[str]) -> Iterator[Finding]:
    """Add the images that a text file lists, one a line, to `images`; those missing are told later."""
    try:
        lines = read_file(path, MOST_LIST).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        hint = "write one image a line, in UTF-8"
        yield Finding("bad-list", f"cannot be read as a list of images: {error}", str(path), hint=hint)
        return
    for number, line in enumerate(lines, start=1):
        if Path(line).suffix.lower() not in checks.IMAGE_SUFFIXES:
            continue
        place = checks.below(root, path.parent / line)
        if place is None:
            message = f"{line} leads out of the dataset, and was not checked"
            yield Finding("outside-folder", message, str(path), number, hint="list images of the folder")
            continue
        if not line.startswith("./") and not Path(line).is_absolute():
            message = f"{line} is looked for where the training is started, not beside this list"
            yield Finding("list-path", message, str(path), number, "warning", "begin the line with ./")
            place = place if checks.is_file(place) else checks.below(root, root / line) or place
        images.append(str(place))


def _label_of(image: Path, root: Path) -> Path:
    """The label file that `img2label_paths` looks for: the last folder `images` of the path becomes `labels`."""
    parts = list(image.relative_to(root).parts)
    at = max((i for i, part in enumerate(parts[:-1]) if part == "images"), default=None)
    if at is not None:
        parts[at] = "labels"
    return root.joinpath(*parts).with_suffix(".txt")


def _check_split(
    split: str, images: Paths, root: Path, names: dict[int, str] | None, owners: dict[str, str]
) -> Iterator[Finding]:
    """The images and labels of one split; `owners`, the image of each label file, is added to."""
    boxes: Counter[int] = Counter()
    kinds: Counter[bool] = Counter()
    folders: set[Path] = set()
    for image in images:
        yield from checks.image(image, smallest_side=SMALLEST_SIDE)
        label = _label_of(image, root)
        folders.add(label.parent)
        owner = Path(owners.setdefault(str(label), str(image)))
        if owner != image:
            message = f"{owner.name} and {image.name} share the labels {label.name}"
            yield Finding("shared-label", message, str(image), hint="rename one of them, and write it its own labels")
        elif checks.is_file(label):
            yield from _check_labels(label, names, boxes, kinds)
        elif checks.is_no_file(label):
            yield _no_labels(label)
    for cache in sorted({path for folder in folders for path in _caches(folder, root)}):
        hint = "delete it; the trainer writes a new one"
        message = "labels that changed since this cache was written may go unseen"
        yield Finding("stale-cache", message, str(cache), severity="warning", hint=hint)
    place = str(min(folders))
    if len(kinds) > 1:
        message = f"{kinds[False]} label files have boxes, {kinds[True]} polygons: trainers then take boxes from all"
        yield Finding("mixed-rows", message, place, severity="warning", hint="write one kind")
    if not boxes:
        hint = "fine if all its images are meant to be background; YOLO-World cannot start on it"
        yield Finding("no-boxes", f"{split} has no box at all", place, severity="warning", hint=hint)
    elif names and split == "train":
        for class_id in sorted(set(names) - set(boxes)):
            message = f"{split} has no box of class {class_id} ({names[class_id]})"
            hint = "add such images, or remove the class"
            yield Finding("unused-class", message, place, severity="warning", hint=hint)


def _no_labels(path: Path) -> Finding:
    message = "a dead link, a pipe or a folder, so the trainer takes the image for background"
    return Finding("bad-label-file", message, str(path), hint="put the labels there, or remove it")


def _caches(labels: Path, root: Path) -> Iterator[Path]:
    """Label caches lie beside their folder, of old also in it."""
    beside = [] if labels == root else [labels.with_suffix(".cache")]
    inside = labels.glob("*.cache") if checks.is_folder(labels) else ()
    yield from (path for path in [*beside, *inside] if checks.is_file(path))


def _orphans(root: Path, owners: Collection[str]) -> Iterator[Finding]:
    """Label files without an image, in the folders where labels are looked for."""
    folders = {*map(Path, {os.path.dirname(label) for label in owners})} - {root}  # noqa: PTH120 - for each image
    there = filter(checks.is_folder, folders)
    found = {text for folder in there for text in checks.files_below(folder, {".txt"}).texts if text not in owners}
    for path in sorted(map(Path, found)):
        if path.name.lower() in NOT_LABELS:
            continue
        wanted = path.with_suffix(".txt")
        if str(wanted) not in owners:
            yield Finding("orphan-label", "labels without an image", str(path), hint="add the image, or remove them")
        elif not (
            checks.is_file(wanted) and wanted.samefile(path)
        ):  # the same where A and a are one to the file system
            message = f"ends in {path.suffix}: the trainer looks for {wanted.name}"
            yield Finding("orphan-label", message, str(path), hint=f"call it {wanted.name}, or remove it")


def _check_labels(
    path: Path, names: dict[int, str] | None, boxes: Counter[int], kinds: Counter[bool]
) -> Iterator[Finding]:
    """One label file; its classes are counted in `boxes`, its kind (whether it has polygons) in `kinds`."""
    rows = yield from _read_labels(path)
    kinds.update({any(len(values) > 6 for _, values in rows)} if rows else ())
    seen: dict[tuple[float, ...], int] = {}
    for number, values in rows:
        for code, message in _wrong_row(values, names):
            yield Finding(code, message, str(path), number, hint=ROW_HINT)
        if not values:
            continue
        if values[0].is_integer():
            boxes[int(values[0])] += 1
        key = _as_read(values)
        if seen.setdefault(key, number) != number:
            message = f"same class and box as line {seen[key]}: the trainer keeps one of them"
            yield Finding("duplicate-row", message, str(path), number, "warning", "remove one")


def _read_labels(path: Path) -> Generator[Finding, None, list[tuple[int, list[float]]]]:
    """(line number, numbers) of the rows of one label file that are numbers."""
    try:
        text = read_file(path, MOST_LABELS).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "write it again as UTF-8"
        yield Finding("bad-label-file", f"cannot be read: {error}", str(path), hint=hint)
        return []
    if text.startswith("\ufeff"):
        message = "begins with a byte order mark, which makes the first row unreadable"
        yield Finding("bad-label-file", message, str(path), 1, hint="save it as UTF-8 without BOM")
    rows = _rows(text.removeprefix("\ufeff"))
    polygons = [len(row) > 6 for _, row in rows]
    if len(set(polygons)) > 1:
        number = rows[polygons.index(not polygons[0])][0]
        message = "boxes and polygons in one file: all of it is read as polygons"
        yield Finding("mixed-rows", message, str(path), number, hint="keep one kind in a file")
    read: list[tuple[int, list[float]]] = []
    for number, row in rows:
        try:
            read.append((number, [float(token) for token in row]))
        except ValueError:
            message = f"not a class id and numbers: {' '.join(row)[:60]}"
            yield Finding("not-a-number", message, str(path), number, hint=ROW_HINT)
    return read


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """(line number, tokens) as Ultralytics reads them: a line of spaces counts if it is between two rows."""
    rows = [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1) if line]
    filled = [i for i, (_, row) in enumerate(rows) if row]
    return rows[filled[0] : filled[-1] + 1] if filled else []


def _as_read(values: list[float]) -> tuple[float, ...]:
    """What Ultralytics compares rows by: class and box, that of a polygon being its extent."""
    if len(values) <= 6:
        return tuple(values)
    xs, ys = values[1::2], values[2::2]
    return values[0], min(xs), min(ys), max(xs), max(ys), 0.0


def _wrong_row(values: list[float], names: dict[int, str] | None) -> Iterator[tuple[str, str]]:
    """(code, message) of everything wrong with one row."""
    count = len(values) - 1
    if count != 4 and (count < 6 or count % 2):
        yield "row-length", f"{len(values)} numbers; a box has 5, a polygon 7 or more, an odd number"
        return
    class_id = values[0]
    if not class_id.is_integer() or class_id < 0 or (names is not None and class_id not in names):
        known = "whole numbers from 0" if names is None else f"0 to {len(names) - 1}"
        yield "unknown-class", f"class {class_id:g}, but classes are {known}"
    wrong = [value for value in values[1:] if not 0 <= value <= 1]
    if wrong:
        more = f", nor are {len(wrong) - 1} more numbers of the row" if len(wrong) > 1 else ""
        yield "out-of-range", f"{wrong[0]:g} is not from 0 to 1{more}"
        return
    points = list(zip(values[1::2], values[2::2], strict=True))
    try:
        if count == 4:
            BoxRow(class_id=0, x_center=points[0][0], y_center=points[0][1], width=points[1][0], height=points[1][1])
        else:
            PolygonRow(class_id=0, points=points)
    except ValidationError as error:
        yield from (("out-of-range", problem) for problem in problems(error)[: checks.PROBLEMS_TOLD])
        return
    if count == 4:
        sides = [(centre - size / 2, centre + size / 2) for centre, size in zip(*points, strict=True)]
        if min(low for low, _ in sides) < -BORDER or max(high for _, high in sides) > 1 + BORDER:
            yield "outside-image", "the box reaches outside the image"
    elif min(len(set(values[1::2])), len(set(values[2::2]))) == 1:
        yield "empty-polygon", "the polygon has no extent in one direction, so its box is empty"
