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

from mvtec_convert.dataset import Sample
from mvtec_convert.findings import Finding

ENTRY_POINTS = "mvtec_convert.layouts"


class Layout(Protocol):
    """What a layout module offers."""

    def matches(self, root: Path) -> bool:
        """Whether the folder `root` looks like this layout. Reads folder names only; never raises."""
        ...

    def scan(self, root: Path, report: Callable[[Finding], None]) -> Iterator[Sample]:
        """Yield every image below `root`; report what does not fit, and go on."""
        ...


def layouts() -> dict[str, Layout]:
    """Every layout by name: the modules of this folder, then those of installed packages."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = {name: cast(Layout, importlib.import_module(f"{__name__}.{name}")) for name in names}
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        found.setdefault(point.name, point.load())
    return found
