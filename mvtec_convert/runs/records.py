"""What was written where, and from what: so that a run which would do the same again can say so, and do nothing.

FOLDER/<digest of the target>.json      the record of the last export that went well
FOLDER/<digest of the target>.journal   what an export has done so far; see `mvtec_convert.runs.journal`

They hold times, which differ from machine to machine, so they are no part of the export. A record is believed only as
far as it can be checked: every file that was read and every file that was written must be what it was then. Its first
line is a seal that cannot be made without knowing the question, which is written nowhere; see
`mvtec_convert.runs.journal`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from hmac import compare_digest
from pathlib import Path
from typing import Any

import orjson

from mvtec_convert.dataset import Dataset
from mvtec_convert.errors import MvtecConvertError
from mvtec_convert.opening import is_own, read_file
from mvtec_convert.runs import fingerprints
from mvtec_convert.runs.fingerprints import Fingerprint, content_of, digest, of_dataset, of_folder, seal
from mvtec_convert.runs.rebuild import plain, rebuild
from mvtec_convert.splits import FILE_NAME as SPLITS_FILE
from mvtec_convert.summary import Summary

MOST_BYTES = 1 << 26
"""Of a record; it grows with the images that were left out, or balanced."""

MOST_FILES = 200
MOST_KEPT = 1 << 30
"""Files, and bytes, that are kept for all targets together; the oldest go first."""

KEPT = re.compile(r"[0-9a-f]{32}\.(json|journal|\d+)", re.ASCII)
"""Names of the files that are kept; with a number, one that a killed run had begun to write."""

FILES_ASKED = ("phrases", "split_from")
"""Options whose value is a file, which may change under its name."""


@dataclass(frozen=True, slots=True)
class Records:
    """Where is remembered what was exported, and how far that is believed.

    Attributes:
        folder: this user's own; made if need be.
        by_content: recognise files by their content, not by size and time. Then every file is read.
        fresh: believe nothing.
    """

    folder: str | Path
    by_content: bool = False
    fresh: bool = False


@dataclass
class Run:
    """One export, as it is asked for.

    Attributes:
        records: where to remember it.
        dataset: what is exported, before anything is left out.
        out: the target.
        asked: every option that may change a byte of the export, or a word of its summary.
    """

    records: Records
    dataset: Dataset
    out: Path
    asked: Mapping[str, Any]
    _written: Fingerprint | None = field(default=None, init=False)

    @cached_property
    def inputs(self) -> Fingerprint:
        """What the dataset's files were when this was first asked for: before any of them is read."""
        return of_dataset(self.dataset, by_content=self.records.by_content)

    @cached_property
    def journal(self) -> Path:
        """Where the export may write down what it has done."""
        return self._path.with_suffix(".journal")

    @cached_property
    def _folder(self) -> Path:
        return Path(self.records.folder).expanduser()

    @cached_property
    def _path(self) -> Path:
        return self._folder / f"{digest([str(self.out.expanduser().resolve())])}.json"

    @cached_property
    def _question(self) -> str:
        """Digest of what is asked, and who is asked: each file of this tool by its time, which no stranger knows."""
        options = orjson.dumps(self.asked, default=plain, option=orjson.OPT_SORT_KEYS).decode()
        files = map(_content_asked, (self.asked.get(name) for name in FILES_ASKED))
        return digest([fingerprints.of_tool(), str(self.out), str(self.dataset.root), options, *files])

    def recall(self) -> Summary | None:
        """What the export holds, if it is there, and doing it again would change nothing; else None."""
        inputs = self.inputs
        if self.records.fresh or not inputs.is_settled:
            return None
        try:
            record = self._load()
            written = of_folder(self.out.expanduser(), by_content=self.records.by_content)
            if not self._is_same(record, inputs, written):
                return None
            summary: Summary = rebuild(Summary, record["summary"])
        except (OSError, ValueError, TypeError, KeyError, MvtecConvertError):
            return None  # there is none; or it is stale, damaged, or of another version
        if (record["inputs"], record["outputs"]) != (inputs.seen, written.seen):
            self._written = written
            self.save(summary)  # the same content with other times
        summary.is_up_to_date, summary.reused = True, 0
        return summary

    def look_at(self, folder: Path) -> None:
        """Remember what was written; before it is put in place, where others may change it."""
        self._written = of_folder(folder, by_content=self.records.by_content)

    def save(self, summary: Summary) -> None:
        """Remember an export that is in its place. Where that fails, nothing is remembered."""
        if self._written is None or not self.inputs.is_settled:
            return
        with suppress(OSError, TypeError):  # a full or read-only disk; an option, or a name, that JSON cannot hold
            document = {
                "inputs": self.inputs.seen,
                "outputs": self._written.seen,
                "content": [self.inputs.content, self._written.content],
                "summary": summary,
            }
            body = orjson.dumps(document, default=plain)
            make_room(self._folder)
            if not is_own(self._folder):
                return
            unfinished = self._path.with_suffix(f".{os.getpid()}")
            unfinished.unlink(missing_ok=True)
            with unfinished.open("xb") as file:
                file.write(seal(body, self._question) + b"\n" + body)
            unfinished.replace(self._path)

    def _load(self) -> dict[str, Any]:
        if not is_own(self._folder):
            raise ValueError("another user may have written it")
        sealed, _, body = read_file(self._path, MOST_BYTES).partition(b"\n")
        if not compare_digest(sealed, seal(body, self._question)):
            raise ValueError("of another question, or changed")
        record = orjson.loads(body)
        if not isinstance(record, dict):
            raise TypeError("not a record")
        return record

    def _is_same(self, record: Mapping[str, Any], inputs: Fingerprint, written: Fingerprint) -> bool:
        if self.records.by_content:
            return bool(record["content"] == [inputs.content, written.content])
        return bool((record["inputs"], record["outputs"]) == (inputs.seen, written.seen))


def _content_asked(path: object) -> str | None:
    if not isinstance(path, str | os.PathLike):
        return None
    path = Path(path)
    return content_of(path / SPLITS_FILE if path.is_dir() else path)


def make_room(folder: Path) -> None:
    """Make the folder, and remove what is oldest in it of this tool's once that is too much.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in _too_old(folder.iterdir()):
        with suppress(OSError):
            path.unlink()


def _too_old(paths: Iterable[Path]) -> list[Path]:
    ours = (path for path in paths if KEPT.fullmatch(path.name))
    found = sorted(((path.lstat(), path) for path in ours), key=lambda pair: pair[0].st_mtime_ns, reverse=True)
    size, old = 0, []
    for number, (status, path) in enumerate(found):
        size += status.st_size
        if number >= MOST_FILES or size > MOST_KEPT:
            old.append(path)
    return old
