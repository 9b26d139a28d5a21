"""Source layouts: how a dataset lies on disk. One module a layout; the list of layouts is this folder.

Third parties add theirs by an entry point in the group `mvtec_convert.layouts` that names a module (or any
object) with the two functions of `Layout`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, cast

from mvtec_convert.dataset import Dataset, Sample
from mvtec_convert.errors import DatasetNotFoundError, SelectionError
from mvtec_convert.findings import Finding

ENTRY_POINTS = "mvtec_convert.layouts"


class Layout(Protocol):
    """What a layout module offers."""

    def matches(self, root: Path) -> bool:
        """Whether the folder `root` looks like this layout. Reads folder names only; never raises."""
        ...

    def scan(self, root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
        """Yield every image below `root`; report what does not fit, with its category, and go on."""
        ...


def layouts() -> dict[str, Layout]:
    """Every layout by name: the modules of this folder, then those of installed packages."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = {name: cast(Layout, importlib.import_module(f"{__name__}.{name}")) for name in names}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        found.setdefault(point.name, point.load())
    return found


def load(root: str | Path, *, layout: str | None = None) -> Dataset:
    """Read a dataset from disk: which images there are and where their masks are. Decodes nothing.

    Args:
        root: the folder of categories, or one category.
        layout: name of its layout; recognised where None.

    Raises:
        DatasetNotFoundError: no such folder, or nothing in it that a layout recognises.
        SelectionError: no layout of that name.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DatasetNotFoundError("no such folder", path=root, hint="give the folder that holds the categories")
    known = layouts()
    if layout is not None and layout not in known:
        raise SelectionError(f"no layout {layout!r}; there are: {', '.join(known)}")
    findings: dict[str, list[Finding]] = {}
    try:
        name = layout or next((name for name, candidate in known.items() if candidate.matches(root)), None)
        samples = [] if name is None else list(known[name].scan(root, _collector(findings)))
    except OSError as error:
        raise DatasetNotFoundError(
            f"cannot be read: {error.strerror}", path=error.filename or root, hint="check the folder's permissions"
        ) from None
    if name is None or not (samples or findings):
        raise DatasetNotFoundError(
            "no dataset here: no images in <category>/train/good or <category>/test/<defect>",
            path=root,
            hint="give the folder that holds the categories, or one category",
        )
    samples.sort(key=lambda sample: sample.key)
    return Dataset(root, name, tuple(samples), {category: tuple(found) for category, found in findings.items()})


def _collector(findings: dict[str, list[Finding]]) -> Callable[[str, Finding], None]:
    return lambda category, finding: findings.setdefault(category, []).append(finding)
