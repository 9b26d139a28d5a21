"""Any annotated dataset as a tree of masks, as MVTec AD has it: for anomaly detectors, and for this tool to read again.

    <category>/train/good/000.png
    <category>/test/{good,<defect>,combined}/000.png
    <category>/ground_truth/<defect>/000_mask.png       black, and 255 where the defect is
    <category>/ground_truth/combined/000_mask.png       255, 254, ... where the defects are
    <category>/ground_truth/combined/values.json        what these are called: {"255": "cut", "254": "hole"}

Classes become defect types; an image with several is `combined`, MVTec AD's own word, and its mask tells them apart by
values near white, as those of MVTec 3D-AD do: readers that ask for non-black, or for more than half of white, see one
mask. Nothing but images and masks is in the tree (and that one file, which readers of images pass over).
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from mvtec_convert.checks import is_file
from mvtec_convert.dataset import GOOD
from mvtec_convert.errors import BadSourceError, ExportError, MaskError, SelectionError
from mvtec_convert.exports import format_of
from mvtec_convert.findings import Finding
from mvtec_convert.formats import good_is_a_class
from mvtec_convert.geometry.images import image_size, link_or_copy, read_header, read_mask_values
from mvtec_convert.geometry.saving import save_grey, save_png
from mvtec_convert.jsonio import save_json
from mvtec_convert.labelled import LabelledImage, read_picture
from mvtec_convert.layouts import load, recognised
from mvtec_convert.layouts.mvtec_ad import VALUES_FILE
from mvtec_convert.mask_painting import paint
from mvtec_convert.mask_places import Job, Place, Places
from mvtec_convert.origins import COMBINED, NO_CATEGORY, Origins
from mvtec_convert.runs.publish import check_place, staged
from mvtec_convert.runs.workers import in_threads
from mvtec_convert.source_tree import IMAGE_SUFFIXES, MASK_ENDING

TRUTH = "ground_truth"
WITHOUT_GOOD = {
    "train": "anomaly detectors learn from good images alone",
    "test": "no one can tell how many false alarms a detector raises",
}

AHEAD = 4  # images, for each thread, that wait to be written; bounds memory

Progress = Callable[[int, int], None]
"""Called with (images done, images in all); 0 in all where that is not known."""


@dataclass(frozen=True, slots=True)
class TreeOptions:
    """How an export becomes a tree.

    Attributes:
        category: of all images; None: as the export says, else the folder's name.
        train: share of a category's good images that goes to train; None: those of the export's own train, and where
            it tells no split, `DEFAULT_TRAIN_SHARE`.
        seed: of the draw of these.
        boxes: fill boxes where there is no mask.
        images: `link` (hard links where the file system allows, else copies) or `copy`.
        as_png: save images anew as PNG, without loss, where they are something else: anomalib reads nothing else.
        jobs: threads; 0 means one for each core.
    """

    category: str | None = None
    train: float | None = None
    seed: int = 0
    boxes: bool = False
    images: Literal["link", "copy"] = "link"
    as_png: bool = True
    jobs: int = 0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.train is not None and not 0 <= self.train <= 1:
            raise SelectionError(f"the share of good images in train is from 0 to 1, not {self.train}")
        if self.category is not None and self.category.casefold() in NO_CATEGORY:
            hint = "name what the images show"
            raise SelectionError(f"{self.category!r} cannot be a category: readers take it for a split", hint=hint)


@dataclass(slots=True)
class MaskTree:
    """What a tree of masks holds, and how faithful it is.

    Attributes:
        source: the dataset that it was made of.
        out: the folder.
        format: name of the format that was read.
        images: number of images by (category, split folder, defect type).
        objects: how many the labels had.
        regions: how many are read back with default options, 8-connected: touching objects of one type are one.
        masks: how many were written.
        exact: how many of them were read back as the labels say, pixel for pixel.
        united: pixels that objects of one type share.
        covered: pixels that objects of different types share; the smaller one has them.
        renamed: folders by the names of classes and categories that no folder can have.
        notes: what a person should know before using it.
        next_step: the command to go on with.
    """

    source: Path
    out: Path
    format: str
    images: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    objects: int = 0
    regions: int = 0
    masks: int = 0
    exact: int = 0
    united: int = 0
    covered: int = 0
    renamed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    next_step: str = ""

    def add(self, written: _Written) -> None:
        """Count one image in."""
        place = written.place
        self.images[place.category, place.split, place.defect_type] += 1
        self.masks += written.objects > 0
        self.exact += written.objects > 0 and written.is_exact
        self.objects += written.objects
        self.regions += written.regions
        self.united += written.united
        self.covered += written.covered


def to_masks(
    folder: str | Path,
    out: str | Path,
    *,
    category: str | None = None,
    train: float | None = None,
    seed: int = 0,
    boxes: bool = False,
    images: Literal["link", "copy"] = "link",
    as_png: bool = True,
    jobs: int = 0,
    format: str | None = None,
    progress: Progress | None = None,
) -> MaskTree:
    """Write an annotated dataset as a tree of masks, as MVTec AD has it.

    Args:
        folder: the dataset; for COCO, one annotation file will do.
        out: folder of categories to create; it appears whole or not at all.
        category: see `TreeOptions`, as for all that follow up to `jobs`.
        train: share of the good images that goes to train.
        seed: of the draw of these.
        boxes: fill boxes where there is no mask.
        images: `link` or `copy`.
        as_png: save images that are no PNG anew as PNG, without loss.
        jobs: threads; 0 means one for each core.
        format: name of the dataset's format; recognised where None.
        progress: called with (images done, 0).

    Raises:
        ExportError: no such folder, no known format, labels that cannot be read, or boxes without masks.
        BadSourceError: images that cannot be used; all of them are listed.
        SelectionError: options that make no sense, or a format that has no objects.
        OutputError: `out` is there already, or cannot be written.

    >>> _ = mc.to_coco(mc.load("mvtec_anomaly_detection").filter(category="carpet"), "carpet-coco")
    >>> tree = mc.to_masks("carpet-coco", "back")
    >>> mc.load("back")
    Dataset('back', 1 category, 14 good and 23 defective images)
    """
    options = TreeOptions(category, train, seed, boxes, images, as_png, jobs)
    source, target = Path(folder).expanduser(), Path(out).expanduser()
    known = format_of(source, format)
    if good_is_a_class(known):
        hint = "an image's class says nothing about where its defect is; label regions"
        raise SelectionError(f"{known.name} classifies images: it holds no masks and no boxes", path=source, hint=hint)
    check_place(target, source if source.is_dir() else source.parent)
    found = MaskTree(source, target, known.name)
    with staged(target) as staging:
        places = Places(Origins(source, known, category), train, seed, boxes)
        _fill(staging, places.jobs(known.read(source)), options, found, progress)
        _save_values(staging, places.values)
        _name_masks_as_sorted(staging)
        found.renamed = dict(places.renamed())
        found.notes = list(_notes(found, places.values))
        _read_again(staging, found)
    return found


# --- writing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Written:
    """What writing one image came to."""

    place: Place
    objects: int = 0
    regions: int = 0
    is_exact: bool = True
    united: int = 0
    covered: int = 0


def _fill(root: Path, jobs: Iterable[Job], options: TreeOptions, found: MaskTree, progress: Progress | None) -> None:
    """Write every image with its mask, and count what was written."""
    bad: list[Finding] = []
    for done, result in enumerate(in_threads(lambda job: _write(job, root, options), jobs, options.jobs), start=1):
        if isinstance(result, Finding):
            bad.append(result)
        else:
            found.add(result)
        if progress is not None:
            progress(done, 0)
    if bad:
        raise BadSourceError(bad)
    if not found.images:
        raise ExportError("no image is found", path=found.source, hint="give the dataset's top folder")


def _write(job: Job, root: Path, options: TreeOptions) -> _Written | Finding:
    try:
        _save_image(job, root, options)
        return _save_mask(job, root) if job.strokes else _Written(job.place)
    except MaskError as error:
        return Finding(error.code, error.reason, str(error.path or job.image.image), hint=error.hint)


def _save_image(job: Job, root: Path, options: TreeOptions) -> None:
    source, place = job.image.image, job.place
    folder = _folder(root, place.category, place.split, place.defect_type)
    as_png = folder / f"{place.stem}.png"
    if source.suffix == ".npy":
        Image.fromarray(read_picture(job.image)).save(as_png, "PNG")
        return
    _refuse_other(job.image)
    suffix = source.suffix.lower()
    if suffix not in IMAGE_SUFFIXES or (options.as_png and read_header(source).kind != "PNG"):
        save_png(source, as_png)
        return
    target = as_png if options.as_png else folder / (place.stem + suffix)
    if options.images == "link":
        link_or_copy(source, target)
    else:
        shutil.copyfile(source, target)


def _refuse_other(image: LabelledImage) -> None:
    """Raise MaskError where an image is missing, or is not of the size that its labels are for."""
    if not is_file(image.image):
        hint = "restore the image, or remove what refers to it"
        raise MaskError("the image is missing", code="missing-image", path=image.image, hint=hint)
    size, wanted = image_size(image.image), (image.width, image.height)
    if size != wanted:
        message = f"the image is {size[0]} x {size[1]} px, its labels are for {wanted[0]} x {wanted[1]} px"
        hint = "label the image at the size that it has"
        raise MaskError(message, code="image-size", path=image.image, hint=hint)


def _save_mask(job: Job, root: Path) -> _Written:
    place = job.place
    painting = paint(job.strokes, job.image.width, job.image.height)
    path = _folder(root, place.category, TRUTH, place.defect_type) / f"{place.stem}{MASK_ENDING}.png"
    save_grey(painting.mask, path)
    is_exact = np.array_equal(read_mask_values(path), painting.mask)
    return _Written(place, len(job.strokes), painting.regions(), is_exact, painting.united, painting.covered)


def _folder(root: Path, *names: str) -> Path:
    folder = root.joinpath(*names)
    if not folder.is_dir():  # asking is cheaper than being refused
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _save_values(root: Path, values: Mapping[str, Mapping[str, int]]) -> None:
    """What the values of `combined` are called, where they say more than the folder."""
    for category, of_category in values.items():
        if set(of_category) != {COMBINED}:
            named = {str(value): name for name, value in of_category.items()}
            save_json(named, root / category / TRUTH / COMBINED / VALUES_FILE)


def _name_masks_as_sorted(root: Path) -> None:
    """Call masks as their images in folders where `_mask` changes the order of names: `1.png`, `10.png`.

    anomalib pairs images and masks by their order, and then refuses what does not fit.
    """
    ending = f"{MASK_ENDING}.png"
    for folder in root.glob(f"*/{TRUTH}/*"):
        stems = [path.name.removesuffix(ending) for path in folder.glob("*.png")]
        if sorted(stems, key=lambda stem: f"{stem}.png") != sorted(stems, key=lambda stem: stem + ending):
            for stem in stems:
                (folder / (stem + ending)).rename(folder / f"{stem}.png")


def _notes(found: MaskTree, values: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for category in sorted({category for category, _, _ in found.images}):
        for split, meaning in WITHOUT_GOOD.items():
            if not found.images[category, split, GOOD]:
                yield f"{category} has no good image in {split}: {meaning}"
    if not found.masks:
        yield "no image has an object, so all of them are good"
    if any(set(of_category) != {COMBINED} for of_category in values.values()):
        yield f"images with several types are in test/{COMBINED}; {VALUES_FILE} beside their masks tells them apart"


# --- reading again ---------------------------------------------------------------------------------------------------


def _read_again(root: Path, found: MaskTree) -> None:
    """Whether this tool finds in the tree what was written; and by which layout.

    Raises:
        ExportError: it does not, so the tree is not published.
    """
    dataset = load(root, layout="mvtec_ad")
    if dataset.errors or len(dataset) != found.images.total():
        listed = "; ".join(map(str, dataset.errors[:3])) or f"{len(dataset)} of {found.images.total()} images"
        raise ExportError(f"what was written would not be read back well: {listed}", path=found.out)
    name = recognised(root)
    flag = "" if name == "mvtec_ad" else " --source-layout mvtec_ad"
    if flag:
        found.notes.append(f"its names look like those of the layout {name}: read it with{flag}")
    found.next_step = f"mvtec-convert stats {found.out}{flag}"
