"""Published datasets, fetched from their publisher or taken from an archive, checked, unpacked and put in place."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from mvtec_convert.downloads import archives
from mvtec_convert.downloads.placement import (
    UNPACKED,
    WORKSHOP,
    categories_in,
    find_dataset,
    put_in_place,
    workshop,
)
from mvtec_convert.downloads.sources import Archive, Source, check_known, source_named
from mvtec_convert.downloads.transfer import fetch, sha256_of
from mvtec_convert.errors import ArchiveError, DownloadError, OutputError, SelectionError
from mvtec_convert.layouts import layouts
from mvtec_convert.runs.staging import check_space

Progress = Callable[[str, int, int | None], None]
"""Called with (what is being done, bytes done, bytes in all or None where that is not known)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a download will do.

    Attributes:
        source: the dataset.
        folder: where it will be.
        categories: those asked for; empty where an archive's own decide.
        missing: of these, what the folder lacks; nothing is done where all are there.
        archives: to fetch, in this order, each with the categories that it must hold; empty where a file is at hand.
        file: the archive at hand.
        sha256: what that file must have; None where anything will do.
    """

    source: Source
    folder: Path
    categories: tuple[str, ...]
    missing: tuple[str, ...]
    archives: Mapping[Archive, tuple[str, ...]]
    file: Path | None
    sha256: str | None

    @property
    def size(self) -> int | None:
        """Bytes to fetch; None where an archive's size is not known."""
        sizes = [archive.size for archive in self.archives]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def fetches_more(self) -> bool:
        """Whether categories that are not wanted come along, for want of an archive without them."""
        return self.source.archive in self.archives and len(self.missing) < len(self.source.categories)


@dataclass(frozen=True, slots=True)
class Checked:
    """An archive that was used.

    Attributes:
        name: of the file.
        sha256: of its content.
        published: whether that is the checksum of a published archive, or the one that was asked for.
    """

    name: str
    sha256: str
    published: bool


@dataclass(frozen=True, slots=True)
class Download:
    """What a download did.

    Attributes:
        source: the dataset.
        folder: where it is.
        added: categories, or other top-level folders, that were not there before.
        present: categories that were asked for and were there before.
        layout: name of the module that reads the folder.
        convertible: whether this version has that module.
        archives: what was unpacked; empty where nothing was missing.
        junk: number of files left out that file managers had put into the archives.
    """

    source: Source
    folder: Path
    added: tuple[str, ...]
    present: tuple[str, ...]
    layout: str
    convertible: bool
    archives: tuple[Checked, ...]
    junk: int


def download(
    dataset: str = "mvtec-ad",
    out: str | Path | None = None,
    *,
    category: str | Sequence[str] | None = None,
    archive: str | Path | None = None,
    url: str | None = None,
    sha256: str | None = None,
    accept_licence: bool = False,
    keep_archive: bool = False,
    progress: Progress | None = None,
) -> Download:
    """Fetch a published dataset, or unpack an archive of it.

    Args:
        dataset: `mvtec-ad`, `loco`, `ad2`, `visa` or `btad`; see `sources.sources`.
        out: folder for it; None for the publisher's name in the current folder. Categories that it holds stay as they
            are and are not fetched again.
        category: the categories to get; all where None.
        archive: a zip or tar fetched by hand, in place of the publisher's.
        url: where to fetch in place of the publisher's address.
        sha256: what the archive must have in place of the published checksum.
        accept_licence: that you have read the dataset's licence and will keep to it; needed to fetch, not to unpack.
        keep_archive: leave the fetched archives beside the folder.
        progress: called with (what is being done, bytes done, bytes in all).

    Raises:
        MvtecConvertError: with what is wrong, where, and what to do. The folder is as it was then, or holds further
            whole categories.
    """
    plan = plan_download(dataset, out, category=category, archive=archive, url=url, sha256=sha256)
    if plan.archives and not accept_licence:
        licence = plan.source.licence
        raise DownloadError(
            f"{plan.source.title} is under {licence.name} ({licence.meaning}), which has to be accepted",
            path=licence.url,
            hint="read it, then: accept_licence=True",
        )
    return run(plan, keep_archive=keep_archive, progress=progress)


def plan_download(
    dataset: str = "mvtec-ad",
    out: str | Path | None = None,
    *,
    category: str | Sequence[str] | None = None,
    archive: str | Path | None = None,
    url: str | None = None,
    sha256: str | None = None,
) -> Plan:
    """What `download` would do. Reads names of folders only.

    Raises:
        SelectionError: no such dataset or category, or arguments that exclude each other.
        OutputError: the folder is there, and is something else.
    """
    source = source_named(dataset)
    names = [category] if isinstance(category, str) else list(dict.fromkeys(category or ()))
    for name in names:
        check_known(f"category of {source.title}", name, source.categories)
    if archive is not None and url is not None:
        raise SelectionError("an archive at hand and a URL exclude each other", hint="leave one of them away")
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise SelectionError(f"no sha256: {sha256!r}", hint="it has 64 hexadecimal digits")
    checksum = None if sha256 is None else sha256.lower()
    folder = Path(out if out is not None else source.folder).expanduser()
    file = None if archive is None else Path(archive).expanduser()
    if file is not None and not file.is_file():
        raise SelectionError("no such file", path=file)
    wanted = tuple(names or ([] if file else source.categories))
    missing = tuple(name for name in wanted if not (folder / name).is_dir())
    _check_folder(folder, source)
    to_fetch = {} if file or not missing else _archives(source, missing, url, checksum, alone=bool(names))
    return Plan(source, folder, wanted, missing, to_fetch, file, checksum)


