"""COCO as SAM 3's own trainer reads it, with phrases for names.

    train/_annotations.coco.json    with the images beside it: train/<name>.png
    test/_annotations.coco.json     what is evaluated on: val of two splits, test of three
    valid/_annotations.coco.json    val of three splits; the sample configurations do not read it

The trainer (`COCO_FROM_JSON` in sam3/train/data/coco_json_loaders.py of github.com/facebookresearch/sam3, given to
`Sam3ImageDataset` by configs/roboflow_v100/roboflow_v100_full_ft_100_images.yaml) asks each image for each category:

- The category's `name` is the prompt. A category without annotation in an image is asked for as well, and nothing is
  the right answer, so good images are what it learns restraint from. An image of MVTec AD's `combined` is asked for the
  other defects all the same, although they may be on it.
- It reads `file_name`, `width` and `height` of an image, `category_id`, `bbox`, `segmentation` and `iscrowd` of an
  annotation; `iscrowd` must be there. Polygons go through pycocotools, so they are exact.
- Masks are read only where `scratch.enable_segmentation` is true; the sample configurations have it false.
- `FilterEmptyTargets` drops boxes below a millionth of the image after it was resized to 480 to 1008 px. What was asked
  for then seems to be absent.
- Words beyond the 32nd token are cut off.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from mvtec_convert import checks, coco_checks, coco_file, coco_labels
from mvtec_convert.coco_checks import FileCheck, Problem, Size
from mvtec_convert.coco_file import CocoWriter
from mvtec_convert.dataset import SplitName
from mvtec_convert.errors import SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.schemas.coco import Annotation

ANNOTATIONS = "_annotations.coco.json"
CONFIGURATION = "configs/roboflow_v100/roboflow_v100_full_ft_100_images.yaml"
READ = ("train", "test")
"""Folders that the sample configurations read."""

SMALLEST_SIDE = 480  # px; the least that an image is resized to, both ways
SMALLEST_BOX = 1e-6  # share of the image, times what the resizing makes of its area


@dataclass(frozen=True, slots=True)
class Sam3:
    """Options of the format.

    Attributes:
        val_folder: where val goes: `test`, which the trainer evaluates on, or `valid` where there is a test split too.
    """

    name: ClassVar[str] = "sam3"
    val_folder: Literal["test", "valid"] = "test"

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return coco_file.JUDGE

    def image_path(self, item: Item) -> str:
        """Beside the annotations of its split."""
        return f"{self._folder(item.split)}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """Two splits in one folder, none in one that the trainer reads, or two classes with one prompt."""
        folders = [self._folder(split) for split in plan.split_names]
        if len(set(folders)) < len(folders):
            raise SelectionError("val and test would share a folder", hint="choose val_folder='valid'")
        missing = [folder for folder in READ if folder not in folders]
        if missing:
            raise SelectionError(
                f"SAM 3's trainer reads {missing[0]}/, but no image would be there",
                hint="choose a split with train and val, for example --ratios 0.8 0.2",
            )
        prompts = Counter(plan.phrases.of_class(label)[0] for label in plan.labels.classes)
        twice = [prompt for prompt, count in prompts.items() if count > 1]
        if twice:
            raise SelectionError(
                f"two classes have the phrase {twice[0]!r}, and SAM 3 is asked with nothing else",
                hint="give each its own with --phrases, or make them one class with --names",
            )

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """One annotation a region, without its ids: these follow from what comes before."""
        masks = coco_file.segmentations(image)
        rows = coco_file.instances(item, image, masks)
        return Encoded(item, image.width, image.height, image.defect_types, rows, coco_file.fidelity(masks, image))

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One file a split, one record a line."""
        categories = coco_file.categories(plan, by_phrase=True)
        with ExitStack() as stack:
            files = {
                split: stack.enter_context(CocoWriter(out / self._folder(split) / ANNOTATIONS, categories))
                for split in plan.split_names
            }
            for image in encoded:
                record = {"file_name": image.item.file_name, "width": image.width, "height": image.height}
                files[image.item.split].add(record, image.rows)

    def next_step(self, out: Path) -> str:
        """SAM 3's own trainer, in its repository."""
        return (
            f"python sam3/train/train.py -c {CONFIGURATION} --use-cluster 0 --num-gpus 1"
            f"  # in it, let img_folder and ann_file point into {shlex.quote(str(out))}"
        )

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """`train/_annotations.coco.json`, as in Roboflow's layout of COCO: only the manifest tells the two apart."""
        return checks.is_file(folder / "train" / ANNOTATIONS)

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Masks by pycocotools, and the names as phrases; see `coco_labels.read`."""
        return coco_labels.read(folder, _annotation_files(folder), by_phrase=True)

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """The phrases, by the ids of their categories."""
        return coco_labels.class_names(folder, _annotation_files(folder))

    def _folder(self, split: SplitName) -> str:
        return self.val_folder if split == "val" else split


FORMAT = Sam3
READERS = "SAM 3's own trainer"


def _annotation_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*/{ANNOTATIONS}") if checks.is_file(path))


# --- checking --------------------------------------------------------------------------------------------------------


def _check(folder: Path) -> Iterator[Finding]:
    files = _annotation_files(folder)
    for name in READ if files else ():
        if folder / name / ANNOTATIONS not in files:
            hint = "rename the split, or change the configuration"
            yield Finding("missing-split", f"the trainer reads {name}/{ANNOTATIONS}", str(folder), hint=hint)
    yield from coco_checks.check(folder, files, "sam3", _check_for_trainer, _lost_box)


def _check_for_trainer(check: FileCheck) -> Iterator[Finding]:
    """What COCO allows, but this trainer does not take, or takes for something else."""
    beside = check.file.path.parent
    if check.folder != beside:
        message = f"the images lie in {check.folder}, not beside the file"
        yield check.file.finding("not-beside", message, hint="put them beside it")
    for i, category in check.categories:
        for code, message, severity, hint in coco_checks.wrong_prompt(category.name):
            yield check.file.finding(code, message, "categories", i, severity, hint)


def _lost_box(annotation: Annotation, size: Size | None) -> Iterator[Problem]:
    area, pixels = annotation.bbox[2] * annotation.bbox[3], size.width * size.height if size else 0
    if pixels and area / pixels * (SMALLEST_SIDE**2 / pixels) < SMALLEST_BOX:
        message = f"a box of {area:g} px: where the trainer makes the image {SMALLEST_SIDE} px wide, it drops it"
        yield "lost-box", message, "warning", "cut the image into tiles, or leave such specks out with --min-area"
