"""What a dataset, a sample and statistics look like in a notebook: small HTML that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections import Counter
from dataclasses import replace
from typing import Protocol

import cv2
from PIL import Image

from mvtec_convert.dataset import SPLIT_NAMES, Dataset, Sample
from mvtec_convert.errors import MvtecConvertError, printable
from mvtec_convert.geometry.pillow import read_rgb
from mvtec_convert.geometry.polygons import edge_outlines
from mvtec_convert.geometry.regions import AnnotatedImage, Region, annotate
from mvtec_convert.tables import Cell, Table
from mvtec_convert.tables import html as table_html

THUMBNAIL = 320
"""px; longer side of the picture of a sample."""

OUTLINE = 'fill="none" stroke="#e6007e" stroke-width="1.5" vector-effect="non-scaling-stroke"'


class Reported(Protocol):
    """Statistics of a source dataset, or of an export."""

    def tables(self) -> tuple[Table, ...]:
        """The overview, then all others."""
        ...

    def sentences(self) -> list[str]:
        """What the figures mean."""
        ...


def report_html(found: Reported) -> str:
    """The overview and the sentences; the other tables folded."""
    overview, *others = found.tables()
    told = "".join(f"<p>{_escaped(sentence)}</p>" for sentence in found.sentences())
    return f"<div>{_whole(overview)}{told}{''.join(map(_folded, others))}</div>"


def _folded(table: Table) -> str:
    return f"<details><summary>{_escaped(table.title)}</summary>{_whole(replace(table, title=''))}</details>"


def _whole(table: Table) -> str:
    note = f"<p><small>{_escaped(table.note)}</small></p>" if table.note else ""
    return f'<div style="overflow-x: auto">{table_html(table)}</div>{note}'


def dataset_html(dataset: Dataset) -> str:
    """One row a category."""
    splits = [name for name in SPLIT_NAMES if name != "val" or any(sample.split == "val" for sample in dataset)]
    rows: list[tuple[Cell, ...]] = []
    for category in dataset.categories:
        members = [sample for sample in dataset if sample.category == category]
        good = Counter(sample.split for sample in members if sample.is_good)
        types = sorted({name for sample in members for name in sample.defect_types})
        counts = (*(good[split] for split in splits), len(members) - good.total())
        rows.append((category, len(members), *counts, ", ".join(types)))
    columns = ("category", "images", *(f"{split} good" for split in splits), "defective", "defect classes")
    return table_html(Table(columns, tuple(rows), title=repr(dataset)))


def sample_html(sample: Sample) -> str:
    """The image, small, with the exact outlines of its regions; what is wrong where it cannot be read."""
    try:
        image = annotate(sample)
        picture = _picture(image)
    except MvtecConvertError as error:
        return f"<p>{_escaped(sample.key)}: {_escaped(str(error))}</p>"
    text = f"{_escaped(sample.key)}, {image.width} x {image.height} px, {_escaped(_counted(image))}"
    return f'<figure style="margin: 0">{picture}<figcaption>{text}</figcaption></figure>'


def _counted(image: AnnotatedImage) -> str:
    """`3 regions`; where pixels name them, also how many of each."""
    number = f"{len(image.regions)} region{'' if len(image.regions) == 1 else 's'}"
    if image.sample.pixel_names is None:
        return number
    return f"{number}: {', '.join(f'{n} {name}' for name, n in sorted(Counter(image.defect_types).items()))}"


def _picture(image: AnnotatedImage) -> str:
    """SVG in px of the image; its outlines run along the edges of pixels, holes included."""
    scale = min(1, THUMBNAIL / max(image.width, image.height))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    paths = "".join(f'<path d="{_path(region)}" {OUTLINE}/>' for region in image.regions)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
        f'viewBox="0 0 {image.width} {image.height}" role="img" aria-label="{_escaped(image.sample.key)}">'
        f'<image href="{_thumbnail(image, size)}" width="{image.width}" height="{image.height}"/>{paths}</svg>'
    )


def _thumbnail(image: AnnotatedImage, size: tuple[int, int]) -> str:
    """The image as a `data:` address."""
    pixels = read_rgb(image.sample.image)
    stream = io.BytesIO()
    Image.fromarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)).save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _path(region: Region) -> str:
    rings = (ring for outline in edge_outlines(region) for ring in (outline.outer, *outline.holes))
    return "".join("M" + "L".join(f"{x} {y}" for x, y in ring.tolist()) + "Z" for ring in rings)


def _escaped(text: str) -> str:
    return html.escape(printable(text))
