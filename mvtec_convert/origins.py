"""Where an image of an export belongs in MVTec AD's tree: its category, defect type and name.

An export of this tool says so by its names (`<category>_<defect type>_<stem>`, see `plan`) and in `classes.json` and
`splits.json`. Any other says what its objects are called, and its folder's name is the category.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from mvtec_convert import splits
from mvtec_convert.dataset import GOOD
from mvtec_convert.errors import ExportError, is_text
from mvtec_convert.formats import Format
from mvtec_convert.jsonio import load_json
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.plan import CLASSES_FILE, file_safe
from mvtec_convert.runs.publish import MANIFEST
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.export import ClassEntry, ClassesFile

COMBINED = "combined"
"""MVTec AD's own folder for images that show several types of defect."""

IN_TRAIN = "train_"
"""What `plan` puts before the name of a good image of the source's train."""

NO_CATEGORY = frozenset({"train", "val", "valid", "validation", "test", "images", "annotations", "ground_truth"})
"""Names of folders that a category cannot have: with a `train` or `test` in it, a folder is a category."""

TAKEN_BY_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
ASKED_BY_PHRASE = "saco"
"""The format that numbers phrases by itself, and not as `classes.json` does: the images' names tell what they show."""

LONGEST_NAME = 100  # characters of a folder's name


@dataclass(frozen=True, slots=True)
class Origin:
    """What is known of where an image comes from.

    Attributes:
        category: what is shown.
        defect_type: of the source; None where the name does not tell.
        stem: the name to give it there.
        is_train: whether it was in the source's train, which has good images alone; None where the name does not tell.
    """

    category: str
    defect_type: str | None
    stem: str
    is_train: bool | None = None


class Origins:
    """What an export says of the places of its images.

    Attributes:
        category: of images whose names tell none.
        members: by class name, the (category, defect type) pairs in it; empty for exports of other tools.
    """

    def __init__(self, folder: Path, target: type[Format], category: str | None) -> None:
        """Read what lies beside an export.

        Args:
            folder: the dataset, or its one annotation file.
            target: its format.
            category: of all its images, whatever they are called; None: as their names say, else the folder's name.

        Raises:
            ExportError: a file that this tool wrote beside the export is damaged.
        """
        root = _top(folder)
        self._forced = category
        self._asked_by_phrase = target.name == ASKED_BY_PHRASE
        self.category = category or _folder_category(root)
        self.members = _members(root, target)
        pairs = {pair for pairs in self.members.values() for pair in pairs} | _folders_of_keys(root)
        if not pairs:
            pairs = {(self.category, name) for name in target.class_names(folder)}
        pairs |= {(name, GOOD) for name in {self.category, *(name for name, _ in pairs)}}
        self._by_prefix = {file_safe(f"{name}_{defect}"): (name, defect) for name, defect in sorted(pairs)}

    def of(self, image: LabelledImage) -> Origin:
        """Where an image comes from, by its name; the longest prefix that is known holds."""
        name = image.name
        for at in sorted((match.start() for match in re.finditer("_", name)), reverse=True):
            known = self._by_prefix.get(name[:at])
            if known is not None and name[at + 1 :]:
                category, defect = known
                return self._origin(self._forced or category, defect, name[at + 1 :])
        return Origin(self.category, None, name)

    def _origin(self, category: str, defect: str, stem: str) -> Origin:
        if defect != GOOD:
            return Origin(category, defect, stem, is_train=False)
        is_train = stem.startswith(IN_TRAIN) and stem != IN_TRAIN
        return Origin(category, GOOD, stem.removeprefix(IN_TRAIN) if is_train else stem, is_train)

    def defect_type(self, class_name: str, origin: Origin) -> str:
        """What an object of a class is called in the tree, given where its image comes from."""
        members = self.members.get(class_name, ())
        if self._asked_by_phrase and not members and origin.defect_type not in (None, GOOD):
            return str(origin.defect_type)
        if (origin.category, origin.defect_type) in members:
            return str(origin.defect_type)
        here = [defect for category, defect in members if category == origin.category]
        if len(here) == 1:
            return here[0]
        return members[0][1] if len(members) == 1 else class_name


