"""What an export has done so far, so that the next run, after a kill, need not do it again.

The first line says for what tool and options it is. Then comes a line an image, as soon as it is done:

    SEAL MARK PLACED [what the format made of the image, or null where a filter emptied it]

The mark is a digest of all that the result depends on: the image's place in the export, and its files as they are.
PLACED is the digest of the image file that was made of the source's, `-` where that was linked or copied. The seal
holds for this tool and these options alone, and cannot be made without the key of both, which is written nowhere: so
no line counts that was changed, forged, or taken from another journal, nor any that comes after it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from hmac import compare_digest
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, TypeAlias

import orjson

from mvtec_convert.formats import Encoded, Format
from mvtec_convert.opening import is_alone, is_own
from mvtec_convert.plan import Item
from mvtec_convert.runs.fingerprints import content_of, digest, is_settled, of_tool, said, seal, seen
from mvtec_convert.runs.rebuild import hints_of, plain, rebuild

Content: TypeAlias = tuple[Any, ...]
"""An `Encoded` without its item."""

NAMES = tuple(field.name for field in fields(Encoded) if field.name != "item")

_of_item = attrgetter(*(field.name for field in fields(Item) if field.name != "sample"))

MOST_LINE = 1 << 20
"""Bytes; where a format makes more of an image (pixels, for instance), that is done again rather than kept twice."""

BUFFER = 1 << 16  # bytes; what a kill may lose


def content_of_image(encoded: Encoded) -> Content:
    """What a format made of an image, without saying of which."""
    return tuple(getattr(encoded, name) for name in NAMES)


def key_of(target: Format, *options: object) -> str:
    """Digest of all but the image that a format's `encode` depends on.

    Args:
        target: the format, with its options.
        options: what else there is; each says all of itself in its `repr`.
    """
    declared = type(target)
    module = getattr(sys.modules[declared.__module__], "__file__", None)  # of another package, perhaps
    own = (f"{declared.__module__}.{declared.__qualname__}", repr(target), seen(Path(module or "")))
    return digest([of_tool(), *own, *map(repr, options)])


class Journal:
    """The journal of one export; a context manager, which closes it."""

    def __init__(self, path: Path, key: str, *, by_content: bool = False, fresh: bool = False) -> None:
        """Open it, or begin a new one; where that is not possible, nothing is written down.

        Args:
            path: of the file; its folder is made if need be.
            key: digest of the tool and of all options that change what is made of an image.
            by_content: recognise files by their content, not by size and time.
            fresh: begin a new one in any case.
        """
        self._path, self._by_content, self._key = path, by_content, key
        self._first = f"mvtec-convert journal 2 {digest([key])} {NAMES}\n".encode()
        self._places: dict[bytes, int] = {}
        self._placed: dict[bytes, str] = {}
        self._emptied: set[bytes] = set()
        self._written: IO[bytes] | None = None
        self._read: IO[bytes] | None = None
        self._is_usable = True
        self._lines = self._used = 0
        with suppress(OSError):
            self._open(fresh)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for file in (self._written, self._read):
            if file is not None:
                with suppress(OSError):  # the disk is full
                    file.close()
        self._written = self._read = None
        if error is None and self._lines > 2 * self._used:
            with suppress(OSError):  # most of it is of images, or options, as they once were
                self._path.unlink()

    def __contains__(self, mark: bytes | None) -> bool:
        return mark in self._places

    def mark(self, item: Item) -> bytes | None:
        """By which an image is found here again; None where its files have just been changed, or are not there."""
        if self._written is None:
            return None
        files = item.sample.files
        stamps = list(map(seen, files))
        now = time.time_ns()
        if not all(stamp != "missing" and is_settled(stamp, now) for stamp in stamps):
            return None
        known = map(content_of, files) if self._by_content else stamps
        # None of these has a line feed.
        return digest(["\n".join([said(item.sample), repr(_of_item(item)), *map(str, known)])]).encode()

    def is_emptied(self, mark: bytes | None) -> bool:
        """Whether a filter left nothing of a defective image that is in here."""
        return mark in self._emptied

    def placed(self, mark: bytes | None) -> str | None:
        """Digest of the image file that was made for an image that is in here; None where none was made."""
        return None if mark is None else self._placed.get(mark)

    def read(self, mark: bytes | None) -> Content | None:
        """What was made of an image that is in here; None where a filter left nothing of it."""
        assert self._read is not None
        assert mark is not None
        self._used += 1
        self._read.seek(self._places[mark])
        found = _parsed(self._read.readline(MOST_LINE), self._key)
        assert found is not None  # each was looked at when the journal was opened, and nobody else writes to it
        return found[2]

    def add(self, mark: bytes | None, content: Content | None, placed: str | None = None) -> None:
        """Write an image down, with the digest of the image file that was made for it, if one was made."""
        if mark is None or self._written is None or not self._is_usable:
            return
        try:
            body = b"%b %b %b\n" % (mark, (placed or "-").encode(), orjson.dumps(content, default=plain))
            if len(body) < MOST_LINE - 64:
                self._written.write(seal(body, self._key) + b" " + body)
                self._lines += 1
                self._used += 1
        except (OSError, TypeError):  # a full disk; what another package's format calls its rows
            self._is_usable = False

    def _open(self, fresh: bool) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not is_own(self._path.parent):
            return
        with suppress(FileNotFoundError):
            if not is_alone(self._path):
                self._path.unlink()  # a link to what is somebody's, or another name of it
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        written = os.fdopen(os.open(self._path, flags, 0o600), "r+b", buffering=BUFFER)
        end = 0 if fresh else self._look_through(written)
        written.seek(end)
        written.truncate()
        if end == 0:
            written.write(self._first)
        written.flush()
        self._written, self._read = written, self._path.open("rb")

    def _look_through(self, file: IO[bytes]) -> int:
        """Where the lines end that can be used; their places are kept."""
        if file.readline(MOST_LINE) != self._first:
            return 0
        end = file.tell()
        for line in iter(lambda: file.readline(MOST_LINE), b""):
            found = _parsed(line, self._key)
            if found is None:
                break
            mark, placed, content = found
            self._places[mark] = end
            self._lines += 1
            if placed != "-":
                self._placed[mark] = placed
            if content is None:
                self._emptied.add(mark)
            end += len(line)
        return end


def _parsed(line: bytes, key: str) -> tuple[bytes, str, Content | None] | None:
    """(mark, digest of the image file or `-`, content) of a line; None of one that is no good."""
    sealed, _, body = line.partition(b" ")
    if not body.endswith(b"\n") or not compare_digest(sealed, seal(body, key)):
        return None
    try:
        mark, placed, text = body.split(b" ", 2)
        values = orjson.loads(text)
        return mark, placed.decode(), None if values is None else tuple(_content(values))
    except (ValueError, TypeError):
        return None


def _content(values: Any) -> Iterator[Any]:
    hints = hints_of(Encoded)
    for name, value in zip(NAMES, values, strict=True):
        yield rebuild(hints[name], value)
