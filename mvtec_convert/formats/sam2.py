"""SA-1B as SAM 2's own trainer reads it, images JPEG.

    {train,val}/sa_<number>.json    one file an image, as `mvtec_convert.sa1b` has it
    {train,val}/sa_<number>.jpg     the image beside it

The number is the `image_id`, unique over all splits; `image.name` says what the image is called in other exports.
Good images are left out: the trainer cannot use an image without masks. Images that are no JPEG become one (quality 95,
colour not subsampled), so their pixels are only nearly the same; masks are exact.

Source: `SA1BRawDataset` (training/dataset/vos_raw_dataset.py in github.com/facebookresearch/sam2), with
`SA1BSegmentLoader` and `VOSDataset` beside it. It lists `*.jpg`, takes a name up to its first dot, reads the `.json` of
that name, and makes an integer of what follows the last `_`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import ValidationError

from mvtec_convert import checks, sa1b
from mvtec_convert.checks import JsonFile
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.images import is_jpeg
from mvtec_convert.geometry.prompts import PromptOptions
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.sam2 import NumberedImage, Sam2File

SUFFIX = ".jpg"


@dataclass(frozen=True, slots=True)
class Sam2:
    """Options of the format.

    Attributes:
        prompts: which prompts each region gets; the trainer draws its own, others may use these.
    """

    name: ClassVar[str] = "sam2"
    takes_background: ClassVar[bool] = False
    prompts: PromptOptions = field(default_factory=PromptOptions)

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return sa1b.JUDGE

    def image_path(self, item: Item) -> str:
        """`<split>/sa_<id>.jpg`."""
        return f"{item.split}/{_stem(item)}{SUFFIX}"

    def refuse(self, plan: Plan) -> None:
        """SA-1B holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """The image's whole JSON document."""
        names = {"file_name": _stem(item) + SUFFIX, "name": item.name}
        return sa1b.encode(item, image, self.prompts, names)

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One JSON file an image."""
        for split in plan.split_names:
            (out / split).mkdir(exist_ok=True)
        for image in encoded:
            (out / image.item.split / f"{_stem(image.item)}.json").write_bytes(image.rows[0] + b"\n")

    def next_step(self, out: Path) -> str:
        """A script to begin with; SAM 2's own trainer takes a split's folder as `img_folder` and as `gt_folder`."""
        return f"python examples/finetune_sam2.py --data {shlex.quote(str(out))}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """SA-1B's files under SA-1B's names."""
        return sa1b.is_sa1b(folder, numbered=True)

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Masks by pycocotools, with boxes, points and phrases; the image is the one that the trainer takes."""
        return sa1b.read(folder, Sam2File, _image_of)

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """Of `classes.json`, else of the annotations."""
        return sa1b.class_names(folder)


FORMAT = Sam2
READERS = "SAM 2's own trainer"


def _image_of(file: JsonFile, content: Sam2File) -> tuple[Path, str]:
    path = file.path.with_suffix(SUFFIX)
    return path, content.image.name or path.stem


def _stem(item: Item) -> str:
    return f"sa_{item.id}"


# --- checking --------------------------------------------------------------------------------------------------------


def _check(folder: Path) -> Iterator[Finding]:
    files = sa1b.json_files(folder)
    if not files:
        hint = "each image needs a JSON file of its name beside it"
        yield Finding("no-annotation-file", "no JSON file with an image and its annotations", str(folder), hint=hint)
    splits = {path: _SplitCheck(path) for path in _split_folders(folder, files)}
    for path in files:
        yield from splits[path.parent].annotations(path)
    for split in splits.values():
        yield from split.images()
    yield from _repeated_numbers(list(splits.values()))
    leaks = checks.shared_images({path.name: split.listed() for path, split in splits.items()})
    # Names are numbers here: whether those of two splits may be the same is told above.
    yield from (leak for leak in leaks if leak.code != "same-name")


def _split_folders(folder: Path, files: Iterable[Path]) -> list[Path]:
    """The folders that hold annotations, and those that are called as a split."""
    named = [folder / name for name in ("train", "val", "test") if checks.is_folder(folder / name)]
    return sorted({*named, *(path.parent for path in files)})


