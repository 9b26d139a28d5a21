"""Exports that are run again, where what an earlier run left was damaged, forged, or put there by a stranger.

What is asked of them is more than of readers: whatever lies in the way, the export is that of a fresh run, byte for
byte, or it is refused and all is as it was; and nothing that is not this tool's is changed, moved or removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import orjson

import mvtec_convert as mc
from mvtec_convert.errors import MvtecConvertError
from mvtec_convert.formats import medsam
from mvtec_convert.runs.fingerprints import of_folder
from mvtec_convert.runs.records import Records
from mvtec_convert.runs.staging import JOURNAL, LEFTOVER, LOCK, OUTPUT, REPLACED
from mvtec_convert.summary import Summary
from tests.fuzz import valid
from tests.fuzz.mutations import OUTSIDE, blind, damaged, json_values, odd_value
from tests.test_labelled import EXPORTS

WRITTEN = 1_600_000_000 * 10**9
"""ns, when all sources were written: long enough ago."""

MOST_COMPARED = 1 << 22  # bytes; larger files are of holes

Found = Mapping[str, object]
"""What is in a folder, by path: content, where a link leads, or the kind of anything else."""


@dataclass(frozen=True)
class Done:
    """One export as it is when all went well.

    Attributes:
        summary: what it said.
        record: the file by which the next run knows.
        journal: what it has done, image by image.
        files: content and time, ns, by path.
    """

    summary: Summary
    record: bytes
    journal: bytes
    files: Mapping[str, tuple[bytes, int]]

    @property
    def content(self) -> Found:
        return {name: content for name, (content, _) in self.files.items()}

    def write(self, folder: Path, names: list[str] | None = None) -> None:
        """Put it there, with its times."""
        for name in self.files if names is None else names:
            content, time = self.files[name]
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            os.utime(folder / name, ns=(time, time))


class Rerun:
    """A source, what is remembered of it, a place for exports, and somebody else's files beside these."""

    def __init__(self, folder: Path, damage: Callable[[Rerun, Random], str]) -> None:
        self.source, self.kept, self.out = folder / "set", folder / "kept", folder / "place" / "out"
        self.aside = folder / "aside"
        self.room = self.out.with_name(".out.partial")
        self.name, self.keywords = "", dict[str, Any]()
        self.with_records = True
        self.by_content = False
        self.must_be_refused = False
        self._damage = damage
        self._known: dict[tuple[str, str, int, bool], Done] = {}

    def prepare(self) -> None:
        medsam.SIDE = valid.SMALL_SQUARE
        valid.plates(self.source)
        (self.aside / "letters").mkdir(parents=True)
        (self.aside / "letters" / "draft.txt").write_bytes(b"years of work")
        for path in (*self.source.rglob("*"), *self.aside.rglob("*")):
            os.utime(path, ns=(WRITTEN, WRITTEN))
        self._dataset = mc.load(self.source)
        self._source = contents(self.source)

    def damage(self, random: Random) -> str:
        self.name = random.choice(list(EXPORTS))
        self.keywords = {"images": random.choice(("link", "copy", "copy")), "seed": random.choice((1, 2))}
        self.with_records, self.by_content, self.must_be_refused = True, random.random() < 0.2, False
        self.kept.mkdir(mode=0o700, exist_ok=True)
        done = self.done()  # before anything is damaged
        self.done(seed=3 - self.keywords["seed"])
        copied = self.done(images="copy")
        copied.write(self.aside / "export")
        told = self._damage(self, random)
        assert done is self.done()
        self._aside = contents(self.aside)
        return f"{self.name} {self.keywords}: {told}"

    def read(self, random: Random) -> str:
        """Run the export, twice: what the first leaves must not lead the second astray."""
        # After a run that was killed between its two renames, the former export is put back first.
        before = contents(self.out if os.path.lexists(self.out) else self.room / REPLACED)
        outcomes = []
        for _ in range(2):
            was_missing = not os.path.lexists(self.out)
            refusal = None
            try:
                summary = self._export(self.keywords)
            except MvtecConvertError as error:
                refusal = error
            found = contents(self.out)
            if refusal is not None:
                assert refusal.reason
                assert found == before or (was_missing and not found), f"refused, and changed: {refusal}"
            else:
                assert not self.must_be_refused, "what was in the export is lost"
                assert found == self.done().content, _difference(found, self.done().content)
                assert summary == self.done().summary, "another summary"
                before = found
            assert contents(self.source) == self._source, "the source is changed"
            assert contents(self.aside) == self._aside, _difference(contents(self.aside), self._aside)
            outcomes.append("read" if refusal is None else "refused")
        return outcomes[0]

    def restore(self) -> None:
        for folder in (self.kept, self.out.parent, self.aside / "export"):
            shutil.rmtree(folder, ignore_errors=True)
        for path in (self.source, *self.source.rglob("*")):
            if path.lstat().st_mtime_ns != WRITTEN and path.is_file():
                os.utime(path, ns=(WRITTEN, WRITTEN))

    def done(self, **other: Any) -> Done:
        """This export done well, or one with other options."""
        keywords = {**self.keywords, **other}
        key = (self.name, keywords["images"], keywords["seed"], self.by_content)
        if key not in self._known:
            summary = self._export(keywords)
            files = {
                path.relative_to(self.out).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
                for path in sorted(self.out.rglob("*"))
                if path.is_file()
            }
            self._known[key] = Done(summary, self.record.read_bytes(), self.journal.read_bytes(), files)
            shutil.rmtree(self.kept)
            shutil.rmtree(self.out.parent)
            self.kept.mkdir(mode=0o700)
        return self._known[key]

    @property
    def record(self) -> Path:
        return self._kept(".json")

    @property
    def journal(self) -> Path:
        return self._kept(".journal")

    def _kept(self, suffix: str) -> Path:
        name = hashlib.blake2b(f"{str(self.out)!r}\n".encode(), digest_size=16).hexdigest()
        return self.kept / f"{name}{suffix}"

    def _export(self, keywords: Mapping[str, Any]) -> Summary:
        records = Records(self.kept, by_content=self.by_content) if self.with_records else None
        return EXPORTS[self.name](self._dataset, self.out, records=records, jobs=1, **keywords)


