"""Checks that several formats share. None raises on bad content, and none leaves the dataset's folder."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Container, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, overload

import orjson
from pydantic import BaseModel, ValidationError

from mvtec_convert.errors import ExportError, MaskError
from mvtec_convert.findings import Finding, Severity
from mvtec_convert.geometry.headers import MOST_BYTES
from mvtec_convert.geometry.images import read_mask, size_and_end
from mvtec_convert.jsonio import RecordLines, lines_of_records, parse_lines, read_bytes
from mvtec_convert.opening import BLOCK, FilePath, open_file
from mvtec_convert.opening import leads_out as leads_out
from mvtec_convert.schemas import problems

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

PROBLEMS_TOLD = 3
"""Schema errors told of one record; the others mostly follow from these."""

ALIKE_TOLD = 20
"""Findings of one code told of one file; the others are counted."""

HEAD = 1 << 16  # bytes; photographs that differ do so early

T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


# --- findings --------------------------------------------------------------------------------------------------------


def limited(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings, each once; of those alike in one file only the first ones, at the end how many more there are."""
    told: Counter[tuple[str, str, Severity]] = Counter()
    yielded: set[Finding] = set()
    next_line: dict[tuple[str, str, Severity], int | None] = {}
    for finding in findings:
        if finding in yielded:
            continue
        kind = (finding.path, finding.code, finding.severity)
        told[kind] += 1
        if told[kind] <= ALIKE_TOLD:
            yielded.add(finding)
            yield finding
        else:
            next_line.setdefault(kind, finding.line)
    for kind, line in next_line.items():
        path, code, severity = kind
        yield Finding(code, f"and {told[kind] - ALIKE_TOLD} more like this", path, line, severity)


class Firsts(Container[int]):
    """The index of the first record of each id. Ids that count on with the records, as most do, take no memory."""

    def __init__(self) -> None:
        self._ahead: int | None = None  # of an id that counts on, to its index
        self._row = range(0)
        self._others: dict[int, int] = {}

    def __contains__(self, number: object) -> bool:
        return number in self._row or number in self._others

    def setdefault(self, number: int, index: int) -> int:
        """The index of the first record of this id, which is `index` where there was none."""
        if self._ahead is None:
            self._ahead, self._row = number - index, range(number, number)
        if number in self._row:
            return number - self._ahead
        if number == self._row.stop == index + self._ahead and number not in self._others:
            self._row = range(self._row.start, number + 1)
            return index
        return self._others.setdefault(number, index)


def refusal(finding: Finding) -> ExportError:
    """The error for those who want to read what a check finds unsound; it names file and line."""
    where = finding.path if finding.line is None else f"{finding.path}:{finding.line}"
    return ExportError(finding.message, path=where, hint=finding.hint)


def sound(reading: Generator[Finding, None, T], forgiven: Container[str] = ()) -> T:
    """What a reading returns that checks use as well, and that tells what is wrong on its way.

    Args:
        reading: yields findings, returns what it read.
        forgiven: codes of errors that leave something to read.

    Raises:
        ExportError: at its first error. Warnings are passed over.
    """
    while True:
        try:
            finding = next(reading)
        except StopIteration as end:
            read: T = end.value
            return read
        if finding.severity == "error" and finding.code not in forgiven:
            raise refusal(finding)


@dataclass(slots=True)
class JsonFile:
    """A JSON file under check.

    Attributes:
        path: where it lies.
        data: its bytes; those before the first records where these are left on disk.
        document: what it says.
        hint: what to do about a record that is not as the schema wants it.
    """

    path: Path
    data: bytes
    document: Any
    hint: str
    _lines: dict[str, Sequence[int]] = field(default_factory=dict)

    def finding(
        self,
        code: str,
        message: str,
        key: str | None = None,
        index: int = 0,
        severity: Severity = "error",
        hint: str | None = None,
    ) -> Finding:
        """A finding about record `index` of the top-level list `key`, or about the whole file."""
        if key is None:
            return Finding(code, message, str(self.path), None, severity, hint)
        if key not in self._lines:
            self._lines[key] = self._find_lines(key)
        line = self._lines[key][index] if index < len(self._lines[key]) else None
        return Finding(code, f"{key}[{index}]: {message}", str(self.path), line, severity, hint)

    def _find_lines(self, key: str) -> Sequence[int]:
        records = self.document.get(key) if isinstance(self.document, dict) else None
        if isinstance(records, RecordLines):
            return range(records.first_line, records.first_line + len(records))
        return lines_of_records(self.data, key)

    def schema_findings(self, sentences: Sequence[str], key: str | None = None, index: int = 0) -> Iterator[Finding]:
        """What pydantic has to say about one record, or about the whole file."""
        for sentence in sentences[:PROBLEMS_TOLD]:
            record = re.match(r"(\w+)\[(\d+)\][.:] ?", sentence) if key is None else None
            if record is None:
                yield self.finding("schema", sentence, key, index, hint=self.hint)
            else:
                rest = sentence[record.end() :]
                yield self.finding("schema", rest, record[1], int(record[2]), hint=self.hint)


