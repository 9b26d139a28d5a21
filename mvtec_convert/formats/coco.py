"""COCO instance segmentation: pycocotools, torchvision, Detectron2, MMDetection, D-FINE, ...

    annotations/instances_{train,val}.json
    images/{train,val}/<name>.png           `file_name` is relative to this folder

or, in Roboflow's layout, which RF-DETR and others read,

    {train,valid,test}/_annotations.coco.json
    {train,valid,test}/<name>.png

RF-DETR (roboflow/rf-detr, `datasets/coco.py` and `detr.py`) up to 1.4 takes category ids as they are and calls id 1 the
first name, so ids begin with 1 there; later ones number them anew. It leaves categories out that say
`"supercategory": "none"`, wants `train` and `valid`, and `test` as well up to 1.4 or where `run_test` is set.

Boxes are `x, y, width, height` in px, `area` is the number of mask pixels, `iscrowd` is always 0, ids are unique from 1
in each file. Polygons run along pixel edges with holes joined by bridges, which pycocotools fills to exactly the mask.
Sources: cocodataset.org/#format-data, pycocotools' `coco.py` and `maskApi.c`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from mvtec_convert import checks, coco_checks, coco_file, coco_labels
from mvtec_convert.coco_checks import FileCheck
from mvtec_convert.coco_file import CocoWriter, Segmentation
from mvtec_convert.dataset import SplitName
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan

ROBOFLOW_SPLITS: dict[SplitName, str] = {"train": "train", "val": "valid", "test": "test"}
ROBOFLOW_FILE = "_annotations.coco.json"
ROBOFLOW_READ = ("train", "valid")
"""The splits without which RF-DETR does not start."""


@dataclass(frozen=True, slots=True)
class Coco:
    """Options of the format.

    Attributes:
        segmentation: `polygon`, `rle` (compressed, a string) or `rle-uncompressed` (a list of counts).
        simplify: lowest IoU with the mask that a polygon of fewer points may have; None keeps it exact.
        first_id: id of the first category: 1, as COCO has it, or 0.
        layout: `coco`, or `roboflow`: `{train,valid,test}/_annotations.coco.json` beside the images.
    """

    name: ClassVar[str] = "coco"
    segmentation: Segmentation = "polygon"
    simplify: float | None = None
    first_id: Literal[0, 1] = 1
    layout: Literal["coco", "roboflow"] = "coco"

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return coco_file.JUDGE

    def image_path(self, item: Item) -> str:
        """`images/<split>/<name>.<suffix>`; in Roboflow's layout beside the annotations."""
        if self.layout == "roboflow":
            return f"{ROBOFLOW_SPLITS[item.split]}/{item.file_name}"
        return f"images/{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """COCO holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """One annotation a region, without its ids: these follow from what comes before."""
        masks = coco_file.segmentations(image, self.segmentation, self.simplify)
        rows = coco_file.instances(item, image, masks, self.first_id)
        return Encoded(item, image.width, image.height, image.defect_types, rows, coco_file.fidelity(masks, image))

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One file a split, one record a line."""
        categories = coco_file.categories(plan, self.first_id, by_phrase=self.layout == "roboflow")
        with ExitStack() as stack:
            files = {
                split: stack.enter_context(CocoWriter(out / self._annotations(split), categories))
                for split in plan.split_names
            }
            for image in encoded:
                record = {"file_name": image.item.file_name, "width": image.width, "height": image.height}
                files[image.item.split].add(record, image.rows)

    def next_step(self, out: Path) -> str:
        """Mask R-CNN stands for all that read COCO; RF-DETR for all that read Roboflow's layout."""
        if self.layout == "roboflow":
            return f"from rfdetr import RFDETRSegNano; RFDETRSegNano().train(dataset_dir={str(out)!r})"
        return f"python examples/finetune_maskrcnn.py --data {shlex.quote(str(out))}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """A JSON file with images and annotations, in the usual places."""
        return bool(coco_checks.annotation_files(folder))

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder, or one annotation file; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Masks by pycocotools; see `coco_labels.read`."""
        return coco_labels.read(folder, coco_checks.annotation_files(folder))

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """The categories by their ids."""
        return coco_labels.class_names(folder, coco_checks.annotation_files(folder))

    def _annotations(self, split: SplitName) -> str:
        """Where the annotations of a split lie."""
        if self.layout == "roboflow":
            return f"{ROBOFLOW_SPLITS[split]}/{ROBOFLOW_FILE}"
        return f"annotations/instances_{split}.json"


FORMAT = Coco
READERS = "pycocotools, torchvision, RF-DETR, ..."


# --- checking --------------------------------------------------------------------------------------------------------


def _check(folder: Path) -> Iterator[Finding]:
    files = coco_checks.annotation_files(folder)
    yield from _missing_splits(folder, files)
    yield from coco_checks.check(folder, files, also=_check_for_trainers)


def _missing_splits(folder: Path, files: Sequence[Path]) -> Iterator[Finding]:
    """The splits that Roboflow's layout lacks."""
    present = {path.parent.name for path in files if path.name == ROBOFLOW_FILE and path.parent.parent == folder}
    for split in ROBOFLOW_READ if present else ():
        if split not in present:
            hint = f"call a split {split}, if RF-DETR is to learn from it"
            message = f"RF-DETR does not start without {split}/{ROBOFLOW_FILE}"
            yield Finding("missing-split", message, str(folder), severity="warning", hint=hint)


def _check_for_trainers(check: FileCheck) -> Iterator[Finding]:
    """What COCO allows, but some of its trainers fail on, or take for something else."""
    for i, category in check.categories:
        if category.id == 0 and 0 in check.used:
            message = f"torchvision's detectors take category 0 ({category.name}) for background"
            hint = "number categories from 1, unless your trainer counts from 0"
            yield check.file.finding("category-zero", message, "categories", i, "warning", hint)
    if check.has_compressed_rle:
        message = "compressed run lengths: DETR's processors in transformers cannot make masks of them"
        hint = "write polygons, or run lengths as numbers, unless your trainer reads them"
        yield check.file.finding("compressed-rle", message, severity="warning", hint=hint)
