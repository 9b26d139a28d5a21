"""Source layouts: how a dataset lies on disk. One module a layout; the list of layouts is this folder.

Third parties add theirs by an entry point in the group `mvtec_convert.layouts` that names a module (or any
object) with the two functions of `Layout`; see examples/plugin.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, cast

from mvtec_convert.dataset import Dataset, Sample
from mvtec_convert.errors import DatasetNotFoundError, SelectionError, exhausted
from mvtec_convert.findings import Finding
from mvtec_convert.layouts import own
from mvtec_convert.plugins import LAYOUTS, Plugin, described, named, plugins
from mvtec_convert.source_tree import folders, is_tree

GENERAL = "mvtec_ad"
"""Tried last: most other layouts have its folders as well."""

DEEPEST = 2
"""Folders below the one given in which a dataset is looked for."""

MOST_FOLDERS = 200
"""To look through for it; who gives the folder of all data means something else."""

SHOWN = 5


class Layout(Protocol):
    """What a layout module offers.

    Its docstring draws the tree, and names licence and citation. `TITLE`, `KNOWN_BY` and `LICENCE` are one line each
    about it, for lists; a layout of an installed package may lack them.
    """

    def matches(self, root: Path) -> bool:
        """Whether the folder `root` looks like this layout. Reads folder names only; never raises."""
        ...

    def scan(self, root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
        """Yield every image below `root`; report what does not fit, with its category, and go on."""
        ...


def layouts() -> dict[str, Layout]:
    """Every layout by name, in the order in which they are tried.

    The modules of this folder, the general one last of all, and before it those of installed packages that can be used.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = {name: cast(Layout, importlib.import_module(f"{__name__}.{name}")) for name in names}
    for name, plugin in layout_plugins().items():
        if plugin.problem is None:
            found.setdefault(name, plugin.value)
    found[GENERAL] = found.pop(GENERAL)
    return found


def layout_plugins() -> dict[str, Plugin]:
    """The layouts of installed packages by name, those that cannot be used among them."""
    return plugins(LAYOUTS, ("matches", "scan"))


def recognised(root: Path) -> str | None:
    """Name of the layout that a folder is in, or None; a layout of an installed package that fails to tell is none.

    Raises:
        OSError: the folder cannot be read.
    """
    for name, candidate in layouts().items():
        try:
            if candidate.matches(root):
                return name
        except OSError:
            raise
        except Exception:
            if name not in layout_plugins():
                raise
    return None


def layout_named(name: str) -> Layout:
    """One layout; raises as `plugins.named` does."""
    return named("layout", name, layouts(), layout_plugins())


def load(root: str | Path, *, layout: str | None = None) -> Dataset:
    """Read a dataset from disk: which images there are and where their masks are.

    Decodes nothing, except for layouts in which nothing but a black mask says that an image is good. Where the dataset
    lies a folder or two deeper (`root/mvtec_anomaly_detection/carpet`) with no other beside it, that one is read, and
    so are categories that were each unpacked into a folder of their name (`root/carpet/carpet`).

    Args:
        root: the folder of categories, or one category; or a TOML file that describes own data.
        layout: name of its layout; recognised where None.

    Raises:
        DatasetNotFoundError: no such folder, or nothing in it that a layout recognises.
        SelectionError: no layout of that name, or a description that cannot be read.

    >>> mc.load("mvtec_anomaly_detection")
    Dataset('mvtec_anomaly_detection', 3 categories, 42 good and 60 defective images)
    """
    root = Path(root).expanduser()
    if root.suffix.lower() == ".toml" and root.is_file():
        return _load_described(root, layout)
    if not root.is_dir():
        raise DatasetNotFoundError("no such folder", path=root, hint="give the folder that holds the categories")
    findings: dict[str, list[Finding]] = {}
    try:
        roots, name = ([root], layout) if layout is not None else _recognised_within(root)
        report = _collector(findings)
        samples = [] if name is None else [s for each in roots for s in layout_named(name).scan(each, report)]
        root = roots[0] if len(roots) == 1 else root
        if name != own.NAME:
            _tell_of_others(root, samples, report)
    except OSError as error:
        raise exhausted(error) or DatasetNotFoundError(
            f"cannot be read: {error.strerror}", path=error.filename or root, hint="check the folder's permissions"
        ) from None
    if name == own.NAME:
        return own.described_dataset(root, samples, findings)
    if name is None or not (samples or findings):
        raise _nothing_here(root, layout)
    samples.sort(key=lambda sample: sample.key)
    return Dataset(root, name, tuple(samples), {category: tuple(found) for category, found in findings.items()})


