"""A repaired copy of a source dataset: what can be mended without a guess is, all else is copied as it is."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

import mvtec_convert
from mvtec_convert.checks import identical_files
from mvtec_convert.dataset import Dataset, Sample
from mvtec_convert.errors import MaskError, OutputError, SelectionError, printable
from mvtec_convert.geometry.images import read_header, read_mask_values
from mvtec_convert.geometry.saving import save_png
from mvtec_convert.jsonio import save_json
from mvtec_convert.runs.publish import publishing, save_manifest
from mvtec_convert.runs.staging import check_space
from mvtec_convert.source_checks import SourceCheck, tree_of
from mvtec_convert.source_checks.duplicates import copies_in_folders
from mvtec_convert.source_checks.files import Tree
from mvtec_convert.source_checks.masks import faint_areas, middle
from mvtec_convert.source_checks.pictures import true_suffix

FILE_NAME = "repairs.json"

LEFT_OUT = {"orphan-mask": "a mask without an image", "missing-mask": "a defective image without a mask"}
"""Findings whose file stays behind, and why."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing that is other in the copy.

    Attributes:
        code: of the finding that it answers.
        path: POSIX path of the file in the source, from its root.
        to: POSIX path in the copy, from its root; None where the file was left out.
        action: what was done, a few words.
    """

    code: str
    path: str
    to: str | None
    action: str


@dataclass(slots=True)
class _Copy:
    """One file on its way.

    Attributes:
        source: where it is.
        folder: where it goes, from the root of the copy.
        suffix: the suffix it gets.
        orientation: EXIF's, by which it is turned upright; 1 leaves it.
        threshold: above it a mask is white; None leaves the values.
        answers: (code, action) of each repair.
    """

    source: Path
    folder: PurePosixPath
    suffix: str
    orientation: int = 1
    threshold: int | None = None
    answers: list[tuple[str, str]] = field(default_factory=list)

    @property
    def to(self) -> PurePosixPath:
        """Where it goes, from the root of the copy."""
        return self.folder / self.source.with_suffix(self.suffix).name

    @property
    def is_renamed(self) -> bool:
        """Whether it gets another suffix."""
        return self.suffix != self.source.suffix

    @property
    def is_decoded(self) -> bool:
        """Whether its pixels are saved anew."""
        return self.orientation != 1 or self.threshold is not None

    def turn(self, orientation: int) -> None:
        """Let it be turned upright."""
        self.orientation, self.suffix = orientation, ".png"
        self.answers.append(("exif-rotation", "turned upright, saved as PNG"))

    def binarise(self, threshold: int) -> None:
        """Let it become black and white."""
        self.threshold, self.suffix = threshold, ".png"
        self.answers.append(("grey-mask", f"white above {threshold}, else black, saved as PNG"))

    def rename(self, suffix: str) -> None:
        """Let it be called after its content."""
        self.suffix = suffix
        self.answers.append(("false-suffix", f"called {suffix}"))

    def undo(self) -> None:
        """Let it be copied as it is."""
        self.suffix, self.orientation, self.threshold, self.answers = self.source.suffix, 1, None, []

    def write(self, root: Path) -> None:
        """Write it below `root`.

        Raises:
            MaskError: it cannot be decoded.
            OutputError: it cannot be read.
        """
        target = root / self.to
        if self.is_decoded:
            save_png(self.source, target, self.orientation, self.threshold)
        elif not os.access(self.source, os.R_OK):
            raise OutputError("cannot be read, so it cannot be copied", path=self.source, hint="check its permissions")
        else:
            shutil.copyfile(self.source, target)


_Job = list[_Copy]
"""Files that are repaired together or not at all: an image and its masks, or any other file."""


def repair(
    dataset: Dataset,
    found: SourceCheck,
    out: str | Path,
    *,
    jobs: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Repair, ...]:
    """Write a copy in which what can be mended safely is; the source is only read.

    Masks of shades become black and white, images that EXIF marks as rotated are turned (with their masks where the
    sizes say that these were drawn on the stored pixels), suffixes follow the content, links become files. Junk, dead
    links, masks without an image, defective images without a mask, and second copies of an image in one folder are left
    out. Whatever would take a guess stays as it is. Files are copied, never linked: a copy is there to be worked on.

    Args:
        dataset: the source.
        found: what `check` says of it.
        out: folder to create, or an earlier copy to replace; it appears whole or not at all, with `repairs.json`.
        jobs: threads; 0 means one for each core.
        progress: called with (files done, files in all).

    Returns:
        What was done, by path; the same is in `repairs.json`.

    Raises:
        SelectionError: nothing would be left.
        OutputError: `out` cannot or must not be written, or a file cannot be read.

    >>> dataset = mc.load("mvtec_anomaly_detection")
    >>> mc.repair(dataset, mc.check(dataset), "repaired")
    ()
    """
    tree = tree_of(dataset)
    top = _top(dataset)
    left_out = _left_out(dataset, found, tree)
    if all(sample.image in left_out for sample in dataset):
        raise SelectionError("no image would be left in a repaired copy", path=dataset.root, hint="mend it by hand")
    planned = _plan(dataset, found, [path for path in tree.files if path not in left_out], top)
    with publishing(Path(out), dataset.root) as folder:
        for inner in tree.folders:
            (folder / top / inner.relative_to(dataset.root)).mkdir(parents=True, exist_ok=True)
        _write(planned, folder, jobs, progress)
        repairs = tuple(sorted(_told(dataset.root, found, left_out, planned, top), key=lambda r: (r.path, r.code)))
        save_json({"repairs": [asdict(entry) for entry in repairs]}, folder / FILE_NAME)
        facts: dict[str, object] = {
            "tool": "mvtec-convert",
            "version": mvtec_convert.__version__,
            "format": dataset.layout,
            "options": {},
        }
        save_manifest(folder, facts)
    return repairs


def _top(dataset: Dataset) -> PurePosixPath:
    """Where the root's content goes in the copy: a category that is its own root keeps its name as a folder."""
    sample = dataset.samples[0] if dataset.samples else None
    if sample is not None and sample.key == f"{sample.category}/{sample.image.relative_to(dataset.root).as_posix()}":
        return PurePosixPath(sample.category)
    return PurePosixPath()


