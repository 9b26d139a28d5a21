"""Small valid datasets to break, and the table of what the documentation says of each finding."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.findings import Finding
from mvtec_convert.formats import format_named

DOCS = Path(__file__).parent.parent / "docs" / "findings.md"
SIZE = (40, 32)  # width, height
DEFECTS = {"cut": 4, "hole": 4}
EXPORTS: dict[str, Callable[[mc.Dataset, Path], Any]] = {
    "yolo": lambda dataset, out: mc.to_yolo(dataset, out, task="detect"),
    "yolo-segment": lambda dataset, out: mc.to_yolo(dataset, out, task="segment"),
    "coco": lambda dataset, out: mc.to_coco(dataset, out),
    "coco-rle": lambda dataset, out: mc.to_coco(dataset, out, segmentation="rle"),
    "coco-counts": lambda dataset, out: mc.to_coco(dataset, out, segmentation="rle-uncompressed"),
    "sam": lambda dataset, out: mc.to_sam(dataset, out, points=2, negatives=2),
    "sam3": lambda dataset, out: mc.to_sam(dataset, out, layout="sam3"),
    "saco": lambda dataset, out: mc.to_sam(dataset, out, layout="saco"),
    "labelme": mc.to_labelme,
    "voc": mc.to_voc,
}


@dataclass(frozen=True)
class Case:
    """One way to break an export, and what the check must say to it.

    Attributes:
        name: of the test.
        breaks: what is done to the export.
        code: expected code.
        path: what the finding's path ends with.
        line: expected line; None where there is none.
        severity: expected severity.
        also: codes that follow from it.
        base: which export is broken; the format's plain one where empty.
    """

    name: str
    breaks: Callable[[Path], Any]
    code: str
    path: str = ""
    line: int | None = None
    severity: str = "error"
    also: frozenset[str] = field(default_factory=frozenset)
    base: str = ""


def ids(cases: Iterable[Case]) -> list[str]:
    return [case.name for case in cases]


class Tiny:
    """Exports of a tiny tree, each made once; `copy` gives one to break."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        draw_tree(folder / "tree")

    def copy(self, base: str, target: Path) -> Path:
        """A copy of an export of the tiny tree in `target`."""
        made = self.folder / base
        if not made.exists():
            EXPORTS[base](mc.load(self.folder / "tree"), made)
        return Path(shutil.copytree(made, target))


def draw_tree(root: Path) -> None:
    """One category: images of `SIZE`, no two alike; each defect a frame with a hole in it."""
    seed = 0
    for folder, count in {
        "train/good": 3,
        "test/good": 2,
        **{f"test/{name}": n for name, n in DEFECTS.items()},
    }.items():
        for index in range(count):
            seed += 1
            draw_image(root / "plate" / folder / f"{index:03}.png", seed)
            defect = folder.removeprefix("test/")
            if defect in DEFECTS:
                mask = np.zeros(SIZE[::-1], np.uint8)
                mask[4:16, 6:20] = 255
                mask[8:12, 10:14] = 0
                mask[26:30, 20 + seed : 24 + seed] = 255
                save(mask, root / "plate" / "ground_truth" / defect / f"{index:03}_mask.png")


def draw_image(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    """Noise, another for each seed."""
    save(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), np.uint8), path)


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def findings(folder: Path, format: str) -> list[Finding]:
    return list(format_named(format).check(folder))


def errors(folder: Path, format: str) -> list[Finding]:
    return [finding for finding in findings(folder, format) if finding.severity == "error"]


def verify(case: Case, folder: Path, format: str) -> None:
    """Break the export, and compare what the check says with what the case expects."""
    case.breaks(folder)
    found = findings(folder, format)
    listed = "\n".join(f"{finding.severity} {finding}" for finding in found)
    assert {finding.code for finding in found} == {case.code} | case.also, listed
    first = next(finding for finding in found if finding.code == case.code)
    assert first.path.endswith(case.path), listed
    assert (first.line, first.severity) == (case.line, case.severity), listed
    assert all(finding.message and finding.hint for finding in found if finding.code != "bad-image"), listed
    assert {(finding.code, finding.severity) for finding in found} <= documented()[format], "not in docs/findings.md"


