"""JSON on disk: written the same everywhere, read with errors that name the file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson

from mvtec_convert.errors import ExportError


def save_json(document: Any, path: Path) -> None:
    """Write UTF-8 JSON, indented, with a line feed at its end."""
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ExportError: it cannot be read, or is no JSON.
    """
    return parse_json(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """Read a file whole.

    Raises:
        ExportError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot be read: {error.strerror}", path=path) from None


def parse_json(data: bytes, path: Path) -> Any:
    """The document in `data`, which was read from `path`.

    Raises:
        ExportError: it is no JSON; the message says where it stops being so.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ExportError(f"not JSON: {error}", path=path) from None


def lines_of_records(data: bytes, key: str) -> list[int]:
    """The 1-based line on which each element of the top-level array `key` begins; empty if that cannot be told.

    For messages about a few records of a large file: the document is walked only when there is something to say.
    """
    text = data.decode("utf-8", "replace")
    decoder, space = json.JSONDecoder(), re.compile(r"[\s,:]*")

    def skip(at: int) -> int:
        match = space.match(text, at)
        return match.end() if match else at

    try:
        at = skip(text.index("{") + 1)
        while text[at] != "}":
            name, at = decoder.raw_decode(text, at)
            at = skip(at)
            if name == key and text[at] == "[":
                starts = []
                at = skip(at + 1)
                while text[at] != "]":
                    starts.append(at)
                    at = skip(decoder.raw_decode(text, at)[1])
                return _line_numbers(text, starts)
            at = skip(decoder.raw_decode(text, at)[1])
    except (ValueError, IndexError, RecursionError):
        pass
    return []


def _line_numbers(text: str, positions: list[int]) -> list[int]:
    numbers, line, last = [], 1, 0
    for position in positions:
        line += text.count("\n", last, position)
        last = position
        numbers.append(line)
    return numbers
