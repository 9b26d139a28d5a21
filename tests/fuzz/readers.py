"""What is fuzzed: each reader writes valid files once, damages them for an input, reads them, and restores them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pytest

import mvtec_convert as mc
from mvtec_convert.cli import licences
from mvtec_convert.downloads.archives import unpack, unpacked_size
from mvtec_convert.errors import MaskError, MvtecConvertError, printable
from mvtec_convert.exports import class_names, format_of, read_export
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.images import read_header, read_mask
from mvtec_convert.geometry.pillow import read_image, read_rgb, verify
from mvtec_convert.geometry.saving import save_jpeg, save_png
from mvtec_convert.labelled import read_picture
from mvtec_convert.own_data import pixel_names, read_description
from mvtec_convert.phrases import load_phrases
from mvtec_convert.splits import load as load_split
from tests.fuzz import valid
from tests.fuzz.fetching import Fetching
from tests.fuzz.mutations import ODD_TEXTS, OUTSIDE, damaged
from tests.fuzz.reruns import DAMAGES, Rerun
from tests.layout_contract import CASES, IDS
from tests.test_labelled import EXPORTS

Outcome = str
"""`read`: a result. `findings`: a result that says what is wrong. `refused`: a `MvtecConvertError`."""


class Reader(Protocol):
    """One thing that reads files of strangers."""

    def prepare(self) -> None:
        """Write the valid files."""

    def damage(self, random: Random) -> str:
        """Make an input; a few words on what was done."""

    def read(self, random: Random) -> Outcome:
        """Read it. Raises nothing but `MvtecConvertError`."""

    def restore(self) -> None:
        """Put the valid files back."""


class OneFile:
    """A reader of a single file."""

    def __init__(self, folder: Path, seeds: Callable[[], Mapping[str, bytes]], read: Callable[[Path], object]) -> None:
        self._folder = folder / "set"
        self._seeds = seeds
        self._read = read
        self._path = self._folder

    def prepare(self) -> None:
        self._folder.mkdir(parents=True)
        self._content = dict(self._seeds())

    def damage(self, random: Random) -> str:
        name = random.choice(list(self._content))
        self._path = self._folder / name
        self._path.write_bytes(damaged(random, self._content[name], self._path.suffix))
        return name

    def read(self, random: Random) -> Outcome:
        self._read(self._path)
        return "read"

    def restore(self) -> None:
        self._path.unlink()


class Tree:
    """A reader of a folder, which is damaged in content, names and kinds of files."""

    def __init__(
        self,
        folder: Path,
        write: Callable[[Path], object],
        read: Callable[[Path, Path, Random], Outcome],
        *,
        of_content: float,
        inner: str = "set",
    ) -> None:
        """Make one.

        Args:
            folder: to work in.
            inner: where in it the files are.
            write: writes the valid files into a folder that is not there yet.
            read: reads the folder; the other path is one that results may be written to.
            of_content: share of the inputs in which a file's content is damaged, and nothing else.
        """
        self._root, self._out = folder / inner, folder / "out"
        self._write, self._read, self._of_content = write, read, of_content
        self._touched: Path | None = None

    def prepare(self) -> None:
        self._write(self._root)
        self._files = {
            path.relative_to(self._root): path.read_bytes() for path in sorted(self._root.rglob("*")) if path.is_file()
        }
        # Text says more than pixels, which have readers of their own.
        self._often = [name for name in self._files if name.suffix not in {".png", ".jpg", ".JPG", ".bmp"}]

    def damage(self, random: Random) -> str:
        among = self._often if self._often and random.random() < 0.85 else list(self._files)
        name = random.choice(among)
        path = self._root / name
        if random.random() < self._of_content:
            self._touched = path
            path.unlink()  # it may be a hard link to another
            path.write_bytes(damaged(random, self._files[name], path.suffix))
            return f"content of {name}"
        self._touched = None
        return " and ".join(self._rearranged(random) for _ in range(random.choice((1, 1, 2))))

    def _rearranged(self, random: Random) -> str:
        """Another kind of file, another name, or another place."""
        there = sorted(path for path in self._root.rglob("*"))
        if not there:
            return "nothing left"
        path = random.choice(there)
        kind = random.randrange(9)
        new = path.with_name(odd_name(random, path))
        told = f"{path.relative_to(self._root)}: "
        if kind == 0:
            remove(path)
            return told + "gone"
        if kind <= 2:
            if os.path.lexists(new):
                return told + "left"
            path.rename(new)
            return told + f"called {new.name!r}"
        if kind == 3:
            remove(path)
            path.mkdir()
            return told + "a folder"
        if kind == 4:
            remove(path)
            target = random.choice((path.name, "..", ".", str(self._root), "nowhere", *(p.name for p in there[:3])))
            path.symlink_to(target)
            return told + f"a link to {target}"
        if kind == 5:
            remove(path)
            os.mkfifo(path)
            return told + "a pipe"
        if kind == 6:
            if path.is_file() and not os.path.lexists(new) and path.stat().st_size < 1 << 20:  # no copies of holes
                shutil.copyfile(path, new)
            return told + f"also called {new.name!r}"
        if kind == 7 and path.is_file():
            path.unlink()
            path.write_bytes(b"")
            return told + "empty"
        if path.is_file():
            path.unlink()
            with path.open("wb") as file:
                file.truncate(random.choice((1 << 20, 1 << 42)))
            return told + "a hole"
        return told + "left"

    def read(self, random: Random) -> Outcome:
        return self._read(self._root, self._out, random)

    def restore(self) -> None:
        remove(self._out)
        if self._touched is not None:
            self._touched.write_bytes(self._files[self._touched.relative_to(self._root)])
            return
        remove(self._root)
        for name, content in self._files.items():
            (self._root / name).parent.mkdir(parents=True, exist_ok=True)
            (self._root / name).write_bytes(content)


class Trees:
    """A reader of folders of several kinds, each of which is written when it is first drawn."""

    def __init__(self, trees: Mapping[str, Tree]) -> None:
        self._trees = trees
        self._written: set[str] = set()
        self._name = ""

    def prepare(self) -> None:
        """Nothing yet."""

    def damage(self, random: Random) -> str:
        self._name = random.choice(list(self._trees))
        if self._name not in self._written:
            self._trees[self._name].prepare()
            self._written.add(self._name)
        return f"{self._name}: {self._trees[self._name].damage(random)}"

    def read(self, random: Random) -> Outcome:
        return self._trees[self._name].read(random)

    def restore(self) -> None:
        self._trees[self._name].restore()


def odd_name(random: Random, path: Path) -> str:
    """A name that a file can have, whatever it does to those who use it."""
    stems = (*ODD_TEXTS, "a" * 251, "..a", ".hidden", path.stem.upper(), path.stem, "000", "-rf", "--out", " ")
    stem = random.choice(stems).replace("/", "_").replace("\0", "_")
    suffix = random.choice((path.suffix, path.suffix, ".PNG", ".png.png", "", ".json", ".txt", "."))
    name = stem.encode("utf-8", "surrogateescape" if "\udcff" in stem else "replace")
    odd = os.fsdecode(name[: 255 - len(suffix)]) + suffix
    return odd if odd.strip(".") else "_"


def remove(path: Path) -> None:
    """Remove whatever is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# --- what reads ------------------------------------------------------------------------------------------------------


