"""A dataset on one page: what it holds, charts, and its images with the exact outlines drawn over them.

Needs the extra `report`: Jinja2 and Matplotlib.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import mvtec_convert
from mvtec_convert.dataset import Dataset
from mvtec_convert.errors import ExportError, ExtraMissingError, MaskError, SelectionError
from mvtec_convert.geometry.regions import RegionOptions
from mvtec_convert.reports.contents import Contents, Progress, of_dataset, of_export
from mvtec_convert.reports.gallery import Thumbnail, choose, thumbnail
from mvtec_convert.reports.pictures import Picture
from mvtec_convert.single_file import check_file, write_file

GENERATOR = "mvtec-convert report"
"""In the head of every page; tells a page of this tool from any other file."""

LIBRARIES = ("jinja2", "matplotlib")
DEFAULT_IMAGES = 400
PAGE_BYTES = 9_500_000
"""Of a page with up to `DEFAULT_IMAGES` images; one with more may have as much for each."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was written.

    Attributes:
        out: the file.
        size: of it, bytes.
        shown: images on the page.
        images: images of the dataset.
        unreadable: keys of images on the page whose pixels could not be read.
    """

    out: Path
    size: int
    shown: int
    images: int
    unreadable: tuple[str, ...]


def report(
    source: Dataset | str | Path,
    out: str | Path,
    *,
    title: str | None = None,
    images: int = DEFAULT_IMAGES,
    regions: RegionOptions = RegionOptions(),
    format: str | None = None,
    jobs: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Write one HTML file that shows a dataset; it needs no other file and no network.

    Args:
        source: a source dataset, or the folder of a YOLO, COCO or SAM dataset, whoever wrote it.
        out: file to write, `.html`; an earlier report is replaced, any other file is left alone.
        title: of the page; the dataset's name where None.
        images: how many images are shown at most: some of every kind, defective ones first.
        regions: how masks of a source are cut into regions.
        format: of an export; recognised where None.
        jobs: threads; 0 means one for each core.
        progress: called with (images done, images in all), first for reading, then for drawing; 0 where not known.

    Raises:
        ExtraMissingError: Jinja2 or Matplotlib is not installed.
        MvtecConvertError: with what is wrong, where, and what to do; nothing is written then.

    >>> page = mc.report(mc.load("mvtec_anomaly_detection").filter(category="carpet"), "report.html", images=20)
    >>> page.shown, page.images
    (20, 37)
    """
    _require_libraries()
    if images < 0:
        raise SelectionError(f"a page cannot show {images} images", hint="--images 0 shows none")
    out = Path(out).expanduser()
    root = source.root if isinstance(source, Dataset) else Path(source).expanduser()
    check_file(out, root, "a report", ".html", GENERATOR.encode())
    if isinstance(source, Dataset):
        contents = of_dataset(source, regions, jobs, progress)
    else:
        contents = of_export(root, format, progress)
    return _write(contents, title or contents.name, images, out, jobs, progress)


def _require_libraries() -> None:
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise ExtraMissingError(
            f"not installed: {', '.join(missing)}, which reports are made with",
            hint="pip install 'mvtec-convert[report]'",
        )


def _write(contents: Contents, title: str, most: int, out: Path, jobs: int, progress: Progress | None) -> Report:
    from mvtec_convert.reports.page import Page  # needs the libraries of the extra

    page = Page(contents, title, f"{GENERATOR} {mvtec_convert.__version__}")
    chosen = choose(contents.pictures, most)
    room = PAGE_BYTES * max(1.0, len(chosen) / DEFAULT_IMAGES) - len(page.html(chosen, {}).encode())
    thumbnails = _thumbnails(chosen, int(room / max(1, len(chosen))), jobs, progress)
    written = page.html(chosen, thumbnails).encode()
    write_file(written, out)
    unreadable = tuple(picture.key for picture in chosen if picture.key not in thumbnails)
    return Report(out, len(written), len(chosen), len(contents.pictures), unreadable)


def _thumbnails(chosen: Sequence[Picture], most: int, jobs: int, progress: Progress | None) -> dict[str, Thumbnail]:
    """By key, each in at most `most` bytes; without those whose image cannot be read."""
    found = {}
    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        made = pool.map(lambda picture: _thumbnail(picture, most), chosen)
        for done, (picture, drawn) in enumerate(zip(chosen, made, strict=True), start=1):
            if drawn is not None:
                found[picture.key] = drawn
            if progress is not None:
                progress(done, len(chosen))
    return found


def _thumbnail(picture: Picture, most: int) -> Thumbnail | None:
    try:
        return thumbnail(picture, most)
    except (MaskError, ExportError):
        return None
