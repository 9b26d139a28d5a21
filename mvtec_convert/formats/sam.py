"""SA-1B with prompts, for fine-tuning promptable segmenters (SAM and its kin).

    {train,val}/<name>.json     one file an image: masks as compressed RLE, each with box, points and phrase
    {train,val}/<name>.png      the image beside it

The keys of SA-1B (segment-anything's README, "Dataset") are all there; `class_id`, `class_name` and `prompts` are
added, which readers of SA-1B ignore. Boxes and points: see `mvtec_convert.geometry.prompts`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from pydantic import ValidationError

from mvtec_convert import checks, sa1b
from mvtec_convert.checks import Firsts, JsonFile, Paths
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.prompts import PromptOptions
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.runs.workers import in_order
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.sam import Image, SamFile


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
        return sa1b.JUDGE

    def image_path(self, item: Item) -> str:
        """`<split>/<name>.<suffix>`."""
        return f"{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """SA-1B holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """The image's whole JSON document."""
        return sa1b.encode(item, image, self.prompts, {"file_name": item.file_name})

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One JSON file an image."""
        for split in plan.split_names:
            (out / split).mkdir(exist_ok=True)
        for image in encoded:
            (out / image.item.split / f"{image.item.name}.json").write_bytes(image.rows[0] + b"\n")

    def next_step(self, out: Path) -> str:
        """SAM is fine-tuned by a script; this is the file to begin with."""
        return f"python examples/finetune_sam.py --data {shlex.quote(str(out))}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """JSON files that say `image` and `annotations`, in the folder or one below, under names of their own."""
        return sa1b.is_sa1b(folder, numbered=False)

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Masks by pycocotools, with boxes, points and phrases."""
        return sa1b.read(folder, SamFile, _image_of)

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """Of `classes.json`, else of the annotations."""
        return sa1b.class_names(folder)


FORMAT = Sam
READERS = "fine-tuning scripts of SAM and its kin"


# --- reading ---------------------------------------------------------------------------------------------------------


def _image_of(file: JsonFile, content: SamFile) -> tuple[Path, str]:
    wrong = _not_beside(file, content.image)
    if wrong is not None:
        raise checks.refusal(wrong)
    path = file.path.with_name(content.image.file_name)
    return path, path.stem


# --- checking --------------------------------------------------------------------------------------------------------


def _check(folder: Path) -> Iterator[Finding]:
    files = sa1b.json_files(folder)
    if not files:
        hint = "each image needs a JSON file of its name beside it"
        yield Finding("no-annotation-file", "no JSON file with an image and its annotations", str(folder), hint=hint)
    texts_by_split: dict[str, list[str]] = {}
    masks: Counter[str] = Counter()
    ids = Firsts()
    for i, (path, look) in enumerate(zip(files, in_order(_look, files), strict=True)):
        split = path.relative_to(folder).parent.name or folder.resolve().name
        masks[split] += look.masks
        texts_by_split.setdefault(split, []).extend(map(str, look.images))
        if look.image_id is not None:
            first = ids.setdefault(look.image_id, i)
            if first != i:
                message = f"image_id {look.image_id} is also that of {files[first].name}"
                yield Finding("duplicate-id", message, str(path), hint="give each image its own id")
        yield from look.findings
    # A file that cannot be read still tells which image is its own.
    stems = {str(path.with_suffix("")) for path in files}
    for split, texts in texts_by_split.items():
        place = folder / split if (folder / split).is_dir() else folder
        if not masks[split]:
            hint = "fine if all its images are meant to be background"
            yield Finding("no-masks", f"{split} has no mask at all", str(place), severity="warning", hint=hint)
        lone = [path for path in checks.images_below(place) if str(path.with_suffix("")) not in stems]
        for path in sorted({*lone} - {*map(Path, texts if lone else ())}):
            hint = "write its JSON file, with no annotations if nothing is on it, or remove the image"
            yield Finding("orphan-image", "an image without its JSON file", str(path), hint=hint)
    del stems
    yield from checks.shared_images({split: Paths(texts) for split, texts in texts_by_split.items()})


class _Look(NamedTuple):
    """What one file says; see `_check`.

    Attributes:
        image_id: None where the file cannot be read.
        images: the image that it is about, if that lies beside it.
        masks: how many it has.
        findings: all that is wrong with it by itself.
    """

    image_id: int | None
    images: tuple[Path, ...]
    masks: int
    findings: tuple[Finding, ...]


def _look(path: Path) -> _Look:
    file = checks.open_json(path, "see `mvtec-convert schema sam` for the form")
    if isinstance(file, Finding):
        return _Look(None, (), 0, (file,))
    try:
        content = SamFile.model_validate(file.document)
    except ValidationError as error:
        return _Look(None, (), 0, tuple(file.schema_findings(problems(error))))
    wrong = _not_beside(file, content.image)
    images = () if wrong else (path.parent / content.image.file_name,)
    size = (content.image.width, content.image.height)
    found = [wrong] if wrong else [finding for image in images for finding in checks.image(image, size)]
    found += sa1b.check_annotations(file, content)
    return _Look(content.image.image_id, images, len(content.annotations), tuple(found))


def _not_beside(file: JsonFile, image: Image) -> Finding | None:
    """Where the image's name leads out of the folder of its file; it must not be followed."""
    if not checks.leads_out(image.file_name) and "/" not in image.file_name and "\\" not in image.file_name:
        return None
    message = f"file_name {image.file_name} is not beside the file"
    return file.finding("outside-folder", message, hint="put the image beside its JSON file; write its bare name")
