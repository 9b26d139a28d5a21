"""`mvtec-convert layouts` and `mvtec-convert formats`."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

if TYPE_CHECKING:
    from mvtec_convert.formats import Format
    from mvtec_convert.plugins import Plugin

COMMANDS = {
    "classify": "yolo --task classify",
    "medsam": "sam --layout medsam",
    "saco": "sam --layout saco",
    "sam2": "sam --layout sam2",
    "sam3": "sam --layout sam3",
}
"""Of formats whose command is not called as they are."""

MORE_OF_A_FORMAT = "mvtec-convert formats NAME says more of one"


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
    from mvtec_convert.layouts import layout_named, layout_plugins
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
        _show_broken("layout", layout_plugins())
    else:
        console.show_text(inspect.getdoc(layout_named(name)) or "")


def formats(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", show_default=False, help="One format: its files and its options.")
    ] = None,
) -> None:
    """List the formats that datasets are written in, with the command for each and who reads it.

    Example: `mvtec-convert formats coco`
    """
    from mvtec_convert.cli import console
    from mvtec_convert.formats import format_named, format_plugins
    from mvtec_convert.formats import formats as known
    from mvtec_convert.tables import Table

    if name is not None:
        _show_format(name, format_named(name))
        return
    rows = tuple((each, _command(each), _readers(target)) for each, target in known().items())
    console.show_table(Table(("format", "command", "read by"), rows, title="Formats", note=MORE_OF_A_FORMAT))
    _show_broken("format", format_plugins())


def _show_format(name: str, target: type[Format]) -> None:
    from mvtec_convert.cli import console
    from mvtec_convert.formats import options_of
    from mvtec_convert.tables import Table

    module = sys.modules[target.__module__]
    own = not target.__module__.startswith("mvtec_convert.")
    console.show_text(inspect.getdoc(target if own else module) or "")
    rows = tuple((option.name, _type_name(option.type), _default(option.default)) for option in options_of(target))
    if rows:
        console.show_text("")
        note = f"mvtec-convert export --format {name} --set {rows[0][0]}=..."
        console.show_table(Table(("option", "values", "default"), rows, title="Options", note=note))


def _command(name: str) -> str:
    if name in COMMANDS:
        return COMMANDS[name]
    return name if find_spec(f"mvtec_convert.cli.{name}") else f"export --format {name}"


def _readers(target: type[Format]) -> str:
    """Who reads a format; of another package's, what it says of itself in its first line, unless it says who."""
    told = getattr(sys.modules[target.__module__], "READERS", None)
    return str(told or (inspect.getdoc(target) or "").partition("\n")[0].removesuffix("."))


def _type_name(declared: Any) -> str:
    """What an option may be, as a person reads it."""
    choices = get_args(declared)
    if get_origin(declared) is Literal:
        return ", ".join(map(str, choices))
    if choices:
        return " or ".join(_type_name(choice) for choice in choices if choice is not type(None))
    return {bool: "true, false", int: "a whole number", float: "a number", str: "text"}.get(declared, str(declared))


def _default(value: object) -> str:
    return "" if value is None or value is dataclasses.MISSING else str(value)


def _show_broken(what: str, offered: Mapping[str, Plugin]) -> None:
    from mvtec_convert.cli import console

    for plugin in offered.values():
        if plugin.problem is not None:
            console.show_error(plugin.error(what))