def told(findings: Any) -> Outcome:
    """`findings` or `read`; what is found must be fit for a terminal and for JSON."""
    for finding in findings:
        assert isinstance(finding, Finding)
        line = str(finding)
        assert printable(line) == line, ascii(line)
        assert finding.message, finding
    return "findings" if findings else "read"


def as_json(document: object) -> None:
    """A document as the command line prints it."""
    json.dumps(document, ensure_ascii=False)


def read_source(root: Path, out: Path, random: Random) -> Outcome:
    """Load and check; now and then statistics, a repaired copy, an export."""
    path = root / "mvtec-convert.toml"
    dataset = mc.load(path if path.exists() and random.random() < 0.3 else root)
    found = mc.check(dataset, near_duplicates=random.random() < 0.2, jobs=1)
    as_json(found.document())
    found.comparison()
    outcome = told(found.findings)
    more = random.random()
    if more < 0.1:
        statistics = mc.stats(dataset, jobs=1)
        as_json(statistics.document())
        statistics.sentences()
    elif more < 0.2:
        mc.repair(dataset, found, out, jobs=1)
    elif more < 0.4:
        mc.to_yolo(dataset, out, jobs=1, task=random.choice(("detect", "segment", "obb", "classify")))
    elif more < 0.5:
        mc.to_coco(dataset, out, jobs=1)
    elif more < 0.6:
        mc.to_sam(dataset, out, jobs=1)
    return outcome


