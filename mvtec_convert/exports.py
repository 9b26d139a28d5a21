"""Exported datasets, ours or another tool's: which format one is in, and what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from mvtec_convert import balance
from mvtec_convert.dataset import GOOD
from mvtec_convert.errors import ExportError
from mvtec_convert.formats import Format, format_named, format_plugins, formats, good_is_a_class, recognised
from mvtec_convert.jsonio import load_json
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.runs.publish import MANIFEST
from mvtec_convert.schemas.balance import BalanceFile
from mvtec_convert.schemas.export import ManifestFile


def read_export(folder: str | Path, *, format: str | None = None) -> Iterator[LabelledImage]:
    """Every image of a dataset with its labels, as the format's own reader takes them; one at a time.

    The images come split by split, in the order of the files.

    Args:
        folder: the dataset; for COCO, one annotation file will do.
        format: name of its format; recognised where None.

    Raises:
        ExportError: no such folder, no known format, or labels that cannot be read; names file and line. What was read
            before has then been given already.
        MaskError: an image whose size is needed cannot be read.
        SelectionError: no format of that name.

    >>> _ = mc.to_coco(mc.load("mvtec_anomaly_detection").filter(category="carpet"), "carpet-coco")
    >>> image = next(mc.read_export("carpet-coco"))
    >>> image.key, [(each.class_name, each.region.area) for each in image.objects]
    ('images/train/carpet_color_000.png', [('color', 1136)])
    """
    folder = Path(folder).expanduser()
    return format_of(folder, format).read(folder)


def class_names(folder: str | Path, *, format: str | None = None) -> tuple[str, ...]:
    """All classes of a dataset in the order of their ids, those without an object too.

    Raises:
        ExportError, SelectionError: see `read_export`.

    >>> _ = mc.to_yolo(mc.load("mvtec_anomaly_detection").filter(category="carpet"), "carpet-yolo")
    >>> mc.class_names("carpet-yolo")
    ('color', 'cut', 'hole', 'metal_contamination', 'thread')
    """
    folder = Path(folder).expanduser()
    return format_of(folder, format).class_names(folder)


def is_export(folder: Path) -> bool:
    """Whether a folder, or a COCO file, is an exported dataset and no source.

    The manifest says so, or a format recognises it. A category of a source without its masks looks like images in
    folders of their classes; it is told from these by its train, which holds nothing but `good`.
    """
    if (folder / MANIFEST).is_file():
        return True
    known = recognised(folder) if folder.exists() else None
    return known is not None and not (good_is_a_class(known) and _learns_from_good_alone(folder))


def _learns_from_good_alone(folder: Path) -> bool:
    return [path.name for path in (folder / "train").iterdir() if path.is_dir()] == [GOOD]


def format_of(folder: Path, name: str | None = None) -> type[Format]:
    """The format called `name`, or the one that a dataset is in: its manifest says so, else its files.

    Raises:
        ExportError: no such folder, or no known format.
        SelectionError: no format of that name.
    """
    if not folder.exists():
        hint = "give a folder that holds a YOLO, COCO, SAM, labelme or Pascal VOC dataset"
        raise ExportError("no such folder", path=folder, hint=hint)
    return format_named(name) if name else _recognised(folder)


def manifest_of(folder: Path) -> ManifestFile | None:
    """What made an export, or None where it was not this tool, or where the manifest is damaged."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        return ManifestFile.model_validate(load_json(folder / MANIFEST))
    except (ExportError, ValidationError):
        return None  # `validate` tells of it; the files themselves still say what they are


def balance_of(folder: Path) -> BalanceFile | None:
    """How often training is to see each image of an export; None where nothing says so, or where that is damaged."""
    if not (folder / balance.FILE_NAME).is_file():
        return None
    try:
        return BalanceFile.model_validate(load_json(folder / balance.FILE_NAME))
    except (ExportError, ValidationError):
        return None  # as of the manifest


def _recognised(folder: Path) -> type[Format]:
    manifest = manifest_of(folder)
    if manifest is not None and manifest.format in {*formats(), *format_plugins()}:
        return format_named(manifest.format)
    found = recognised(folder)
    if found is not None:
        return found
    if manifest is not None:
        hint = "install the package that it was written with"
        raise ExportError(f"in the format {manifest.format}, which nothing here knows", path=folder, hint=hint)
    raise ExportError(
        f"none of the formats {', '.join(formats())} is recognised here",
        path=folder,
        hint="give the dataset's top folder, or say which it is with --format",
    )
