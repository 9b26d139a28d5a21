"""`mvtec-convert layouts` and `mvtec-convert formats`."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated, Any

import typer

from mvtec_convert.errors import SelectionError

COMMANDS = {
    "classify": "yolo --task classify",
    "coco": "coco",
    "medsam": "sam --layout medsam",
    "saco": "sam --layout saco",
    "sam": "sam",
    "sam2": "sam --layout sam2",
    "sam3": "sam --layout sam3",
    "yolo": "yolo",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("layouts")(layouts)
    app.command("formats")(formats)


def layouts(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="One layout: its tree, licence, citation.")
    ] = None,
) -> None:
    """List the layouts that datasets are read from.

    Each is recognised by itself; `--source-layout NAME` forces one.

    Example: `mvtec-convert layouts mvtec_loco`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.layouts import layouts as known
    from mvtec_convert.tables import Table

    found: dict[str, Any] = dict(sorted(known().items()))
    if name is None:
        rows = tuple(
            (each, *(getattr(layout, fact, "") for fact in ("TITLE", "KNOWN_BY", "LICENCE")))
            for each, layout in found.items()
        )
        columns = ("layout", "dataset", "known by", "licence")
        console.show_table(Table(columns, rows, title="Layouts", note="mvtec-convert layouts NAME says more of one"))
    elif name in found:
        console.show_text(inspect.getdoc(found[name]) or "")
    else:
        raise SelectionError(f"no layout {name!r}; there are: {', '.join(found)}")


def formats() -> None:
    """List the formats that datasets are written in, and the command for each.

    Example: `mvtec-convert formats`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.formats import formats as known
    from mvtec_convert.tables import Table

    rows = tuple((name, _first_line(target), COMMANDS.get(name, "")) for name, target in known().items())
    console.show_table(Table(("format", "what it is", "command"), rows, title="Formats"))


def _first_line(target: type) -> str:
    """The first line of what the format's module says of itself."""
    doc = inspect.getdoc(sys.modules[target.__module__]) or ""
    line = doc.partition("\n")[0]
    return line if line.endswith("...") else line.removesuffix(".")