def _left_out(dataset: Dataset, found: SourceCheck, tree: Tree) -> dict[Path, tuple[str, str]]:
    """(code, action) by the path of each file that stays behind."""
    gone = dict.fromkeys(tree.junk, ("junk-file", "left out"))
    gone |= dict.fromkeys(tree.dead_links, ("dead-link", "left out"))
    gone |= dict.fromkeys(tree.specials, ("special-file", "left out"))
    # The lists of what is in the copy are JSON, which has no halves of surrogate pairs, as Python keeps such bytes.
    unnamed = (path for path in tree.files if re.search("[\ud800-\udfff]", path.relative_to(dataset.root).as_posix()))
    gone |= dict.fromkeys(unnamed, ("bad-name", "left out: its name is no text"))
    # Whoever made the links may not be who copies: what is no image may be anybody's file.
    foreign = (path for path in _from_outside(dataset.root, tree) if _size(path) is None)
    gone |= dict.fromkeys(foreign, ("outside-folder", "left out: a link leads out of the dataset, to what is no image"))
    for finding in found.findings:
        if finding.code in LEFT_OUT:
            gone[Path(finding.path)] = (finding.code, f"left out: {LEFT_OUT[finding.code]}")
    repeated = {finding.path for finding in found.findings if finding.code == "identical-images"}
    for copy, original in copies_in_folders(dataset):
        if str(copy.image) in repeated and _same_masks(copy, original):
            for path in (copy.image, *copy.masks):
                gone[path] = ("identical-images", f"left out: the same as {original.image.name}")
    return gone


def _from_outside(root: Path, tree: Tree) -> Iterator[Path]:
    """The files that lie in the dataset by a link alone: their own, or that of a folder around them."""
    inside = root.resolve()
    return (path for path in tree.files if not path.resolve().is_relative_to(inside))


