"""Target formats: what trainers read. One module a format; the list of formats is this folder.

Each module names its class `FORMAT`. Third parties add theirs by an entry point in the group `mvtec_convert.formats`
that names a class.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeGuard, cast, runtime_checkable

from mvtec_convert.errors import SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.regions import AnnotatedImage

ENTRY_POINTS = "mvtec_convert.formats"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One image in a format's own words.

    Attributes:
        item: which image.
        width: px.
        height: px.
        regions: how many regions the image has.
        rows: what goes into the format's files, one for each region, or one for the image; the format knows.
        ious: for each region, the IoU of what the format's reader makes of it with the region itself;
            1.0 means exactly the same pixels (or, for boxes, the same pixel edges). Empty where the format has no
            geometry.
    """

    item: Item
    width: int
    height: int
    regions: int
    rows: tuple[bytes, ...]
    ious: tuple[float, ...]


class Format(Protocol):
    """What a format offers. An instance holds its options and nothing else.

    A format whose reader fails on images without a region says `takes_background: ClassVar[bool] = False`; good images
    are then left out, whatever else was asked for. One in which `good` is a class like any other says
    `good_is_a_class: ClassVar[bool] = True`. One whose trainer has no other way to see an image more often has `repeat`
    (see `Repeating`).
    """

    name: ClassVar[str]

    @property
    def judge(self) -> str | None:
        """What is compared, and who reads it back ("masks, by pycocotools"); None where the format has no geometry."""
        ...

    def image_path(self, item: Item) -> str | None:
        """Where the item's image goes, relative to the export, POSIX; None where the format writes images itself.

        The file is linked or copied; it is converted where the suffix `.jpg` is asked for and the source is no JPEG.
        """
        ...

    def refuse(self, plan: Plan) -> None:
        """Raise SelectionError where the format cannot hold this plan."""
        ...

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """Translate one image and read it back. Called from several threads; must depend on its arguments alone."""
        ...

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """Write everything but the images. `encoded` comes in the plan's order, lazily; keep none of it."""
        ...

    def next_step(self, out: Path) -> str:
        """The command that would train on the export."""
        ...

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether the folder looks like this format. Never raises."""
        ...

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Re-read the whole folder and report what its readers would choke on. Raises nothing on bad content."""
        ...

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Every image with its labels as the format's own reader takes them, whoever wrote them; one at a time.

        Raises ExportError, naming file and line, where the labels cannot be read, and opens no file outside the folder.
        """
        ...

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """All classes in the order of their ids, those without an object too. Raises as `read` does."""
        ...


@runtime_checkable
class Repeating(Protocol):
    """A format whose trainer reads repeats from the files themselves."""

    def repeat(self, out: Path, repeats: Sequence[tuple[Item, int]]) -> None:
        """Let the trainer see each image of `train` so many times, 1 or more; everything else is written."""
        ...


def writes_repeats(target: Format) -> TypeGuard[Repeating]:
    """Whether repeats go into the export's own files; where not, its trainer draws by weights."""
    return isinstance(target, Repeating)


def good_is_a_class(target: Format | type[Format]) -> bool:
    """Whether images without a defect have a class of their own."""
    return bool(getattr(target, "good_is_a_class", False))


def takes_background(target: Format) -> bool:
    """Whether images without a region go into an export."""
    return bool(getattr(target, "takes_background", True))


def formats() -> dict[str, type[Format]]:
    """Every format by name: the modules of this folder, then those of installed packages."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found: dict[str, type[Format]] = {name: importlib.import_module(f"{__name__}.{name}").FORMAT for name in names}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        found.setdefault(point.name, cast(Any, point.load()))
    return found


def format_named(name: str) -> type[Format]:
    """One format.

    Raises:
        SelectionError: there is none of that name.
    """
    known = formats()
    if name not in known:
        raise SelectionError(f"no format {name!r}; there are: {', '.join(known)}")
    return known[name]