def read_dataset(root: Path, out: Path, random: Random) -> Outcome:
    """Validate and read back; now and then statistics, a sheet, a page. A refusal must not hide what others find."""
    refused: MvtecConvertError | None = None
    outcome = "read"
    format = format_of(root)
    found = mc.validate(root)
    as_json(found.document())
    outcome = told(found.findings)
    tasks: list[Callable[[], object]] = [partial(read_all, root), lambda: class_names(root)]
    more = random.random()
    if more < 0.06:
        tasks.append(lambda: as_json(mc.export_stats(root).document()))
    elif more < 0.09:
        tasks.append(lambda: mc.preview(root, out.with_suffix(".png"), count=4, width=400))
    elif more < 0.11:
        tasks.append(lambda: mc.report(root, out.with_suffix(".html"), images=4, jobs=1))
    elif more < 0.25:
        tasks.append(lambda: mc.to_masks(root, out, boxes=True))
    for task in tasks:
        try:
            task()
        except MvtecConvertError as error:
            refused = error
    for left in (out.with_suffix(".png"), out.with_suffix(".html")):
        remove(left)
    if refused is not None and outcome == "read":
        raise refused
    return outcome if format else "refused"


def read_masks(root: Path, out: Path, random: Random) -> Outcome:
    """A tree of masks: one that is read without a word against it, and that leads nowhere else."""
    mc.to_masks(
        root,
        out,
        category=random.choice((None, None, "lid", "..", "a/b", "", "con")),
        train=random.choice((None, None, 0.0, 0.5, 1.0)),
        boxes=random.random() < 0.7,
        images=random.choice(("link", "copy")),
        as_png=random.random() < 0.2,
        jobs=1,
    )
    assert not mc.load(out, layout="mvtec_ad").errors
    assert all(path.resolve().is_relative_to(out.resolve()) for path in out.rglob("*"))
    return "read"


def read_in_use(path: Path, option: str) -> None:
    """A saved split, or phrases, as an export takes them; it must be one that nothing is said against."""
    place = path.parent.parent
    source, out = place / "plates", place / "out"
    if not source.exists():
        valid.plates(source)
    try:
        export = mc.to_coco if option == "split_from" else partial(mc.to_sam, layout="sam3")
        export(mc.load(source), out, jobs=1, **{option: path})
        as_json(mc.validate(out).document())
        assert not mc.validate(out).errors
    finally:
        remove(out)


