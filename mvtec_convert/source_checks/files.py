"""What lies in a source's folders besides its images: junk, links, and names that do not travel."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mvtec_convert.dataset import Dataset
from mvtec_convert.errors import is_text
from mvtec_convert.findings import Finding

JUNK = ("Thumbs.db", ".DS_Store", "desktop.ini", "__MACOSX", "._*", ".ipynb_checkpoints")
"""What file managers, archivers and notebooks leave behind: names of files and folders, in any case."""

UNREAD_SUFFIXES = frozenset({".avif", ".gif", ".heic", ".jp2", ".jxl", ".ppm", ".tga", ".webp"})
"""Images by their suffix, but of kinds that no layout reads."""

LONGEST_NAME = 255
"""Bytes of a file name that common file systems hold."""

EXPORTED_MORE = len("train_-00000.jpeg")
"""Bytes that the name of an exported file may have beyond category, defect type and stem; see `plan`."""

REFUSED_BY_WINDOWS = re.compile(
    r'.*[<>:"\\|?*].*|.*[ .]|(con|prn|aux|nul|com\d|lpt\d)(\..*)?', re.IGNORECASE | re.DOTALL
)
"""Names with characters that Windows forbids, or with a dot or a space at the end, and names of its devices."""


@dataclass(slots=True)
class Tree:
    """Everything below a root; junk is named, but not looked into.

    Attributes:
        root: the folder.
        folders: each folder with the names in it, sorted; junk is not among them.
        files: every file that is there, links to files among them, sorted.
        junk: files and folders of nobody's data, sorted.
        dead_links: links that lead nowhere, or to a folder that holds them.
        specials: pipes, devices and sockets, sorted.
        linked: folders that links lead to.
    """

    root: Path
    folders: dict[Path, list[str]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    junk: list[Path] = field(default_factory=list)
    dead_links: list[Path] = field(default_factory=list)
    specials: list[Path] = field(default_factory=list)
    linked: set[Path] = field(default_factory=set)

    def lists_already(self, folder: Path) -> bool:
        """Whether a folder is a link to where another one led: of links to links there may be any number of ways."""
        if not folder.is_symlink():
            return False
        target = folder.resolve()
        if target in self.linked:
            return True
        self.linked.add(target)
        return False


def read_tree(dataset: Dataset) -> Tree:
    """List what lies in the folders of the dataset's categories, and beside them.

    Raises:
        OSError: a folder cannot be listed.
    """
    tree = Tree(dataset.root)
    holds_categories = any((dataset.root / name).is_dir() for name in dataset.categories)
    _list(dataset.root, tree, frozenset(), set(dataset.categories) if holds_categories else None)
    return tree


def _list(folder: Path, tree: Tree, above: frozenset[Path], wanted: set[str] | None = None) -> None:
    """Add a folder to the tree, and of the folders in it those that are wanted; `above` are the real ones around it."""
    above |= {folder.resolve()}
    names = tree.folders.setdefault(folder, [])
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if is_junk(path.name):
            tree.junk.append(path)
            continue
        names.append(path.name)
        if not path.exists() or (path.is_dir() and path.resolve() in above):
            tree.dead_links.append(path)
        elif path.is_file():
            tree.files.append(path)
        elif not path.is_dir():
            tree.specials.append(path)
        elif (wanted is None or path.name in wanted) and not tree.lists_already(path):
            _list(path, tree, above)


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is left behind by a tool, and never data."""
    return any(fnmatch.fnmatchcase(name.casefold(), pattern.casefold()) for pattern in JUNK)


def look_at_files(tree: Tree, dataset: Dataset) -> Iterator[Finding]:
    """`junk-file`, `dead-link`, `special-file`, `outside-folder`, `case-collision`, `unread-image` and `bad-name`."""
    for path in tree.junk:
        yield Finding("junk-file", "left behind by a tool, no data", str(path), severity="warning", hint="remove it")
    for path in tree.dead_links:
        yield Finding(
            "dead-link", "a link that leads nowhere, or round in a circle", str(path), hint="mend or remove it"
        )
    for path in tree.specials:
        message = "a pipe, a device or a socket, which nobody can read as a file"
        yield Finding("special-file", message, str(path), severity="warning", hint="remove it")
    yield from _links_that_lead_out(tree)
    yield from _colliding_names(tree)
    yield from _unread_images(tree, dataset)
    yield from _odd_names(tree, {finding.path for finding in dataset.findings if finding.code == "bad-name"})
    yield from _names_too_long(dataset)


def _links_that_lead_out(tree: Tree) -> Iterator[Finding]:
    root = tree.root.resolve()
    for path in (*tree.folders, *tree.files):
        if path != tree.root and path.is_symlink() and not path.resolve().is_relative_to(root):
            message = f"a link that leads out of the dataset, to {path.resolve()}"
            hint = "put the files themselves here, or the dataset cannot be moved or packed"
            yield Finding("outside-folder", message, str(path), severity="warning", hint=hint)


def _colliding_names(tree: Tree) -> Iterator[Finding]:
    for folder, names in tree.folders.items():
        first: dict[str, str] = {}
        for name in names:
            # As the file systems of macOS and Windows compare names.
            folded = unicodedata.normalize("NFC", name).casefold()
            if folded in first:
                message = f"differs from {first[folded]} in case alone: one replaces the other on Windows and macOS"
                hint = "rename one of them"
                yield Finding("case-collision", message, str(folder / name), severity="warning", hint=hint)
            first.setdefault(folded, name)


def _unread_images(tree: Tree, dataset: Dataset) -> Iterator[Finding]:
    """Images that are not in the dataset because of their kind."""
    for path in tree.files:
        if path.suffix.lower() in UNREAD_SUFFIXES:
            message = f"{path.suffix} images are not read by the layout {dataset.layout}, so this one is not used"
            yield Finding("unread-image", message, str(path), severity="warning", hint="save it as PNG")


def _odd_names(tree: Tree, told: Container[str]) -> Iterator[Finding]:
    """Names that do not travel; those of images that cannot be used are told already."""
    for folder, names in tree.folders.items():
        for name in names:
            path = str(folder / name)
            if not is_text(name) and path not in told:
                message = "the name holds control characters or is not text"
                yield Finding("bad-name", message, path, severity="warning", hint="rename it")
            elif REFUSED_BY_WINDOWS.fullmatch(name):
                message = "Windows cannot hold this name, and class names made from it cannot be folders there"
                yield Finding("bad-name", message, path, severity="warning", hint="rename it")


def _names_too_long(dataset: Dataset) -> Iterator[Finding]:
    for sample in dataset:
        length = len(f"{sample.category}_{sample.defect_type}_{sample.stem}".encode(errors="surrogateescape"))
        if length + EXPORTED_MORE > LONGEST_NAME:
            message = f"an export joins category, defect type and name, {length} bytes: too long for a file name"
            hint = "rename the image, and its mask with it"
            yield Finding("bad-name", message, str(sample.image), hint=hint)