def contents(folder: Path) -> Found:
    """What is in a folder and no folder itself; links are not followed."""
    found: dict[str, object] = {}
    for place, folders, names in os.walk(folder):
        for name in (*names, *folders):
            path = Path(place) / name
            status = path.lstat()
            inner = path.relative_to(folder).as_posix()
            if stat.S_ISLNK(status.st_mode):
                found[inner] = f"a link to {path.readlink()}"
            elif stat.S_ISREG(status.st_mode):
                found[inner] = path.read_bytes() if status.st_size < MOST_COMPARED else status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                found[inner] = status.st_mode
    return found


def _difference(found: Found, wanted: Found) -> str:
    lacking, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = sorted(name for name in found.keys() & wanted.keys() if found[name] != wanted[name])
    return f"lacking {lacking[:5]}, more {more[:5]}, other {other[:5]}"


# --- what is damaged -------------------------------------------------------------------------------------------------


def replaced(case: Rerun, path: Path, random: Random) -> str:
    """Anything but the file that belongs there."""
    remove(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    image = case.source / "plate" / "test" / "cut" / "003.png"
    letter = case.aside / "letters" / "draft.txt"
    kind = random.randrange(9)
    if kind == 0:
        path.mkdir()
        return "a folder"
    if kind == 1:
        os.mkfifo(path)
        return "a pipe"
    if kind in (2, 3):
        target = random.choice((image, letter, case.aside, case.source, path, Path("nowhere"), Path("/dev/zero")))
        path.symlink_to(target)
        return f"a link to {target.name}"
    if kind in (4, 5):
        target = random.choice((image, letter))
        os.link(target, path)
        return f"the same file as {target.name}"
    with path.open("wb") as file:
        file.truncate(random.choice((0, 1, 1 << 20, 1 << 42)))
    return "a file of zeros"


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def damage_journal(case: Rerun, random: Random) -> str:
    """What an export has done so far, where runs are remembered or beside the target."""
    case.with_records = random.random() < 0.7
    path = case.journal if case.with_records else case.room / JOURNAL
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not case.with_records:
        (case.room / LOCK).touch()
    if random.random() < 0.4:
        case.done(seed=3 - case.keywords["seed"]).write(case.out)
    if random.random() < 0.15:
        return "journal: " + replaced(case, path, random)
    sound = case.done().journal
    if random.random() < 0.4:
        sound = b"".join(sound.splitlines(keepends=True)[: random.randrange(1, 8)])
    data, told = sound, []
    for _ in range(random.choice((1, 1, 2, 3))):
        change = random.choice((blind_lines, moved_lines, foreign_lines, forged_lines, forged_lines))
        data = change(case, random, data)
        told.append(change.__name__)
    path.write_bytes(data)
    return f"journal: {told}"


def blind_lines(case: Rerun, random: Random, data: bytes) -> bytes:
    """Bytes changed, wherever; or it was cut off."""
    return blind(random, data) if random.random() < 0.7 else data[: random.randrange(len(data) + 1)]


def moved_lines(case: Rerun, random: Random, data: bytes) -> bytes:
    """Lines that are gone, repeated, or in another order."""
    lines = data.splitlines(keepends=True) or [b"\n"]
    at = random.randrange(len(lines))
    kind = random.randrange(5)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at:at] = [lines[at]] * random.choice((1, 3, 2000))
    elif kind == 2:
        random.shuffle(lines)
    elif kind == 3:
        lines.insert(at, random.choice((b"\n", b"\r\n", b"\0", b"[" * 5000 + b"\n", b"x" * (1 << 21))))
    else:
        lines = [line.replace(b"\n", random.choice((b"\r\n", b"\n\n", b" \n", b""))) for line in lines]
    return b"".join(lines)