def _recognised_within(root: Path) -> tuple[list[Path], str | None]:
    """The folder that is a dataset, or folders whose categories are one, and the name of the layout that they are in.

    Raises:
        DatasetNotFoundError: there are several datasets below `root`.
    """
    name = recognised(root)
    inner = {} if name is not None else _datasets_below(root)
    if not inner:
        return [root], name
    names = set(inner.values())
    if len(inner) == 1 or (len(names) == 1 and all(_holds_its_own_name(folder) for folder in inner)):
        return list(inner), names.pop()
    listed = ", ".join(str(folder) for folder in list(inner)[:SHOWN]) + (", ..." if len(inner) > SHOWN else "")
    raise DatasetNotFoundError(
        f"no dataset, but there are {len(inner)} below it: {listed}", path=root, hint="give one of them"
    )


def _datasets_below(root: Path) -> dict[Path, str]:
    """The nearest folders that are datasets, and their layouts; none where there are many folders to look through."""
    level = [root]
    for _ in range(DEEPEST):
        level = [folder for parent in level for folder in _readable_folders(parent)]
        if len(level) > MOST_FOLDERS:
            return {}
        named = ((folder, recognised(folder)) for folder in level)
        found = {folder: name for folder, name in named if name is not None}
        if found:
            return found
    return {}


def _readable_folders(folder: Path) -> list[Path]:
    try:
        return [path for path in folders(folder) if os.access(path, os.R_OK | os.X_OK)]
    except OSError:
        return []


def _holds_its_own_name(folder: Path) -> bool:
    """Whether a category was unpacked into a folder of its name."""
    return [path.name for path in folders(folder)] == [folder.name]


def _tell_of_others(root: Path, samples: list[Sample], report: Callable[[str, Finding], None]) -> None:
    """Report datasets among the categories of `root`, which are not read."""
    named = sorted({sample.category for sample in samples})
    holding = map(Path, {os.path.dirname(sample.files[0]) for sample in samples})  # noqa: PTH120 - fewer than images
    read = {(*folder.relative_to(root).parts, "")[0] for folder in holding if folder.is_relative_to(root)}
    for folder in folders(root) if named and read <= set(named) else ():
        if folder.name not in read and not is_tree(folder) and any(map(recognised, folders(folder))):
            message = "a dataset of its own among the categories: not read"
            hint = f"give {folder.name} by itself, or move its categories beside the others"
            report(named[0], Finding("nested-dataset", message, str(folder), severity="warning", hint=hint))


def _load_described(path: Path, layout: str | None) -> Dataset:
    from mvtec_convert.own_data import read_description

    if layout not in (None, own.NAME):
        message = f"a description of own data, which is not in the layout {layout}"
        raise SelectionError(message, path=path, hint="leave the layout away")
    return own.load_own(path.parent, read_description(path))


def _nothing_here(root: Path, layout: str | None) -> DatasetNotFoundError:
    if layout is not None:
        message, hint = f"no image in the layout {layout} here", "`mvtec-convert layouts` says how each lies on disk"
    else:
        message = "no dataset here: no images in <category>/train/good or <category>/test/<defect>"
        hint = "give the folder that holds the categories, or one category; `mvtec-convert layouts` lists all layouts"
        hint += "".join(f"; {failing}" for failing in _failing_plugins(root))
    return DatasetNotFoundError(message, path=root, hint=hint)


def _failing_plugins(root: Path) -> Iterator[str]:
    """Why layouts of installed packages could not be tried."""
    for plugin in layout_plugins().values():
        problem = plugin.problem
        try:
            if problem is None:
                plugin.value.matches(root)
        except Exception as error:
            problem = described(error)
        if problem is not None:
            yield plugin.error("layout", problem).reason


def _collector(findings: dict[str, list[Finding]]) -> Callable[[str, Finding], None]:
    return lambda category, finding: findings.setdefault(category, []).append(finding)