def _top(folder: Path) -> Path:
    """The dataset's top folder, where it or one annotation file was given."""
    root = folder if folder.is_dir() else folder.parent
    return root.parent if root.name == "annotations" else root


def _folder_category(root: Path) -> str:
    """The name of the nearest folder that is not called as a part of a dataset."""
    resolved = root.resolve()
    names = [folder.name for folder in (resolved, *resolved.parents)]
    return next((name for name in names if name and name.casefold() not in NO_CATEGORY), "dataset")


def _members(root: Path, target: type[Format]) -> Mapping[str, tuple[tuple[str, str], ...]]:
    """By class name, what `classes.json` says is in it; empty where there is none.

    Formats whose readers are asked with words call their classes by phrases, in the order of the ids.
    """
    entries = _classes(root)
    if not entries:
        return {}
    members = {entry.name: tuple(_pairs(entry.members)) for entry in entries}
    names = target.class_names(root)
    if len(names) == len(entries) and target.name != ASKED_BY_PHRASE:
        members |= {name: members[entry.name] for name, entry in zip(names, entries, strict=True)}
    return members


def _classes(root: Path) -> list[ClassEntry]:
    """What `classes.json` lists, by id; nothing where it is another tool's file of that name."""
    path = root / CLASSES_FILE
    if not path.is_file():
        return []
    try:
        return sorted(ClassesFile.model_validate(load_json(path)).classes, key=lambda entry: entry.id)
    except (ValidationError, ExportError) as error:
        if not (root / MANIFEST).is_file():
            return []
        reason = error.reason if isinstance(error, ExportError) else problems(error)[0]
        raise ExportError(reason, path=path, hint="restore it, or export again") from None


def _pairs(members: Iterable[str]) -> Iterable[tuple[str, str]]:
    for member in members:
        category, _, defect = member.partition("/")
        yield category, defect


def _folders_of_keys(root: Path) -> set[tuple[str, str]]:
    """(category, folder) of every image of the source, as `splits.json` lists them; a folder may be a defect type."""
    if not (root / splits.FILE_NAME).is_file() or not (root / MANIFEST).is_file():
        return set()
    keys = (key.split("/") for key in splits.load(root).assignments)
    return {(parts[0], folder) for parts in keys for folder in parts[1:-1]}


# --- names -----------------------------------------------------------------------------------------------------------


class FolderNames:
    """A folder for each name, one that any file system can hold and no other name has.

    Attributes:
        changed: folders by the names that they could not keep.
    """

    def __init__(self, reserved: Iterable[str], suffix: str) -> None:
        """Take no reserved name, in upper or lower case; such a name gets the suffix."""
        self._reserved = {name.casefold() for name in reserved}
        self._suffix = suffix
        self._folders: dict[str, str] = {}
        self._taken: set[str] = set()
        self.changed: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The folder of a name."""
        if name not in self._folders:
            safe = _safe(name)
            if safe.casefold() in self._reserved:
                safe += self._suffix
            folder = unused(safe, self._taken)
            self._taken.add(folder.casefold())
            self._folders[name] = folder
            if folder != name:
                self.changed[name] = folder
        return self._folders[name]


def _safe(name: str) -> str:
    """A name that Windows, macOS and Linux can hold, and that no reader takes for hidden, or for an archiver's."""
    text = "".join(ch if is_text(ch) else "_" for ch in file_safe(name))[:LONGEST_NAME]
    text = text.strip(" .")
    if text.startswith("__MACOSX") or TAKEN_BY_WINDOWS.fullmatch(text):
        text = f"a_{text}"
    return text or "unnamed"


def safe_stem(name: str) -> str:
    """The same for the name of a file."""
    return _safe(name)


def unused(name: str, taken: Iterable[str]) -> str:
    """The name, with a number where it is taken; `taken` is case-folded, as some file systems do not tell A from a."""
    number = 1
    candidate = name
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
