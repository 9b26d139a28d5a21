"""Descriptions of own data: the TOML file, and files that say what the values or colours of masks mean."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from mvtec_convert.dataset import GOOD, PixelNames
from mvtec_convert.errors import SelectionError, is_name
from mvtec_convert.layouts.own import OwnData
from mvtec_convert.opening import leads_out, read_text
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.own import OwnDataFile
from mvtec_convert.source_tree import is_defect_name

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - depends on the interpreter
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

EXAMPLE = 'images = "parts/*.jpg", masks = "masks/{stem}.png"'
VALUES_FORM = '{"1": "scratch", "2": "dent"}, as JSON or TOML'
MOST_BYTES = 1 << 20
"""Of a description, or of a file of values or colours; both parsers take seconds for more."""

COLOURS_FORM = '{"#ff0000": "scratch", "#00ff00": "dent"}, as JSON or TOML'


def read_description(path: Path) -> OwnData:
    """Read a TOML file that describes own data; see `schemas/own.schema.json`.

    Raises:
        SelectionError: the file cannot be read, or says what makes no sense.
    """
    hint = f"the least it says: {EXAMPLE}"
    document = _read(path, hint)
    try:
        said = OwnDataFile.model_validate(document)
        return OwnData(
            images=_listed(said.images),
            masks=_listed(said.masks),
            category=said.category,
            defect=said.defect,
            good_when_no_mask=said.good_when_no_mask,
            good_when_black_mask=said.good_when_black_mask,
            pixel_names=_of_tables(said.values, said.colors),
        )
    except ValidationError as error:
        raise SelectionError(problems(error)[0], path=path, hint=hint) from None
    except SelectionError as error:
        raise SelectionError(error.reason, path=path, hint=error.hint or hint) from None


def pixel_names(values: Path | None, colors: Path | None) -> PixelNames | None:
    """What a file of values, or a file of colours, says.

    Raises:
        SelectionError: both are given, or a file cannot be read.
    """
    if values is not None and colors is not None:
        raise SelectionError("a mask is read by its values or by its colours, not by both", hint="give one of them")
    if values is not None:
        return _told(_of_values, values, VALUES_FORM)
    return None if colors is None else _told(_of_colours, colors, COLOURS_FORM)


def _told(parse: Callable[[Mapping[str, Any]], PixelNames], path: Path, form: str) -> PixelNames:
    hint = f"its form is {form}"
    document = _read(path, hint)
    try:
        return parse(document)
    except SelectionError as error:
        raise SelectionError(error.reason, path=path, hint=hint) from None


def _of_tables(values: Mapping[str, Any] | None, colours: Mapping[str, Any] | None) -> PixelNames | None:
    if values and colours:
        raise SelectionError("a mask is read by its values or by its colours, not by both", hint="keep one table")
    if values:
        return _of_values(values)
    return _of_colours(colours) if colours else None


def _of_values(table: Mapping[str, Any]) -> PixelNames:
    return _named("value", table, _value)


def _of_colours(table: Mapping[str, Any]) -> PixelNames:
    return _named("colour", table, _colour)


def _named(by: Any, table: Mapping[str, Any], parse: Callable[[object], int | None]) -> PixelNames:
    """Names by code; the file may be written either way round, `{"1": "scratch"}` or `{"scratch": 1}`."""
    names: dict[int, str] = {}
    for left, right in table.items():
        code, name = (parse(left), right) if parse(left) is not None else (parse(right), left)
        if code is None or not is_name(name):
            raise SelectionError(f"{left!r}: {right!r} does not name a {by}")
        if code and not is_defect_name(name):
            raise SelectionError(f"{left!r}: {right!r}: only images without a defect are called {GOOD}")
        if code in names:
            raise SelectionError(f"{left!r}: this {by} is called {names[code]!r} already")
        if code:  # black may be listed as background; it is never a defect
            names[code] = name
    if not names:
        raise SelectionError(f"names no {by}")
    return PixelNames(by, tuple(sorted(names.items())))


def _value(code: object) -> int | None:
    """A pixel value; None for what is none."""
    text = str(code).strip()
    return int(text) if re.fullmatch(r"\d{1,5}", text) and int(text) <= 65535 else None


def _colour(code: object) -> int | None:
    """0xRRGGBB of `#ff0000`, `255,0,0` or [255, 0, 0]; None for what is no colour."""
    if isinstance(code, list):
        code = ",".join(map(str, code))
    text = str(code).strip()
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:], 16)
    parts = [_value(part) for part in re.split(r"[,\s]+", text.strip("()[]"))]
    channels = [part for part in parts if part is not None and part <= 255]
    if len(channels) != 3 or len(parts) != 3:
        return None
    red, green, blue = channels
    return red << 16 | green << 8 | blue


def _read(path: Path, hint: str) -> Mapping[str, Any]:
    try:
        text = read_text(path, MOST_BYTES)
        document = orjson.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SelectionError(f"cannot be read: {error.strerror}", path=path, hint=hint) from None
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise SelectionError(f"no {kind}: {error}", path=path, hint=hint) from None
    if not isinstance(document, dict):
        raise SelectionError("not a table", path=path, hint=hint)
    return document


def _listed(text: str | list[str]) -> tuple[str, ...]:
    patterns = (text,) if isinstance(text, str) else tuple(text)
    for pattern in filter(leads_out, patterns):
        # The file may come with the data, from anyone; flags are its user's own.
        hint = "put the file into the folder that holds all of the data, or give the patterns as --images and --masks"
        raise SelectionError(f"{pattern} leads out of the folder that the description lies in", hint=hint)
    return patterns
