"""Small datasets in MVTec AD's tree, drawn for tests."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from mvtec_convert.dataset import Sample, SplitName

SIZE = (16, 12)  # width, height
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}


def make_tree(root: Path, folders: Mapping[str, str | Iterable[str]]) -> Path:
    """Write the files of each folder; names come as a list, or as one string with spaces between them.

    In a folder below `ground_truth`, images are masks. A file whose suffix is no image's holds a line of text.
    """
    for folder, names in folders.items():
        # An absolute folder would make pathlib forget the root, and the test write outside it.
        assert not Path(folder).is_absolute(), folder
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names.split() if isinstance(names, str) else names:
            kind = KINDS.get(Path(name).suffix.lower())
            is_mask = "ground_truth" in Path(folder).parts
            (root / folder / name).write_bytes(picture(kind, is_mask) if kind else b"not an image\n")
    return root


@cache
def picture(kind: str, is_mask: bool) -> bytes:
    """An image file: a grey mask with one region, or a colour image."""
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    pixels[8:, 8:] = 255  # on the border of a JPEG block, so that JPEG keeps it
    image = Image.fromarray(pixels) if is_mask else Image.new("RGB", SIZE, (90, 120, 60))
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def complete(root: Path, categories: Iterable[str] = ("carpet",)) -> Path:
    """A tree where nothing is wrong: for each category three good images, two of `hole`, one of `cut`."""
    for category in categories:
        make_tree(
            root,
            {
                f"{category}/train/good": "000.png 001.png",
                f"{category}/test/good": "000.png",
                f"{category}/test/hole": "000.png 001.png",
                f"{category}/test/cut": "000.png",
                f"{category}/ground_truth/hole": "000_mask.png 001_mask.png",
                f"{category}/ground_truth/cut": "000_mask.png",
            },
        )
    return root


def sample(key: str) -> Sample:
    """The sample with this key, `<category>/<split>/<defect type>/<file>`; its files need not exist."""
    category, split, defect_type, name = key.split("/")
    names: dict[str, SplitName] = {"train": "train", "test": "test"}
    image = Path("/dataset", key)
    mask = Path("/dataset", category, "ground_truth", defect_type, f"{image.stem}_mask.png")
    masks = () if defect_type == "good" else (mask,)
    return Sample(category, defect_type, names[split], image, masks, f"{category}/{split}/{defect_type}/{name}")


def samples(counts: Mapping[str, int]) -> list[Sample]:
    """`count` samples in each folder `<category>/<split>/<defect type>`, called `000.png` and on."""
    return [sample(f"{folder}/{i:03}.png") for folder, count in counts.items() for i in range(count)]