@cache
def documented() -> dict[str, set[tuple[str, str]]]:
    """(code, severity) of every row of docs/findings.md, by the heading of its section, as a format is called.

    A section that refers to others has their rows too.
    """
    found: dict[str, set[tuple[str, str]]] = {}
    refers: dict[str, list[str]] = {}
    for section in re.split(r"^## ", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \|", section, re.MULTILINE)
        heading = re.sub(r"\W", "", section.splitlines()[0]).lower()
        found[heading] = {(code, severity) for code, both in rows for severity in both.split(", ")}
        refers[heading] = [link.replace("-", "") for link in re.findall(r"\(#([\w-]+)\)", section)]
    return {heading: rows.union(*(found[other] for other in refers[heading])) for heading, rows in found.items()}


# --- edits -----------------------------------------------------------------------------------------------------------


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace text in a file; it must be there."""

    def breaks(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text, text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return breaks


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    """Write a file; folders are made."""

    def breaks(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return breaks


def remove(name: str) -> Callable[[Path], None]:
    """Remove a file or a folder."""
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def change(file: str, /, *place: str | int, **values: Any) -> Callable[[Path], None]:
    """Set values at a place of a JSON file, which is written on lines as this tool does it; None removes a key."""

    def breaks(folder: Path) -> None:
        document = record = json.loads((folder / file).read_text(encoding="utf-8"))
        for key in place:
            record = record[key]
        record.update(values)
        for gone in [name for name, value in values.items() if value is None]:
            del record[gone]
        if "annotations" in document and "images" in document:
            records_on_lines(document, folder / file)
        else:
            (folder / file).write_text(json.dumps(document, indent=2), encoding="utf-8")

    return breaks


def records_on_lines(document: dict[str, Any], path: Path) -> None:
    """Write a COCO file as this tool does: images from line 3, one record a line, then annotations."""
    head = {key: value for key, value in document.items() if key not in {"images", "annotations"}}
    lists = [f'"{key}":[\n' + ",\n".join(map(json.dumps, document[key])) + "\n]" for key in ("images", "annotations")]
    path.write_text(json.dumps(head)[:-1] + ",\n" + ",\n".join(lists) + "}\n", encoding="utf-8")


# --- damage at random ------------------------------------------------------------------------------------------------

ODD_VALUES = [
    None, True, -1, 0, 1, 0.5, 2**31, 2**63 - 1, -(2**63), 1e308, "", "x", "../../x", "\0", "a" * 300, "0" * 50, [], {},
    [[]], [1, 2, 3, 4], [0, 0, 0, 1280, 0, 0], [[6, 4, 7, 8, 9, 9]], [[0, 0, 1, 1, 2, 2, 1]],
    {"size": [1, 1], "counts": "0"}, {"size": [32, 40], "counts": [0, 0, 1280]},
]  # fmt: skip
ODD_BYTES = [b"\n", b" ", b"-", b"e9", b"nan", b"[", b"{", b"&a ", b"*a", b"!!int ", b"\xff", b"\0", b": ", b"9" * 30]


def damage(data: bytes, seed: int) -> bytes:
    """The file with one value of its JSON replaced, or with a few bytes put in or taken out."""
    rng = random.Random(seed)
    if data.startswith(b"{") and rng.random() < 0.7:
        document = json.loads(data)
        places = list(places_in(document))
        holder, key = rng.choice(places)
        holder[key] = rng.choice(ODD_VALUES)
        return json.dumps(document).encode()
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice([b"", *ODD_BYTES]) + data[at + rng.randrange(4) :]


def places_in(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of a JSON document."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield document, key
        if isinstance(value, dict | list):
            yield from places_in(value)


def never_raises(folder: Path, format: str, names: Iterable[str], rounds: int) -> None:
    """Damage each file in many ways, one at a time; the check must end, in findings that are documented."""
    before = findings(folder, format)
    for path in [folder / name for name in names]:
        sound = path.read_bytes()
        for seed in range(rounds):
            path.unlink()  # a file written over may wait for the disk
            path.write_bytes(damage(sound, seed))
            for finding in findings(folder, format):
                assert str(finding)
                assert (finding.code, finding.severity) in documented()[format]
        path.write_bytes(sound)
    assert findings(folder, format) == before
