"""SA-1B with prompts, for fine-tuning promptable segmenters (SAM and its kin).

    {train,val}/<name>.json     one file an image: masks as compressed RLE, each with box, points and phrase
    {train,val}/<name>.png      the image beside it

The keys of SA-1B (segment-anything's README, "Dataset") are all there; `class_id`, `class_name` and `prompts` are
added, which readers of SA-1B ignore. Boxes and points: see `mvtec_convert.prompts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import orjson
from pycocotools import mask as coco_mask
from pydantic import ValidationError

from mvtec_convert import checks
from mvtec_convert.errors import ExportError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.jsonio import load_json
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.prompts import PromptOptions, draw_prompts
from mvtec_convert.publish import MANIFEST
from mvtec_convert.regions import AnnotatedImage, Region
from mvtec_convert.rle import (
    Rle,
    bounding_box,
    intersection_over_union,
    run_lengths,
    unsound,
)
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.sam import Annotation, SamFile

OTHER_FILES = {MANIFEST, "classes.json", "splits.json"}


@dataclass(frozen=True, slots=True)
class Sam:
    """Options of the format.

    Attributes:
        prompts: which prompts each region gets.
    """

    name: ClassVar[str] = "sam"
    prompts: PromptOptions = field(default_factory=PromptOptions)

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return "masks, by pycocotools"

    def image_path(self, item: Item) -> str:
        """`<split>/<name>.<suffix>`."""
        return f"{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """SA-1B holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """The image's whole JSON document."""
        occupied = image.mask()
        annotations = [
            self._annotation(i, region, occupied, item, labels) for i, region in enumerate(image.regions, start=1)
        ]
        header = {"image_id": item.id, "width": image.width, "height": image.height, "file_name": item.file_name}
        document = orjson.dumps({"image": header, "annotations": annotations}, option=orjson.OPT_INDENT_2)
        read = [annotation["segmentation"] for annotation in orjson.loads(document)["annotations"]]
        ious = (
            intersection_over_union(_as_rle(mask), run_lengths(region, image.height, image.width))
            for mask, region in zip(read, image.regions, strict=True)
        )
        return Encoded(item, image.width, image.height, (document,), tuple(ious))

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One JSON file an image."""
        for split in plan.split_names:
            (out / split).mkdir(exist_ok=True)
        for image in encoded:
            (out / image.item.split / f"{image.item.name}.json").write_bytes(image.rows[0] + b"\n")

    def next_step(self, out: Path) -> str:
        """SAM is fine-tuned by a script; this is the file to begin with."""
        return f"python examples/finetune_sam.py {out}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """A JSON file that says `image` and `annotations` beside an image."""
        return any(_says_sa1b(path) for path in _json_files(folder)[:20])

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """See the findings' codes in docs/findings.md."""
        images_by_split: dict[str, list[Path]] = {}
        ids: dict[int, Path] = {}
        empty: Counter[str] = Counter()
        described: set[Path] = set()
        for path in _json_files(folder):
            split = path.parent.name
            try:
                file = SamFile.model_validate(load_json(path))
            except ExportError as error:
                yield Finding("bad-json", error.reason, str(path))
                continue
            except ValidationError as error:
                yield from (Finding("schema", problem, str(path)) for problem in problems(error)[:3])
                continue
            image = path.parent / Path(file.image.file_name).name
            described.add(image)
            images_by_split.setdefault(split, []).append(image)
            empty[split] += not file.annotations
            yield from (
                Finding(code, message, str(path), severity=severity) for code, message, severity in _content(file)
            )
            if ids.setdefault(file.image.image_id, path) != path:
                message = f"image_id {file.image.image_id} is also that of {ids[file.image.image_id].name}"
                yield Finding("duplicate-id", message, str(path))
            if image.name != file.image.file_name:
                yield Finding("outside-folder", f"{file.image.file_name}: the image lies beside the file", str(path))
            else:
                yield from checks.image(image, (file.image.width, file.image.height))
        for split, images in images_by_split.items():
            if empty[split] == len(images):
                yield Finding("no-masks", f"{split} has no mask at all", str(folder / split), severity="warning")
            for image in sorted(set(checks.images_below(images[0].parent)) - described):
                yield Finding("orphan-image", "an image without its JSON file", str(image))
        yield from checks.shared_images(images_by_split)

    def _annotation(self, number: int, region: Region, occupied: Any, item: Item, labels: LabelMap) -> dict[str, Any]:
        height, width = occupied.shape
        rle = run_lengths(region, height, width)
        prompt = draw_prompts(region, occupied, self.prompts, f"{item.sample.key}#{number}")
        class_id = item.class_id or 0
        return {
            "id": number,
            "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
            "bbox": region.bbox,
            "area": region.area,
            "predicted_iou": 1.0,
            "stability_score": 1.0,
            "crop_box": [0, 0, width, height],
            "point_coords": prompt.points[:1],
            "class_id": class_id,
            "class_name": labels.names[class_id],
            "prompts": {"box": prompt.box, "points": prompt.points, "labels": prompt.labels, "text": item.phrase},
        }