def foreign_lines(case: Rerun, random: Random, data: bytes) -> bytes:
    """Lines of another export of the same images behind, among, or in place of those of this one."""
    name = random.choice((case.name, *EXPORTS))
    others = [done for (known, *_), done in case._known.items() if known in (name, case.name)]
    first, *own = data.splitlines(keepends=True) or [b"\n"]
    _, *foreign = random.choice(others).journal.splitlines(keepends=True)
    body = random.choice((foreign, own + foreign, foreign + own))
    return first + b"".join(body)


def forged_lines(case: Rerun, random: Random, data: bytes) -> bytes:
    """Lines that say something else, with the checksum that one who knows this program, and no secret, can give."""
    first, *lines = data.splitlines(keepends=True) or [b"\n"]
    parsed = [line.split(b" ", 3) for line in lines if line.count(b" ") >= 3]
    for line in random.sample(parsed, min(len(parsed), random.choice((1, 2, 7)))):
        kind = random.randrange(5)
        if kind == 0:
            line[3] = b"null\n"
        elif kind == 1:
            line[2:] = random.choice(parsed)[2:]
        elif kind == 2:
            line[1] = random.choice((*(each[1] for each in parsed), os.fsencode(random.choice(OUTSIDE))))
        else:
            line[3] = json_values(random, line[3]).replace(b"\n", b" ") + b"\n"
        body = b" ".join(line[1:])
        known = (b"", *(word[:64] for word in first.split()))
        line[0] = random.choice((b"%08x" % zlib.crc32(body), *(seal(body, key, 16) for key in known)))
    return first + b"".join(b" ".join(line) for line in parsed)


def seal(body: bytes, key: bytes, size: int) -> bytes:
    return hashlib.blake2b(body, key=key, digest_size=size).hexdigest().encode()


def damage_record(case: Rerun, random: Random) -> str:
    """The record of an export, which is there, is another one, was changed since, or is not there."""
    own, other = case.done(), case.done(seed=3 - case.keywords["seed"])
    there = random.choice((own, own, own, other, None))
    if there is not None:
        there.write(case.out)
    told = f"there is {'nothing' if there is None else 'it' if there is own else 'another'}"
    if there is not None and random.random() < 0.4:
        name = random.choice(list(there.files))
        (case.out / name).write_bytes(blind(random, there.files[name][0]) + b" ")
        told += f", with another {name}"
    if random.random() < 0.5:
        case.journal.write_bytes(own.journal)
    if random.random() < 0.15:
        return f"record: {replaced(case, case.record, random)}, {told}"
    data = random.choice((own, own, own, other)).record
    kind = random.randrange(4)
    if kind < 2:
        data = damaged(random, data, ".json")
    elif kind == 2:
        data = blind(random, data)
    else:
        data = _forged_record(case, random, data)
    case.record.write_bytes(data)
    return f"record: {('json', 'json', 'blind', 'forged')[kind]}, {told}"


def _forged_record(case: Rerun, random: Random, data: bytes) -> bytes:
    """One that fits what is there."""
    head, _, body = data.partition(b"\n")
    document = orjson.loads(body)
    if case.out.exists():
        there = of_folder(case.out, by_content=case.by_content)
        document["outputs"], document["content"][1] = there.seen, there.content
    if random.random() < 0.5:
        key = random.choice(list(document["summary"]))
        document["summary"][key] = random.choice((odd_value(random), document["summary"].get("format")))
    body = json.dumps(document).encode("utf-8", "surrogatepass")
    return random.choice((head, seal(body, random.choice((b"", head[:64])), 16))) + b"\n" + body


