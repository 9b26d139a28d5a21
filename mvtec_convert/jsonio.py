"""JSON on disk: written the same everywhere, read with errors that name the file."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson

from mvtec_convert.errors import ExportError
from mvtec_convert.opening import open_file, read_file

MOST_BYTES = 1 << 31
"""Of a JSON file that is read whole; COCO's largest published relatives have 1.3 GB."""

MOST_LINE = 1 << 26
"""Bytes of one record."""

IN_PART = 8
"""Records of a file that are read at once where several processes share it out."""


def save_json(document: Any, path: Path) -> None:
    """Write UTF-8 JSON, indented, with a line feed at its end."""
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ExportError: it cannot be read, or is no JSON.
    """
    return parse_json(read_bytes(path), path)


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a file whole.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        ExportError: it cannot be read, or has more.
    """
    try:
        return read_file(path, most)
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


@dataclass(frozen=True, slots=True)
class RecordLines:
    """A list of a JSON file with each record on a line of its own, read anew each time it is iterated over.

    Attributes:
        path: of the file.
        starts: where the first record begins, and each `IN_PART` records farther on; bytes.
        first_line: the line of the first record, 1-based.
        count: number of records.
    """

    path: Path
    starts: Sequence[int]
    first_line: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        with open_file(self.path) as file:
            file.seek(self.starts[0])
            yield from map(_record, islice(_lines(file), self.count))

    def parts(self) -> list[RecordLines]:
        """The list in pieces of `IN_PART` records, the last of the rest."""
        return [
            RecordLines(self.path, (start,), self.first_line + before, min(IN_PART, self.count - before))
            for start, before in zip(self.starts, range(0, self.count, IN_PART), strict=False)
        ]


def parse_lines(path: Path) -> dict[str, Any] | None:
    """The document of a JSON file that is laid out as this package writes COCO, its records left on disk; else None.

    The layout: other keys on the first line, then for each list a line `"key":[`, a line for each record, and a line
    `],`, for the last list `]}`. The lists become `RecordLines`, so that a file of gigabytes takes no more memory than
    a small one. Each record is parsed once here, so that none is found to be no JSON later on.
    """
    try:
        with open_file(path) as file:
            return _lists_on_lines(file, path)
    except (OSError, ValueError):
        return None


def _lists_on_lines(file: IO[bytes], path: Path) -> dict[str, Any] | None:
    head = file.readline(MOST_LINE)
    if not head.endswith(b",\n"):
        return None
    document: dict[str, Any] = orjson.loads(head[:-2] + b"}")
    line = 2
    while key := re.fullmatch(rb'"(\w+)":\[\n', file.readline(MOST_LINE)):
        starts, name = array("q", [file.tell()]), key[1].decode()
        count, closing = _skip_records(file, starts)
        if name in document:
            return None
        document[name] = RecordLines(path, starts, line + 1, count)
        if closing != b"],\n":
            return document if closing == b"]}\n" and not file.read(1) else None
        line += count + 2
    return None


def _skip_records(file: IO[bytes], starts: array[int]) -> tuple[int, bytes]:
    """How many lines are records, and the line after them. Raises ValueError where one is not, or the list is not.

    `starts`, where each part of `IN_PART` records begins, bytes, is added to.
    """
    more = True  # records may follow: at the beginning, and after a comma
    for count, line in enumerate(_lines(file)):
        if line.startswith(b"]") and (not more or not count):
            return count, line
        if not more:
            break
        _record(line)
        more = line.endswith(b",\n")
        if (count + 1) % IN_PART == 0:
            starts.append(file.tell())
    raise ValueError("no list of records on lines")


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines from here on; what has more than `MOST_LINE` comes in parts, none of which is a record."""
    return iter(partial(file.readline, MOST_LINE), b"")


def _record(line: bytes) -> Any:
    return orjson.loads(line.removesuffix(b"\n").removesuffix(b","))


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