FORMAT = Sam


def _as_rle(segmentation: dict[str, Any]) -> Rle:
    return {"size": segmentation["size"], "counts": segmentation["counts"].encode()}


# --- checking --------------------------------------------------------------------------------------------------------


def _json_files(folder: Path) -> list[Path]:
    files = [*folder.glob("*.json"), *folder.glob("*/*.json")] if folder.is_dir() else []
    return sorted(path for path in files if path.name not in OTHER_FILES)


def _says_sa1b(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    return b'"image"' in start and b'"images"' not in start


def _content(file: SamFile) -> Iterator[tuple[str, str, Any]]:
    """(code, message, severity) of everything that is well formed but wrong."""
    size = (file.image.height, file.image.width)
    ids: set[int] = set()
    for i, annotation in enumerate(file.annotations):
        place = f"annotations[{i}]"
        if annotation.id in ids:
            yield "duplicate-id", f"{place}: id {annotation.id} is there twice", "error"
        ids.add(annotation.id)
        wrong = unsound(annotation.segmentation.size, annotation.segmentation.counts)
        if annotation.segmentation.size != size:
            yield (
                "rle-size",
                f"{place}: size {list(annotation.segmentation.size)} is not the image's {list(size)}",
                "error",
            )
        elif wrong:
            yield "bad-rle", f"{place}: {wrong}", "error"
        else:
            yield from (
                (code, f"{place}: {message}", severity) for code, message, severity in _mask_content(annotation)
            )


def _mask_content(annotation: Annotation) -> Iterator[tuple[str, str, Any]]:
    rle: Rle = {"size": list(annotation.segmentation.size), "counts": annotation.segmentation.counts.encode()}
    area, box = int(coco_mask.area(rle)), bounding_box(rle)
    if box is None:
        yield "empty-segmentation", "the mask covers no pixel", "error"
        return
    if area != annotation.area:
        yield "area", f"area is {annotation.area}, the mask has {area} pixels", "error"
    if max(abs(a - b) for a, b in zip(box, annotation.bbox, strict=True)) > 1:
        yield "box-and-mask", f"bbox {list(annotation.bbox)} is not the mask's extent {list(box)}", "error"
    prompts = annotation.prompts
    if prompts is None:
        return
    if len(prompts.points) != len(prompts.labels):
        yield "point-labels", f"{len(prompts.points)} points, but {len(prompts.labels)} labels", "error"
    if prompts.box[0] >= prompts.box[2] or prompts.box[1] >= prompts.box[3]:
        yield "prompt-box", f"the box {list(prompts.box)} has no extent", "error"
    mask = np.asarray(coco_mask.decode(rle))
    for (x, y), label in zip(prompts.points, prompts.labels, strict=True):
        inside = int(y) < mask.shape[0] and int(x) < mask.shape[1] and bool(mask[int(y), int(x)])
        if inside != bool(label):
            wanted = "inside" if label else "outside"
            yield "point-label", f"the point ({x:g}, {y:g}) should lie {wanted} the mask", "error"