ROOM_NAMES = (
    OUTPUT, OUTPUT, REPLACED, JOURNAL, LOCK, f"{LEFTOVER}1", f"{LEFTOVER}1", f"{LEFTOVER}2", f"{LEFTOVER}x", LEFTOVER,
    f"{LEFTOVER}01", f"{LEFTOVER}-1", f"{LEFTOVER}{10**200}", f"{LEFTOVER}\u0663", "notes.txt", "\x1b[31m", "\udcff",
)  # fmt: skip


def damage_room(case: Rerun, random: Random) -> str:
    """The hidden folder beside the target, after a run that was killed, or as a stranger made it."""
    if random.random() < 0.7:
        case.journal.write_bytes(case.done().journal)
    case.with_records = random.random() < 0.8
    if random.random() < 0.5:
        case.done(seed=3 - case.keywords["seed"]).write(case.out)
    case.out.parent.mkdir(exist_ok=True)
    if random.random() < 0.04:
        return "room: " + replaced(case, case.room, random)
    case.room.mkdir(mode=0o700)
    if is_ours := random.random() < 0.85:
        (case.room / LOCK).touch()
    told = []
    for name in random.sample(ROOM_NAMES, random.choice((1, 1, 2, 3, 5))):
        path = case.room / name
        if not os.path.lexists(path) or random.random() < 0.1:
            told.append(f"{name!r}: {_left(case, path, random)}")
    if not is_ours and not os.path.lexists(case.room / LOCK):
        case.room.rename(case.aside / "export" / "room")
        case.room.symlink_to(case.aside / "export" / "room")
        told.append("by a link")
    return f"room: {', '.join(told)}"


def _left(case: Rerun, path: Path, random: Random) -> str:
    """What a killed run left, as it was or damaged; or something else."""
    kind = random.randrange(6)
    if kind == 0:
        return replaced(case, path, random)
    remove(path)
    if kind == 1:
        path.symlink_to(case.aside / "export")
        return "a link to another export"
    done = random.choice((case.done(), case.done(), case.done(images="copy"), case.done(seed=1), case.done(seed=2)))
    names = list(done.files)
    done.write(path, random.sample(names, random.randrange(1, len(names) + 1)))
    there = [each for each in path.rglob("*") if each.is_file()]
    if kind == 2:
        return "whole files"
    told = []
    for each in random.sample(there, min(len(there), random.choice((1, 3, 100)))):
        time = each.stat().st_mtime_ns
        content = bytearray(each.read_bytes() or b"x")
        content[random.randrange(len(content))] ^= 255
        each.write_bytes(random.choice((bytes(content), bytes(len(content)), b"", content[: len(content) // 2])))
        os.utime(each, ns=(time, time))
        told.append(each.name)
    inner = [each for each in path.iterdir() if each.is_dir()]
    if kind == 5 and inner:
        folder = random.choice(inner)
        shutil.rmtree(folder)
        folder.symlink_to(case.aside / "export" / folder.name)
        told.append(f"a link for {folder.name}")
    return f"damaged: {told[:3]}"


def damage_former(case: Rerun, random: Random) -> str:
    """The export that is to be replaced: its manifest says something else, or there is more in it."""
    case.with_records = random.random() < 0.3
    case.done(seed=3 - case.keywords["seed"]).write(case.out)
    manifest = case.out / "mvtec-convert.json"
    kind = random.randrange(5)
    if kind < 2:
        sound = manifest.read_bytes()
        manifest.write_bytes(damaged(random, sound, ".json"))
        return "former: the manifest says something else"
    if kind == 2:
        return f"former: the manifest is {replaced(case, manifest, random)}"
    if kind == 3:
        path = random.choice(sorted(case.out.rglob("*")))
        return f"former: {path.relative_to(case.out)} is {replaced(case, path, random)}"
    path = case.out / random.choice(
        ("thesis.tex", "labels/thesis.tex", "images/a.npy", "a.cache", "x/.DS_Store", "\udcff")
    )
    kind_of_file = replaced(case, path, random)
    case.must_be_refused = path.name in {"thesis.tex", "\udcff"} and not (path.is_dir() and not path.is_symlink())
    return f"former: {path.name!r} is more, {kind_of_file}"


DAMAGES = {
    "journal": damage_journal,
    "record": damage_record,
    "left by a killed run": damage_room,
    "former export": damage_former,
}
