"""One file over HTTP, gone on with where it was cut off. What is fetched is checked and stored by pooch.

pooch itself begins anew after each interruption; its `downloader` is the place for another way to get the bytes.
Ranges and validators: RFC 9110, sections 13.1.5, 14.2 and 15.5.17.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

import mvtec_convert
from mvtec_convert.downloads.sources import Archive
from mvtec_convert.errors import DownloadError, size_in_words
from mvtec_convert.opening import is_alone, read_text

if TYPE_CHECKING:
    import requests
    from requests import Response, Session

Progress = Callable[[int, int | None], None]
"""Called with (bytes that are here, bytes in all or None where the server does not say)."""

Room = Callable[[int, int], None]
"""Called before the first byte with (bytes to come, bytes in all); raises where the disk has no room for them."""

CHUNK = 1 << 20  # bytes
TIMEOUT = (20, 60)  # s: to connect, and between two reads
ATTEMPTS = 5
"""In a row that bring no byte further; then it is given up. What is here by then stays for the next time."""
PAUSE = 1.0  # s before the second attempt, doubled each time

MOST_FACTS = 1 << 16
"""Bytes of the facts about a part."""

_LATER = frozenset({408, 425, 429, 500, 502, 503, 504})  # statuses after which the same request may succeed


def fetch(archive: Archive, store: Path, *, otherwise: str, room: Room, progress: Progress) -> Path:
    """Get a file, or the rest of it; one that is in the store already is taken from there.

    Args:
        archive: where it is and what it should be.
        store: folder for it and for its parts; other files there are left alone.
        otherwise: the hint of errors that only another address can mend.
        room: asked before the first byte.
        progress: called for each MiB.

    Returns:
        Path of the file in the store. Its sha256 is the known one, if one is known.

    Raises:
        DownloadError: the server refuses, is out of reach, or sends something else. What was fetched is kept in the
            store, unless it is wrong.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    name = f"{hashlib.sha256(archive.url.encode()).hexdigest()[:12]}-{archive.file_name[-100:]}"
    partial = _Partial(archive, store / f"{name}.part", otherwise, room, progress)
    for own in (store / name, *partial.paths):
        with suppress(FileNotFoundError):
            if not is_alone(own):  # a link to what is somebody's, another name of it, or a pipe
                own.unlink()
    try:
        path = pooch.retrieve(archive.url, archive.sha256, fname=name, path=store, downloader=partial)
    except ValueError as error:  # the hash
        partial.discard()
        hint = f"try again; {otherwise}; if the publisher has replaced the file, give its new checksum with --sha256"
        raise DownloadError(str(error), path=archive.url, hint=hint) from None
    partial.discard()
    return Path(path)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, 64 hexadecimal digits."""
    import pooch

    return str(pooch.file_hash(str(path)))


@dataclass(frozen=True, slots=True)
class _Facts:
    """What must still hold for the rest of a file to fit its begin.

    Attributes:
        url: where the begin came from.
        validator: the server's mark of the version, an ETag or a date; None where it gave none that can be relied on.
        size: bytes in all; None where it did not say.
    """

    url: str
    validator: str | None
    size: int | None


class _InterruptedError(Exception):
    """An attempt is over; the next may succeed."""


class _Partial:
    """A file on its way, and the facts about it beside it. It is what pooch calls a downloader."""

    def __init__(self, archive: Archive, path: Path, otherwise: str, room: Room, progress: Progress) -> None:
        self._archive = archive
        self._path = path
        self._facts_path = path.with_name(path.name + ".json")
        self._otherwise = otherwise
        self._room = room
        self._progress = progress
        self._changes = 0

    def __call__(self, url: str, output_file: str, pooch: object, check_only: bool | None = None) -> None:
        """Write the whole file to `output_file`, in as many attempts as it takes."""
        import requests

        with requests.Session() as session:
            session.headers.update({"User-Agent": f"mvtec-convert/{mvtec_convert.__version__}"})
            # The length and the hash are those of the file as it is, not as a server may pack it for the way.
            session.headers.update({"Accept-Encoding": "identity"})
            try:
                self._complete(session)
            except BaseException:
                if not self._size():
                    self.discard()
                raise
        self._hand_over(Path(output_file))

    @property
    def paths(self) -> tuple[Path, Path]:
        """The part, and the facts about it."""
        return self._path, self._facts_path

    def discard(self) -> None:
        """Forget what was fetched."""
        self._path.unlink(missing_ok=True)
        self._facts_path.unlink(missing_ok=True)

    def _complete(self, session: Session) -> None:
        furthest, fruitless = self._size(), 0
        while True:
            try:
                self._attempt(session)
                return
            except _InterruptedError as error:
                fruitless = 0 if self._size() > furthest else fruitless + 1
                furthest = max(furthest, self._size())
                if fruitless == ATTEMPTS:
                    raise self._failed(f"given up after {ATTEMPTS} attempts: {error}", self._go_on()) from None
            time.sleep(PAUSE * 2**fruitless)

    def _attempt(self, session: Session) -> None:
        """Fetch what is missing.

        Raises:
            _InterruptedError: there is still something missing.
        """
        import requests
        import urllib3

        facts = self._load_facts()
        have = self._size() if facts else 0
        if facts and have == facts.size:
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        if facts and have and facts.validator:
            headers["If-Range"] = facts.validator
        try:
            with session.get(self._archive.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                self._receive(response, facts, have)
        except requests.exceptions.SSLError as error:
            raise self._failed(f"the connection is not safe: {_reason(error)}") from None
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _InterruptedError(_reason(error)) from None
        except urllib3.exceptions.HTTPError:  # while the body is read
            raise _InterruptedError(f"the connection broke off after {self._size()} bytes") from None
        except requests.RequestException as error:
            raise self._failed(f"cannot be fetched: {_reason(error)}") from None

    def _receive(self, response: Response, facts: _Facts | None, have: int) -> None:
        """Append the body of a response to what is here, or begin anew with it."""
        self._check_status(response)
        begin, size = 0, _number(response.headers.get("Content-Length"))
        if response.status_code != 200:
            begin, size = have, self._size_of_rest(response, facts, have)
        self._check_size(size)
        size = size or self._archive.size
        if response.status_code != 416:
            if size is not None:
                self._room(size - begin, size)
            self._save_facts(_Facts(self._archive.url, _validator(response), size))
            self._append(response, begin, size)

    def _check_status(self, response: Response) -> None:
        status = f"the server answers {response.status_code} {response.reason}"
        if response.status_code in _LATER:
            raise _InterruptedError(status)
        if response.status_code not in (200, 206, 416):
            raise self._failed(status)
        if response.status_code == 200 and response.headers.get("Content-Type", "").startswith("text/html"):
            raise self._failed("the server answers with a web page, not with a file")

    def _check_size(self, size: int | None) -> None:
        wanted = self._archive.size
        if size is not None and wanted is not None and size != wanted:
            raise self._failed(f"the server has another file: {size} bytes, not {wanted}")

    def _size_of_rest(self, response: Response, facts: _Facts | None, have: int) -> int | None:
        """The size of the whole file, by a response that must begin where our part ends.

        Raises:
            _InterruptedError: it does not fit; the part is discarded.
        """
        told = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
        begin, size = (_number(told[1]), _number(told[2])) if told else (None, None)
        # 416: there is nothing left to send, which is right where nothing was missing.
        fits = size == have if response.status_code == 416 else begin == have
        if not fits or (facts and _has_changed(response, facts, size)):
            self.discard()
            self._changes += 1
            if self._changes > 1:
                raise self._failed("the server sends parts that do not fit each other")
            raise _InterruptedError("the file has changed on the server")
        return size

    def _append(self, response: Response, begin: int, size: int | None) -> None:
        here = begin
        with self._path.open("r+b" if begin else "wb") as file:
            file.seek(begin)
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                file.write(chunk)
                here += len(chunk)
                self._progress(here, size)
                if size is not None and here > size:
                    break
        if size is not None and here > size:
            self.discard()
            raise self._failed(f"the server sends more than the {size} bytes that it announced")
        if size is not None and here < size:
            raise _InterruptedError(f"the connection broke off after {here} of {size} bytes")

    def _hand_over(self, target: Path) -> None:
        """Give pooch the file to check, and keep it until it is: checking takes long enough to be interrupted."""
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(self._path)
        except OSError:  # a file system without links
            self._path.replace(target)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _load_facts(self) -> _Facts | None:
        """The facts, if the rest of the file can be told to fit: by the server's mark, or in the end by the hash."""
        with suppress(OSError, ValueError, TypeError):
            facts = _Facts(**orjson.loads(read_text(self._facts_path, MOST_FACTS)))
            if (
                facts.url == self._archive.url
                and _can_be_header(facts.validator)
                and isinstance(facts.size, int | None)
                and (facts.validator or self._archive.sha256)
            ):
                return facts
        return None

    def _save_facts(self, facts: _Facts) -> None:
        self._facts_path.write_text(json.dumps(asdict(facts)), encoding="utf-8")

    def _go_on(self) -> str:
        kept = size_in_words(self._size())
        return f"{kept} are kept: run it again to go on from there" if self._size() else self._otherwise

    def _failed(self, reason: str, hint: str | None = None) -> DownloadError:
        return DownloadError(reason, path=self._archive.url, hint=hint or self._otherwise)


def _can_be_header(mark: object) -> bool:
    return mark is None or (isinstance(mark, str) and mark.isascii() and mark.isprintable())


def _validator(response: Response) -> str | None:
    """What to send as `If-Range`: a weak ETag may not be."""
    tag = response.headers.get("ETag")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")


def _has_changed(response: Response, facts: _Facts, size: int | None) -> bool:
    mark = None
    if facts.validator is not None:
        mark = response.headers.get("ETag" if facts.validator.startswith('"') else "Last-Modified")
    return mark not in (None, facts.validator) or facts.size not in (None, size)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _reason(error: requests.RequestException) -> str:
    """What is wrong, without the layers of libraries that it came through."""
    cause = error.args[0] if error.args else error
    return str(getattr(cause, "reason", None) or cause)