def _same_masks(one: Sample, other: Sample) -> bool:
    if len(one.masks) != len(other.masks):
        return False
    return all(any(identical_files(pair)) for pair in zip(one.masks, other.masks, strict=True))


def _plan(dataset: Dataset, found: SourceCheck, files: Iterable[Path], top: PurePosixPath) -> list[_Job]:
    """Every file with what is to be done to it."""
    copies = {path: _Copy(path, top / path.relative_to(dataset.root).parent.as_posix(), path.suffix) for path in files}
    flagged = {(finding.code, Path(finding.path)) for finding in found.findings}
    planned = []
    for sample in dataset:
        if sample.image in copies:
            job = [copies.pop(path) for path in (sample.image, *sample.masks) if path in copies]
            _mend(sample, job, flagged)
            planned.append(job)
    planned += ([copy] for copy in copies.values())
    _undo_collisions(planned)
    return planned


def _mend(sample: Sample, job: _Job, flagged: set[tuple[str, Path]]) -> None:
    """Decide what is done to an image and its masks."""
    if ("exif-rotation", sample.image) in flagged:
        _turn(sample, job)
    for copy in job:
        if ("grey-mask", copy.source) in flagged:
            values = read_mask_values(copy.source)
            if not faint_areas(values):
                copy.binarise(middle(values))
        if ("false-suffix", copy.source) in flagged and not copy.is_decoded:
            suffix = true_suffix(copy.source, read_header(copy.source))
            if suffix is not None:
                copy.rename(suffix)


def _turn(sample: Sample, job: _Job) -> None:
    """Turn an image upright, and with it masks drawn on its stored pixels, if the sizes say which these are."""
    image, *masks = job
    header = read_header(sample.image)
    if header.orientation == 1:
        return  # a value that EXIF does not have
    sizes = {_size(mask.source) for mask in masks}
    if not masks or (sizes == {header.upright_size} and header.size != header.upright_size):
        image.turn(header.orientation)
    elif sizes == {header.size} and header.size != header.upright_size:
        for copy in job:
            copy.turn(header.orientation)


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return read_header(path).size
    except MaskError:
        return None


def _undo_collisions(planned: list[_Job]) -> None:
    """Leave what is repaired together as it is where a new name is, or was, another's."""
    copies = [copy for job in planned for copy in job]
    taken = Counter(_folded(copy.folder / copy.source.name) for copy in copies)
    taken += Counter(_folded(copy.to) for copy in copies if copy.is_renamed)
    for job in planned:
        if any(copy.is_renamed and taken[_folded(copy.to)] > 1 for copy in job):
            for copy in job:
                copy.undo()


def _folded(path: PurePosixPath) -> str:
    """The path as file systems compare it that do not tell A from a."""
    return str(path).casefold()


def _write(planned: list[_Job], folder: Path, jobs: int, progress: Callable[[int, int], None] | None) -> None:
    check_space(folder, sum(copy.source.stat().st_size for job in planned for copy in job))
    total, done = sum(map(len, planned)), 0
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        for job, _ in zip(planned, pool.map(lambda job: _write_job(job, folder), planned), strict=True):
            done += len(job)
            if progress is not None:
                progress(done, total)


def _write_job(job: _Job, folder: Path) -> None:
    try:
        for copy in job:
            copy.write(folder)
    except MaskError:
        for copy in job:
            (folder / copy.to).unlink(missing_ok=True)
            copy.undo()
            copy.write(folder)


def _told(
    root: Path, found: SourceCheck, left_out: dict[Path, tuple[str, str]], planned: list[_Job], top: PurePosixPath
) -> Iterator[Repair]:
    for path, (code, action) in left_out.items():
        yield Repair(code, printable(path.relative_to(root).as_posix()), None, action)
    for copy in (copy for job in planned for copy in job):
        for code, action in copy.answers:
            yield Repair(code, copy.source.relative_to(root).as_posix(), str(copy.to), action)
    for finding in found.findings:
        if finding.code == "outside-folder" and Path(finding.path) not in left_out:
            name = Path(finding.path).relative_to(root).as_posix()
            yield Repair(finding.code, name, str(top / name), "copied, no longer a link")
