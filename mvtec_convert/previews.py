"""A contact sheet of an exported dataset: what a trainer would read, drawn from the exported files alone."""

from __future__ import annotations

import difflib
import hashlib
import io
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mvtec_convert.contact_sheet import LEAST_WIDTH, MOST_WIDTH, Heading, draw_sheet
from mvtec_convert.errors import OutputError, SelectionError
from mvtec_convert.exports import class_names, format_of, manifest_of
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.opening import read_head
from mvtec_convert.overlay import colours_of
from mvtec_convert.schemas.export import FidelityRecord

MOST_IMAGES = 400
BACKGROUND_SHARE = 6
"""One tile in so many shows an image without an object, where there are any."""

MARK = "mvtec-convert preview"
"""What a sheet says of itself, so that it may be replaced by a later one."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A contact sheet.

    Attributes:
        out: the file.
        format: name of the dataset's format.
        shown: keys of the images on it, in their order.
        images: how many there were to choose from.
    """

    out: Path
    format: str
    shown: tuple[str, ...]
    images: int


def preview(
    folder: str | Path,
    out: str | Path,
    *,
    count: int = 12,
    split: str | None = None,
    classes: Collection[str] = (),
    worst: bool = False,
    seed: int = 0,
    width: int = 1600,
    format: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Preview:
    """Draw some images of a dataset with their labels as its trainer reads them.

    Images are drawn by lot, so that each class is shown before any is shown twice, and one in six has no object.

    Args:
        folder: the dataset, ours or another tool's; for COCO, one annotation file will do.
        out: PNG file to write; an earlier sheet is replaced, anything else is left alone.
        count: how many images.
        split: of this split only.
        classes: with an object of these classes only.
        worst: those that came back worst when they were exported, the worst first; the export's manifest knows them.
            Where all came back exactly there is no worst, and the lot decides; the sheet says so.
        seed: of the lot.
        width: of the sheet, px.
        format: name of the dataset's format; recognised where None.
        progress: called with (images drawn, images in all).

    Raises:
        ExportError: no dataset, or labels that cannot be read.
        SelectionError: no such split or class, nothing to show, or a dataset whose fidelity nobody knows.
        OutputError: `out` is no place for a sheet.

    >>> _ = mc.to_coco(mc.load("mvtec_anomaly_detection").filter(category="carpet"), "carpet-coco")
    >>> sheet = mc.preview("carpet-coco", "sheet.png", count=6)
    >>> sheet.images, len(sheet.shown), sheet.shown[0]
    (37, 6, 'images/train/carpet_color_001.png')
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    if not 1 <= count <= MOST_IMAGES:
        raise SelectionError(f"a sheet shows from 1 to {MOST_IMAGES} images, not {count}")
    if not LEAST_WIDTH <= width <= MOST_WIDTH:
        raise SelectionError(f"a sheet is from {LEAST_WIDTH} to {MOST_WIDTH} px wide, not {width}")
    chosen_format = format_of(folder, format)
    _check_out(out, folder)
    names = class_names(folder, format=chosen_format.name)
    _check_classes(classes, names)
    recorded = _fidelity(folder) if worst else None
    fidelity = recorded if recorded and recorded.inexact else None
    lot = _Lot(count, seed, split, frozenset(classes), fidelity)
    for image in chosen_format.read(folder):
        lot.add(image)
    images = lot.drawn()
    if not images:
        raise _nothing(lot, folder)
    exact = f"all {recorded.regions} regions came back exactly; " if recorded and not fidelity else ""
    heading = Heading(f"{folder.resolve().name}  ({chosen_format.name})", exact + lot.describe(len(images)))
    notes = {image.key: f"lowest IoU {fidelity.inexact[image.name]:.4f}" for image in images} if fidelity else {}
    shown = (name for image in images for name in image.class_names())
    sheet = draw_sheet(images, colours_of([*names, *shown]), heading, width, notes, progress)
    _save(sheet, out)
    return Preview(out, chosen_format.name, tuple(image.key for image in images), lot.matching)


# --- which images ----------------------------------------------------------------------------------------------------


def _check_classes(wanted: Collection[str], names: Sequence[str]) -> None:
    for name in wanted:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            hint = f"did you mean {near[0]!r}?" if near else None
            raise SelectionError(f"no class {name!r} in this dataset; it has: {shown}", hint=hint)


def _fidelity(folder: Path) -> FidelityRecord:
    manifest = manifest_of(folder) if folder.is_dir() else None
    if manifest is None or manifest.fidelity is None:
        raise SelectionError(
            "how faithful this dataset is was not recorded when it was written",
            path=folder,
            hint="leave --worst away, or export again; formats without geometry have no fidelity",
        )
    return manifest.fidelity


@dataclass(slots=True)
class _Lot:
    """Chooses images while they come by, and keeps no others in memory.

    Attributes:
        count: how many are wanted.
        seed: of the lot.
        split: wanted one.
        classes: wanted ones; all where empty.
        fidelity: how images came back, where the worst are wanted.
        matching: how many images are of the wanted split and classes.
        splits: the splits that came by.
    """

    count: int
    seed: int
    split: str | None
    classes: frozenset[str]
    fidelity: FidelityRecord | None
    matching: int = 0
    splits: dict[str, None] = field(default_factory=dict)
    _labelled: _Best = field(default_factory=lambda: _Best())
    _background: _Best = field(default_factory=lambda: _Best())
    _of_class: dict[str, _Best] = field(default_factory=dict)

    def add(self, image: LabelledImage) -> None:
        """One more image comes by."""
        self.splits[image.split] = None
        names = {*image.class_names()}
        if self.split not in (None, image.split) or (self.classes and not names & self.classes):
            return
        self.matching += 1
        if self.fidelity is not None:
            if image.name in self.fidelity.inexact:
                self._labelled.add(self.fidelity.inexact[image.name], image, self.count)
            return
        rank = self._rank(image)
        (self._labelled if names else self._background).add(rank, image, self.count)
        for name in names & (self.classes or names):
            self._of_class.setdefault(name, _Best()).add(rank, image, 1)

    def drawn(self) -> list[LabelledImage]:
        """The images chosen: the worst first, else in the order of the dataset."""
        if self.fidelity is not None:
            return self._labelled.images()
        labelled = {image.key: image for best in self._of_class.values() for image in best.images()}
        ranked = sorted(labelled.values(), key=self._rank)
        ranked += [image for image in self._labelled.images() if image.key not in labelled]
        background = self._background.images()
        spare = max(self.count // BACKGROUND_SHARE, self.count - len(ranked))
        chosen = [*ranked[: self.count - min(spare, len(background))], *background[:spare]]
        order = list(self.splits)
        return sorted(chosen, key=lambda image: (order.index(image.split), image.key))

    def describe(self, shown: int) -> str:
        """Which images were chosen, and how; one line."""
        of = [f"of {self.split}"] if self.split else []
        of += [f"with {' or '.join(sorted(self.classes))}"] if self.classes else []
        among = " ".join(["images", *of])
        if self.fidelity is not None:
            return f"the {shown} of {self.matching} {among} that came back worst ({self.fidelity.judge})"
        lot = f", by lot (seed {self.seed})" if shown < self.matching else ""
        return f"{shown} of {self.matching} {among}{lot}; drawn from the exported files, as the trainer reads them"

    def _rank(self, image: LabelledImage) -> float:
        digest = hashlib.sha256(f"{self.seed}/{image.key}".encode("utf-8", "surrogatepass")).digest()
        return float(int.from_bytes(digest[:6], "big"))


@dataclass(slots=True)
class _Best:
    """The images of the lowest ranks."""

    _ranked: list[tuple[float, str, LabelledImage]] = field(default_factory=list)

    def add(self, rank: float, image: LabelledImage, count: int) -> None:
        """Keep the image if its rank is one of the `count` lowest."""
        if len(self._ranked) < count or (rank, image.key) < self._ranked[-1][:2]:
            self._ranked.append((rank, image.key, image))
            self._ranked.sort(key=lambda entry: entry[:2])
            del self._ranked[count:]

    def images(self) -> list[LabelledImage]:
        """The images, the lowest rank first."""
        return [image for _, _, image in self._ranked]


def _nothing(lot: _Lot, folder: Path) -> SelectionError:
    if lot.split is not None and lot.split not in lot.splits:
        return SelectionError(f"no split {lot.split!r} in this dataset; it has: {', '.join(lot.splits)}", path=folder)
    if lot.fidelity is not None and lot.matching:
        message = "all images chosen came back exactly; the inexact ones are of other splits or classes"
        return SelectionError(message, path=folder, hint="leave --split, --class or --worst away")
    return SelectionError("no image to show", path=folder, hint="leave --split or --class away")


# --- writing ---------------------------------------------------------------------------------------------------------


def _check_out(out: Path, folder: Path) -> None:
    """Refuse a place where a sheet would destroy something, or be in the way of a trainer."""
    if out.suffix.lower() != ".png":
        raise OutputError("a sheet is a PNG file", path=out, hint="let the name end in .png")
    dataset = folder if folder.is_dir() else folder.parent
    if dataset.resolve() in out.resolve().parents:
        raise OutputError("the sheet would lie in the dataset", path=out, hint="choose a place outside it with --out")
    if out.is_symlink() or out.is_dir() or (out.exists() and not _is_sheet(out)):
        raise OutputError("already there, and not a sheet of this tool", path=out, hint="choose another --out")
    if not out.parent.is_dir():
        raise OutputError("no such folder", path=out.parent, hint="make it, or choose another --out")


def _is_sheet(path: Path) -> bool:
    try:
        return MARK.encode() in read_head(path, 256)
    except OSError:
        return False


def _save(sheet: Image.Image, out: Path) -> None:
    """Write the file whole or not at all."""
    info = PngInfo()
    info.add_text("Software", MARK)
    stream = io.BytesIO()
    sheet.save(stream, "PNG", pnginfo=info)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(stream.getvalue())
        partial.replace(out)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", path=out) from None
    finally:
        partial.unlink(missing_ok=True)