def _check_folder(folder: Path, source: Source) -> None:
    if not folder.exists() or (folder.is_dir() and not any(path.name != WORKSHOP for path in folder.iterdir())):
        return
    if not folder.is_dir() or not categories_in(folder, source):
        raise OutputError(
            f"already there, and no folder of {source.title}", path=folder, hint="choose another folder with --out"
        )


def _archives(
    source: Source, missing: tuple[str, ...], url: str | None, sha256: str | None, *, alone: bool
) -> dict[Archive, tuple[str, ...]]:
    """What to fetch for the categories that are missing: if `alone`, their own archives, as far as there are any."""
    own: dict[Archive, tuple[str, ...]] = {archive: (name,) for name in missing if (archive := source.categories[name])}
    chosen = own if alone and len(own) == len(missing) else {source.archive: missing}
    if url is not None:
        # The same file at another address; for some categories alone, nobody knows beforehand what it is.
        chosen = {Archive(url) if alone else replace(source.archive, url=url): missing}
    if sha256 is not None:
        if len(chosen) > 1:
            raise SelectionError(f"one sha256 for {len(chosen)} archives", hint="fetch one category at a time")
        chosen = {replace(archive, sha256=sha256, size=None): names for archive, names in chosen.items()}
    return chosen


def run(plan: Plan, *, keep_archive: bool = False, progress: Progress | None = None) -> Download:
    """Do what a plan says; see `download`, whose licence has been accepted."""
    folder = plan.folder.resolve()
    if keep_archive:
        for archive in plan.archives:
            _check_free(folder.parent / archive.file_name)
    if plan.categories and not plan.missing:
        return _Run(plan, folder, progress).result()
    try:
        with workshop(folder) as work:
            return _Run(plan, work, progress).all(keep_archive)
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            path=error.filename or folder,
            hint="check the disk's space and the folder's permissions, or choose another folder with --out",
        ) from error


class _Run:
    """A plan being done in a folder `work`, and what has come of it so far."""

    def __init__(self, plan: Plan, work: Path, progress: Progress | None) -> None:
        self._plan = plan
        self._work = work
        self._report = progress or (lambda what, done, total: None)
        self._layout = plan.source.layout
        self._added: list[str] = []
        self._used: list[Checked] = []
        self._junk = 0

    def result(self) -> Download:
        present = tuple(name for name in self._plan.categories if name not in self._added)
        return Download(
            self._plan.source, self._plan.folder, tuple(self._added), present, self._layout,
            self._layout in layouts(), tuple(self._used), self._junk,
        )  # fmt: skip

    def all(self, keep_archive: bool) -> Download:
        if self._plan.file is not None:
            self._take_file(self._plan.file)
        for archive, names in self._plan.archives.items():
            path = self._take_archive(archive, names)
            if keep_archive:
                shutil.move(path, self._plan.folder.resolve().parent / archive.file_name)
            path.unlink(missing_ok=True)
        return self.result()

    def _take_file(self, path: Path) -> None:
        """Put in place what an archive at hand holds."""
        self._report(f"Checking {self._plan.source.title}", 0, None)
        digest, wanted = sha256_of(path), self._plan.sha256
        if wanted not in (None, digest):
            raise DownloadError(f"its sha256 is {digest}, not {wanted}", path=path, hint="fetch it anew")
        source = self._plan.source
        published = {archive.sha256 for archive in (source.archive, *source.categories.values()) if archive}
        self._used.append(Checked(path.name, digest, digest in {wanted, *published}))
        self._unpack(path, self._plan.missing)

    def _take_archive(self, archive: Archive, names: Sequence[str]) -> Path:
        """Fetch an archive, and put in place what it holds; the archive's path."""
        path = self._fetch(archive, self._label(names))
        digest = archive.sha256 or sha256_of(path)
        self._used.append(Checked(archive.file_name, digest, digest == archive.sha256))
        try:
            self._unpack(path, names)
        except ArchiveError as error:
            path.unlink()  # else it would be taken for fetched the next time
            raise ArchiveError(error.reason, path=archive.url, hint=error.hint) from None
        return path

    def _fetch(self, archive: Archive, label: str) -> Path:
        source = self._plan.source

        def progress(done: int, total: int | None) -> None:
            self._report(f"{'Checking' if done == total else 'Fetching'} {label}", done, total)

        return fetch(
            archive,
            self._work,
            otherwise=f"publishers move their files: look at {source.page} and give the new address with --url, "
            "or fetch the file there with a browser and give it with --archive",
            room=lambda left, whole: check_space(self._work, left + whole * source.expansion),
            progress=progress,
        )

    def _unpack(self, path: Path, names: Sequence[str]) -> None:
        """Put in place what an archive holds; the categories `names` must be among it."""
        source, tree = self._plan.source, self._work / UNPACKED
        check_space(self._work, archives.unpacked_size(path) or path.stat().st_size * source.expansion)
        progress = partial(self._report, f"Unpacking {self._label(names)}")
        self._junk += archives.unpack(path, tree, wanted=self._is_wanted, progress=progress).junk
        root, self._layout = find_dataset(tree, source, names, path)
        self._added += put_in_place(root, self._plan.folder.resolve(), source)
        shutil.rmtree(tree, ignore_errors=True)

    def _label(self, names: Sequence[str]) -> str:
        return names[0] if len(names) == 1 else self._plan.source.title

    def _is_wanted(self, path: PurePosixPath) -> bool:
        """Whether to unpack a member of an archive: all but those of categories that are not missing."""
        category = next((part for part in path.parts if part in self._plan.source.categories), None)
        return category is None or not self._plan.categories or category in self._plan.missing


def _check_free(path: Path) -> None:
    if path.exists():
        raise OutputError(
            "already there, and the archive would be kept under this name", path=path, hint="move it away"
        )