class _SplitCheck:
    """The checks of one split's folder.

    Attributes:
        folder: where images and annotations lie.
        numbers: the file name that each number belongs to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers: dict[int, str] = {}

    def annotations(self, path: Path) -> Iterator[Finding]:
        """One file of annotations."""
        number = _number(path.stem)
        if number is None:
            message = f"{path.name}: no integer between the last _ and the suffix, or another dot in the name"
            hint = "call the image sa_<number>.jpg, and its file sa_<number>.json"
            yield Finding("image-name", message, str(path), hint=hint)
        elif self.numbers.setdefault(number, path.name) != path.name:
            message = f"{path.name} and {self.numbers[number]} have the same number, {number}"
            yield Finding("duplicate-id", message, str(path), hint="give each image a number of its own")
        file = checks.open_json(path, "see `mvtec-convert schema sam2` for the form")
        if isinstance(file, Finding):
            yield file
        elif isinstance(file.document, dict) and file.document.get("annotations") == []:
            hint = "remove the image and its file; the trainer cannot learn from good images"
            message = "the image has no mask: training takes another in its place, evaluation stops"
            yield file.finding("no-masks", message, hint=hint)
        else:
            try:
                content = Sam2File.model_validate(file.document)
            except ValidationError as error:
                yield from file.schema_findings(problems(error))
                return
            yield from self._image_record(file, content.image, number)
            yield from sa1b.check_annotations(file, content)

    def _image_record(self, file: JsonFile, image: NumberedImage, number: int | None) -> Iterator[Finding]:
        """What the file says of its image, and the image that the trainer takes for it."""
        path = file.path.with_suffix(SUFFIX)
        if image.file_name != path.name:
            message = f"file_name is {image.file_name}, but the trainer takes {path.name}"
            yield file.finding("file-name", message, hint="call the image as its JSON file, with .jpg")
        if number is not None and image.image_id != number:
            message = f"image_id is {image.image_id}, but the trainer goes by the name and takes {number}"
            yield file.finding("image-id", message, severity="warning", hint="write the number of the name")
        if not _wrongly_suffixed(path):
            yield from checks.image(path, (image.width, image.height))
        if checks.is_file(path) and not is_jpeg(path):
            message = "called .jpg, but its content is not JPEG; readers that do not look at the content fail"
            yield Finding("not-jpeg", message, str(path), severity="warning", hint="save it as JPEG")

    def images(self) -> Iterator[Finding]:
        """Every image file of the folder, as the trainer lists it."""
        paths = self.listed()
        if not paths:
            hint = "fine if nothing is to be trained on it; else use --split supervised"
            yield Finding("empty-split", "no image lies here", str(self.folder), severity="warning", hint=hint)
        for path in paths:
            if path.suffix == SUFFIX:
                if not checks.is_file(path.with_suffix(".json")):
                    hint = "write its JSON file, or remove the image"
                    yield Finding("orphan-image", "the trainer finds no JSON file for it", str(path), hint=hint)
            elif not checks.is_file(path.with_suffix(SUFFIX)):
                message = f"ends in {path.suffix}: the trainer sees .jpg alone"
                yield Finding("wrong-suffix", message, str(path), hint="save it as JPEG, with the suffix .jpg")

    def listed(self) -> list[Path]:
        """The image files, hidden ones as well: the trainer asks for nothing but the name's end."""
        return sorted(path for path in self.folder.iterdir() if path.suffix.lower() in checks.IMAGE_SUFFIXES)


def _number(stem: str) -> int | None:
    """The number that the trainer makes of a name, or None where it cannot."""
    try:
        return int(stem.split("_")[-1]) if "." not in stem else None
    except ValueError:
        return None


def _wrongly_suffixed(path: Path) -> bool:
    """Whether the image is there under another suffix only, which is told of that file."""
    others = (path.with_suffix(suffix) for suffix in (*checks.IMAGE_SUFFIXES, ".JPG", ".PNG"))
    return not checks.is_file(path) and any(checks.is_file(other) for other in others)


def _repeated_numbers(splits: Sequence[_SplitCheck]) -> Iterator[Finding]:
    """One finding for each pair of splits that use a number for different images."""
    for i, second in enumerate(splits):
        for first in splits[:i]:
            if both := sorted(first.numbers.keys() & second.numbers.keys()):
                message = f"{len(both)} numbers are in {first.folder.name} as well, the smallest {both[0]}"
                hint = "number the images on from one split to the next, so that nobody mixes them up"
                yield Finding("duplicate-id", message, str(second.folder), severity="warning", hint=hint)
