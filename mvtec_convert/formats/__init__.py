"""Target formats: what trainers read. One module a format; the list of formats is this folder.

Each module names its class `FORMAT`, and in one line who reads it, `READERS`. Third parties add theirs by an entry
point in the group `mvtec_convert.formats` that names a class; `SimpleFormat` spares them most, see examples/plugin.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeGuard, get_type_hints, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from mvtec_convert.errors import ExportError, SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.plugins import FORMATS, Plugin, named, plugins


@dataclass(frozen=True, slots=True)
class Encoded:
    """One image in a format's own words.

    Attributes:
        item: which image.
        width: px.
        height: px.
        defect_types: of each region; of one for the image as a whole, where the format has no geometry.
        rows: what goes into the format's files, one for each region, or one for the image; the format knows.
        ious: for each region, the IoU of what the format's reader makes of it with the region itself;
            1.0 means exactly the same pixels (or, for boxes, the same pixel edges). Empty where the format has no
            geometry.
    """

    item: Item
    width: int
    height: int
    defect_types: tuple[str, ...]
    rows: tuple[bytes, ...]
    ious: tuple[float, ...]

    @property
    def regions(self) -> int:
        """How many regions the image has."""
        return len(self.defect_types)

    @property
    def class_names(self) -> list[str]:
        """Of each region."""
        return [self.item.classes[defect_type].name for defect_type in self.defect_types]


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


@dataclass(frozen=True)
class SimpleFormat:
    """A format without geometry to be judged, whose images are files of their own: it has `rows`, `write` and `name`.

    A subclass with options of its own is a frozen dataclass, too.
    """

    name: ClassVar[str]

    @property
    def judge(self) -> str | None:
        """Nobody reads the regions back."""
        return None

    def image_path(self, item: Item) -> str | None:
        """`images/<split>/<name>.<suffix>`."""
        return f"images/{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """It holds any plan."""

    def rows(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Iterable[str]:
        """One image in the format's own words, as `write` gets them. Called from several threads."""
        raise NotImplementedError(f"{type(self).__qualname__} defines no rows")

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """The image's rows."""
        rows = tuple(row.encode() for row in self.rows(item, image, labels))
        return Encoded(item, image.width, image.height, image.defect_types, rows, ())

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """Write everything but the images. `encoded` comes in the plan's order, lazily; keep none of it."""
        raise NotImplementedError(f"{type(self).__qualname__} defines no write")

    def next_step(self, out: Path) -> str:
        """Nothing is known of its trainer."""
        return f"train on it with what reads {self.name}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Only its manifest, or `--format`, says that a folder is in this format."""
        return False

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Nothing is looked at, and that is told."""
        message = f"nothing checks files of the format {cls.name}"
        hint = "look at some of them, or define `check` in the package that writes them"
        yield Finding("not-checked", message, str(folder), severity="warning", hint=hint)

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """It is written, but not read back."""
        raise cls._unreadable(folder)

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """As `read`."""
        raise cls._unreadable(folder)

    @classmethod
    def _unreadable(cls, folder: Path) -> ExportError:
        return ExportError(f"the format {cls.name} can be written, but not read back", path=folder)


@dataclass(frozen=True, slots=True)
class FormatOption:
    """An option of a format, as its dataclass declares it.

    Attributes:
        name: of the field.
        type: of its values, as Python has it.
        default: without it.
    """

    name: str
    type: Any
    default: object


def options_of(target: type[Format]) -> tuple[FormatOption, ...]:
    """The options of a format that text can set."""
    if not is_dataclass(target):
        return ()
    types = get_type_hints(target)
    found = (FormatOption(entry.name, types[entry.name], entry.default) for entry in fields(target) if entry.init)
    return tuple(option for option in found if not is_dataclass(option.type))


def with_options(target: type[Format], options: Mapping[str, object]) -> Format:
    """A format with some of its options set; text is turned into what they are ("3" into 3).

    Raises:
        SelectionError: it has no such option, or none of that value.
    """
    types = {option.name: option.type for option in options_of(target)}
    for name in options:
        if name not in types:
            there_are = f"its options are {', '.join(types)}" if types else "it has none"
            raise SelectionError(f"the format {target.name} has no option {name!r}", hint=there_are)
    return target(**{name: _as_declared(name, value, types[name]) for name, value in options.items()})


def _as_declared(name: str, value: object, declared: Any) -> object:
    adapter: TypeAdapter[object] = TypeAdapter(declared)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        # Of a few choices, numbers are only taken as numbers.
        if isinstance(value, str) and value.lstrip("-").isdigit():
            return _as_declared(name, int(value), declared)
        raise SelectionError(f"{name}={value} is no value of this option: {error.errors()[0]['msg']}") from None


def formats() -> dict[str, type[Format]]:
    """Every format by name: the modules of this folder, then those of installed packages that can be used."""
    found = {name: _own(name) for name in _own_names()}
    for name, plugin in format_plugins().items():
        if plugin.problem is None:
            found.setdefault(name, plugin.value)
    return found


def _own_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _own(name: str) -> type[Format]:
    found: type[Format] = importlib.import_module(f"{__name__}.{name}").FORMAT
    return found


def format_plugins() -> dict[str, Plugin]:
    """The formats of installed packages by name, those that cannot be used among them."""
    return plugins(FORMATS, ("name", *(name for name in vars(Format) if not name.startswith("_"))))


def recognised(folder: Path) -> type[Format] | None:
    """The first format that a folder, or a file, looks like; one of an installed package that fails to tell is none."""
    for name, target in formats().items():
        try:
            if target.recognises(folder):
                return target
        except Exception:
            if name not in format_plugins():
                raise
    return None


def format_named(name: str) -> type[Format]:
    """One format; raises as `plugins.named` does."""
    if name in _own_names():
        return _own(name)  # without the modules of all others
    return named("format", name, formats(), format_plugins())