def open_json(path: Path, hint: str) -> JsonFile | Finding:
    """The file, or why it cannot be read."""
    try:
        data = read_bytes(path)
        return JsonFile(path, data, orjson.loads(data), hint)
    except ExportError as error:
        return Finding("bad-json", error.reason, str(path))
    except orjson.JSONDecodeError as error:
        advice = "restore the file, or write it again"
        if data[error.pos : error.pos + 9].lstrip(b"-").startswith((b"NaN", b"Infinity")):
            advice = "JSON has neither NaN nor Infinity; mend or remove that record"
        return Finding("bad-json", f"not JSON: {error.msg}", str(path), error.lineno, hint=advice)


def open_records(path: Path, hint: str) -> JsonFile | Finding:
    """The same, with the records left on disk where the file is laid out for it; see `parse_lines`."""
    document = parse_lines(path)
    if document is None:
        return open_json(path, hint)
    with path.open("rb") as file:
        return JsonFile(path, file.readline(), document, hint)


def read_json(path: Path, hint: str) -> JsonFile:
    """The file, for those who want to read it.

    Raises:
        ExportError: it cannot be read, or is no JSON.
    """
    file = open_json(path, hint)
    if isinstance(file, Finding):
        raise refusal(file)
    return file


def read_json_as(path: Path, model: type[Model], hint: str) -> tuple[JsonFile, Model]:
    """The file, and what it says in the form of the model; see `read_json`.

    Raises:
        ExportError: the document does not fit the model.
    """
    file = read_json(path, hint)
    try:
        return file, model.model_validate(file.document)
    except ValidationError as error:
        raise refusal(next(file.schema_findings(problems(error)))) from None


# --- paths -----------------------------------------------------------------------------------------------------------


