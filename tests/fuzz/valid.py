"""Valid files to damage: images of every kind, sources in every layout, exports in every format, archives."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.formats import medsam
from tests.broken import draw_image, save
from tests.test_labelled import EXPORTS

SIZE = (24, 20)  # width, height, px
SMALL_SQUARE = 32  # px; what MedSAM's arrays are made, in place of 1024


def images() -> dict[str, bytes]:
    """One image of every kind that is read, by a name with its suffix."""
    rng = np.random.default_rng(3)
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[4:12, 5:20] = 255
    grey, colour = Image.fromarray(mask), Image.fromarray(rng.integers(0, 255, (*SIZE[::-1], 3), np.uint8))
    alpha = Image.merge("RGBA", [*colour.split(), grey])
    palette = colour.quantize(16)
    deep = Image.fromarray((mask.astype(np.uint16) << 8) + 7)
    exif = Image.Exif()
    exif[0x0112] = 6
    found = {
        "grey.png": _saved(grey, "PNG"),
        "bit.png": _saved(grey.convert("1"), "PNG"),
        "colour.png": _saved(colour, "PNG"),
        "alpha.png": _saved(alpha, "PNG"),
        "grey-alpha.png": _saved(Image.merge("LA", [grey, grey]), "PNG"),
        "palette.png": _saved(palette, "PNG"),
        "clear.png": _saved(palette, "PNG", transparency=3),
        "two.png": _saved(grey.quantize(2), "PNG", bits=2),
        "deep.png": _saved(deep, "PNG"),
        "turned.png": _saved(grey, "PNG", exif=exif),
        "grey.jpg": _saved(grey, "JPEG"),
        "colour.jpg": _saved(colour, "JPEG", progressive=True),
        "ink.jpg": _saved(colour.convert("CMYK"), "JPEG"),
        "turned.jpg": _saved(colour, "JPEG", exif=exif),
        "grey.bmp": _saved(grey, "BMP"),
        "bit.bmp": _saved(grey.convert("1"), "BMP"),
        "palette.bmp": _saved(palette, "BMP"),
        "colour.bmp": _saved(colour, "BMP"),
        "alpha.bmp": _saved(alpha, "BMP"),
        "grey.webp": _saved(colour, "WEBP", lossless=True),
        "palette.gif": _saved(palette, "GIF"),
        "deep.tif": _saved(deep, "TIFF"),
        "float.tif": _saved(Image.fromarray(mask.astype(np.float32)), "TIFF"),
        "turned.tif": _saved(colour, "TIFF", exif=exif),
        "pages.tif": _saved(grey, "TIFF", save_all=True, append_images=[grey, colour]),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"):
        source = grey.convert("1") if compression == "group4" else colour
        found[f"{compression}.tif"] = _saved(source, "TIFF", compression=compression)
    return found


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plates(root: Path) -> Path:
    """A small tree in MVTec AD's layout: two images of each of two defect types, and three good ones."""
    for number, folder in enumerate(("train/good", "train/good", "test/good", *["test/cut"] * 2, *["test/hole"] * 2)):
        path = root / "plate" / folder / f"{number:03}.png"
        draw_image(path, number, SIZE)
        if folder in {"test/cut", "test/hole"}:
            mask = np.zeros(SIZE[::-1], np.uint8)
            mask[2:9, 3:12] = 255
            mask[4:6, 5:8] = 0
            mask[14:17, 8 + number : 12 + number] = 255
            save(mask, root / "plate" / "ground_truth" / folder[5:] / f"{number:03}_mask.png")
    return root


def valued_plates(root: Path) -> Path:
    """The same, and in one type the masks' values name the defect."""
    plates(root)
    (root / "plate" / "ground_truth" / "hole" / "values.json").write_bytes(b'{"255": "scratch", "254": "dent"}')
    return root


def export(name: str, source: Path, out: Path) -> None:
    """The export called `name`, with a balance if its format takes one."""
    medsam.SIDE = SMALL_SQUARE
    EXPORTS[name](mc.load(source), out, balance="repeat-factor")


def archives() -> dict[str, bytes]:
    """The same small tree as zip and as tar, packed in each way that is read."""
    files = {
        f"x/plate/{name}": content for name, content in {"a.png": images()["grey.png"], "train/b.txt": b"b"}.items()
    }
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("x/plate/link.png")
        link.type, link.linkname = tarfile.LNKTYPE, "x/plate/a.png"
        tar.addfile(link)
    long = io.BytesIO()
    with tarfile.open(fileobj=long, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x/" + "ä" * 120 + ".png")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name), content)
    tar = plain.getvalue()
    return {
        "a.zip": zipped.getvalue(),
        "a.tar": tar,
        "long.tar": long.getvalue(),
        "a.tgz": gzip.compress(tar, 1, mtime=0),
        "a.tbz": bz2.compress(tar, 1),
        "a.txz": lzma.compress(tar, preset=0),
    }