def read_licences(path: Path) -> None:
    """What was accepted; a file that is none means that nothing was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(licences, "_file", lambda: path)
        accepted = licences._load()
        assert isinstance(accepted, dict)
        patch.setattr(licences, "_file", lambda: path.with_name("saved"))
        licences._save({**accepted, "btad": "x"})
        assert licences._load()["btad"] == "x"


def read_all(root: Path) -> None:
    """Every image with its labels, outlines and pixels."""
    for image in read_export(root):
        for item in image.objects:
            item.rings()
        try:
            read_picture(image)
        except MvtecConvertError:
            continue


def read_file_of_pixels(path: Path) -> None:
    """An image in all ways in which images are read, but as a mask."""
    errors = []
    target = path.with_name("saved")
    for read in (
        read_image,
        read_rgb,
        verify,
        partial(save_jpeg, target=target),
        partial(save_png, target=target, orientation=6),
    ):
        try:
            read(path)
        except MaskError as error:
            errors.append(error)
    target.unlink(missing_ok=True)
    if errors:
        raise errors[0]


def read_as_mask(path: Path) -> None:
    """A mask, with a threshold and without."""
    assert read_mask(path).dtype == "uint8"
    read_mask(path, 127)


def unpacked(path: Path) -> None:
    """An archive into an empty folder beside it; nothing may lie outside of that."""
    out = path.parent / "unpacked"
    try:
        unpacked_size(path)
        unpack(path, out)
    finally:
        beside = [each.name for each in path.parent.parent.iterdir()]
        links = [each for each in out.rglob("*") if each.is_symlink()]
        remove(out)
        assert sorted(beside) == ["outside", "set"], beside
        assert not links


def read_values(path: Path) -> None:
    """A file of values, or of colours."""
    pixel_names(path, None) if path.stem.startswith("values") else pixel_names(None, path)


def _options(folder: Path) -> dict[str, bytes]:
    valid.export("yolo", valid.plates(folder.parent / "plates"), folder.parent / "exported")
    return {"splits.json": (folder.parent / "exported" / "splits.json").read_bytes()}


PHRASES = {
    "phrases.json": b'{"template": "{defect} on {category}", '
    b'"phrases": {"plate": {"cut": ["long cut", "gash"], "hole": "hole"}}}'
}
TABLES = {
    "values.json": b'{"1": "scratch", "2": "dent"}',
    "values.toml": b'1 = "scratch"\ndent = 2\n',
    "colors.json": b'{"#ff0000": "scratch", "0,255,0": "dent", "blue": [0, 0, 255]}',
    "colors.toml": b'"#ff0000" = "scratch"\ndent = "0 255 0"\nblue = [0, 0, 255]\n',
}
LICENCES = {"licences.json": b'{"mvtec-ad": "https://example.org/licence", "visa": "https://example.org/other"}\n'}
DESCRIPTIONS = {
    "mvtec-convert.toml": b'images = ["parts/{defect}/*.jpg", "b/**/*.png"]\nmasks = "masks/{defect}/{stem}*.png"\n'
    b'category = "bracket"\ngood_when_no_mask = true\n\n[values]\n1 = "scratch"\n2 = "dent"\n'
}


def readers() -> dict[str, Callable[[Path], Reader]]:
    """Every reader by name; each is made with an empty folder of its own."""
    found: dict[str, Callable[[Path], Reader]] = {
        "image header": partial(OneFile, seeds=valid.images, read=read_header),
        "mask": partial(OneFile, seeds=valid.images, read=read_as_mask),
        "image": partial(OneFile, seeds=valid.images, read=read_file_of_pixels),
        "archive": partial(OneFile, seeds=valid.archives, read=unpacked),
        "saved split": lambda folder: OneFile(folder, lambda: _options(folder / "set"), load_split),
        "phrases": partial(OneFile, seeds=lambda: PHRASES, read=load_phrases),
        "values and colours": partial(OneFile, seeds=lambda: TABLES, read=read_values),
        "own-data description": partial(OneFile, seeds=lambda: DESCRIPTIONS, read=read_description),
    }
    found["split in use"] = lambda folder: OneFile(
        folder, lambda: _options(folder / "set"), partial(read_in_use, option="split_from")
    )
    found["phrases in use"] = partial(OneFile, seeds=lambda: PHRASES, read=partial(read_in_use, option="phrases"))
    found["licences"] = partial(OneFile, seeds=lambda: LICENCES, read=read_licences)
    found["left by a download"] = Fetching
    for name, damage in DAMAGES.items():
        found[name] = partial(Rerun, damage=damage)
    for name, (_, tree) in zip(IDS, CASES, strict=True):
        found[f"source {name}"] = partial(Tree, write=tree.write, read=read_source, of_content=0.5)
    found["source plates"] = partial(Tree, write=valid.plates, read=read_source, of_content=0.4)
    found["source values"] = partial(Tree, write=valid.valued_plates, read=read_source, of_content=0.8)
    for name in EXPORTS:
        found[f"export {name}"] = partial(Tree, write=partial(_exported, name), read=read_dataset, of_content=0.8)
    found["masks"] = lambda folder: Trees({
        name: Tree(folder, partial(_exported, name), read_masks, of_content=0.8, inner=f"set/{name}")
        for name in EXPORTS
        if name != "classify"
    })  # fmt: skip
    return found


def _exported(name: str, root: Path) -> None:
    source = valid.plates(root.parent / "plates")
    valid.export(name, source, root)
    shutil.rmtree(source)


def surroundings(folder: Path) -> Iterator[Path]:
    """What lies outside of a reader's folder and must not be opened."""
    place = folder / "outside"
    place.mkdir(parents=True)
    yield place
    for name in {Path(text).name for text in OUTSIDE if text.endswith(".png") and "\\" not in text and ":" not in text}:
        (place / name).write_bytes(valid.images()["grey.png"])