def is_file(path: FilePath) -> bool:
    """Whether a file is there; False for a name that no file can have, where `Path.is_file` may raise."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: FilePath) -> bool:
    """Whether a folder is there; never raises."""
    return os.path.isdir(path)  # noqa: PTH112


def is_no_file(path: Path) -> bool:
    """Whether something is there that cannot be read: a dead link, a pipe, a folder."""
    return os.path.lexists(path) and not is_file(path)


def below(folder: Path, path: Path) -> Path | None:
    """`path` without its detours if, by its text, it lies in `folder` or is it; else None."""
    base, target = (Path(os.path.normpath(place.absolute())) for place in (folder, path))
    return folder / target.relative_to(base) if target.is_relative_to(base) else None


@dataclass(slots=True)
class Paths(Sequence[Path]):
    """Paths, kept as text: a `Path` takes three times the memory, and there are hundreds of thousands."""

    texts: Sequence[str]

    @classmethod
    def in_order(cls, texts: Iterable[str]) -> Paths:
        """Paths in the order in which `Path` sorts: part by part."""
        return cls(sorted(texts, key=lambda text: text.replace(os.sep, "\0")))

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> Path | Paths:
        return Paths(self.texts[index]) if isinstance(index, slice) else Path(self.texts[index])


def images_below(folder: Path) -> Paths:
    """Every image below `folder`, sorted, dead links too; trainers look into no hidden file or folder."""
    return files_below(folder, IMAGE_SUFFIXES, hidden=False)


def files_below(folder: Path, suffixes: Container[str], *, hidden: bool = True) -> Paths:
    """Everything below `folder` with one of the suffixes that is no folder, sorted as paths are.

    Args:
        folder: where to look; not in folders that are links.
        suffixes: in lower case.
        hidden: look at what is hidden, too.
    """
    found: list[str] = []
    for place, inner, names in os.walk(folder):
        if not hidden:
            inner[:] = (name for name in inner if not name.startswith("."))
        wanted = (name for name in names if os.path.splitext(name)[1].lower() in suffixes)  # noqa: PTH122 - many
        found += (os.path.join(place, name) for name in wanted if hidden or not name.startswith("."))  # noqa: PTH118
    return Paths.in_order(found)


# --- images ----------------------------------------------------------------------------------------------------------


def image(path: FilePath, size: tuple[int, int] | None = None, smallest_side: int = 1) -> Iterator[Finding]:
    """Whether an image is there, can be opened, and has the stated `size` (width, height) in px."""
    try:
        actual, has_its_end = size_and_end(path)
        if not has_its_end:
            read_mask(path)  # decodes everything
    except MaskError as error:
        if is_file(path):
            yield Finding("bad-image", error.reason, str(path), hint=error.hint)
        else:
            hint = "restore the image, or remove what refers to it"
            yield Finding("missing-image", "the image is missing", str(path), hint=hint)
        return
    except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
        yield Finding("bad-image", f"cannot be read: {error}", str(path), hint="restore the file from its source")
        return
    if size is not None and actual != size:
        message = f"the image is {actual[0]} x {actual[1]} px, the annotations say {size[0]} x {size[1]}"
        yield Finding("image-size", message, str(path), hint="annotate the image at the size that it has")
    if min(actual) < smallest_side:
        message = f"{actual[0]} x {actual[1]} px: the trainer drops images below {smallest_side} px"
        yield Finding("tiny-image", message, str(path), severity="warning", hint="remove it, or use larger images")


def shared_images(images_by_split: Mapping[str, Iterable[FilePath]]) -> Iterator[Finding]:
    """Images that are in two splits, by content: a score on one would be learnt from the other.

    Missing images are compared by name. Names alone prove nothing else: many datasets have a `000.png` in each folder.
    """
    # Paths as text, which takes a third of the memory, and of the time.
    places = [(split, path) for split, paths in images_by_split.items() for path in dict.fromkeys(map(str, paths))]
    leaks: set[str] = set()
    for same in _same(places, (_size_or_name, _head, _content)):
        split, first = same[0]
        for other, path in same[1:]:
            if other != split:
                leaks.add(path)
                hint = f"remove it from {split} or from {other}"
                message = f"the same image is in {other} and in {split} ({Path(first).name})"
                yield Finding("split-leak", message, path, hint=hint)
    yield from _same_names(places, leaks)


def _same(
    places: Sequence[tuple[str, str]], keys: Sequence[Callable[[str], Hashable]]
) -> Iterator[Sequence[tuple[str, str]]]:
    """Groups of places in more than one split whose paths agree in all keys; dear keys are asked last."""
    if not keys:
        yield places
        return
    for group in _grouped(places, lambda place: keys[0](place[1])):
        if len({split for split, _ in group}) > 1:
            yield from _same(group, keys[1:])


def _grouped(items: Sequence[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Items of one key, where there are several; most have a key to themselves, and take no list."""
    first: dict[Hashable, int] = {}
    groups: dict[int, list[T]] = {}
    for i, item in enumerate(items):
        at = first.setdefault(key(item), i)
        if at != i:
            groups.setdefault(at, [items[at]]).append(item)
    return [groups[at] for at in sorted(groups)]


def _size_or_name(path: str) -> Hashable:
    try:
        found = os.stat(path)  # noqa: PTH116
        return found.st_size if stat.S_ISREG(found.st_mode) else _name(path)
    except (OSError, ValueError):
        return _name(path)


def _name(path: str) -> str:
    return os.path.basename(path)  # noqa: PTH119


def _head(path: str) -> Hashable:
    return _digest(path, HEAD)


def _content(path: str) -> Hashable:
    size = _size_or_name(path)
    if isinstance(size, int) and size <= HEAD:
        return None  # its head was all of it
    # What no reader takes for an image may be a hole of any size.
    return path if isinstance(size, int) and size > MOST_BYTES else _digest(path)


def _digest(path: str, size: int = -1) -> Hashable:
    """Digest of the file's first `size` bytes, or of all; the name where there is no file to read."""
    digest = hashlib.blake2b(digest_size=32)
    try:
        with open_file(path) as file:
            while block := file.read(size if size > 0 else BLOCK):
                digest.update(block)
                if size > 0:
                    break
    except (OSError, ValueError):
        return _name(path)
    return digest.digest()


def identical_files(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """Groups of files of the same content, each of two or more, in the order given; only those of one size are read."""
    texts = map(str, paths)
    for same in _same([(path, path) for path in texts], (_size_or_name, _head, _content)):
        yield [Path(path) for _, path in same]


def _same_names(places: Sequence[tuple[str, str]], leaks: set[str]) -> Iterator[Finding]:
    """One finding for each pair of splits that use a name for different images."""
    pairs: dict[tuple[str, str], list[str]] = {}
    for same in _same(places, (_name,)):
        for split, path in same[1:]:
            if split != same[0][0] and path not in leaks:
                pairs.setdefault((same[0][0], split), []).append(path)
    for (first, second), paths in pairs.items():
        example = Path(paths[0])
        message = f"{len(paths)} file names are in {first} as well, with other content, the first {example.name}"
        hint = f"make sure that {first} and {second} show different things"
        yield Finding("same-name", message, str(example.parent), severity="warning", hint=hint)
