"""A small dataset in each source layout, drawn for tests, and what a person would read out of it.

The trees follow what each dataset's publisher writes of it (see the layout's docstring). Nothing here uses the layouts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

SIZE = (24, 16)  # width, height, px
KINDS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".tiff": "TIFF"}

Box = tuple[int, int, int, int]
"""x, y, width, height, px."""

IMAGE = "image"
BLACK: tuple[tuple[Box, int], ...] = ()
WHITE: tuple[tuple[Box, int], ...] = (((4, 2, 5, 6), 255),)

Content = str | tuple[tuple[Box, int | tuple[int, int, int]], ...]
"""`IMAGE`; or the rectangles of a mask and their values or colours; or the text of any other file."""


@dataclass(frozen=True)
class Expected:
    """One image as it should be read; masks are paths below the root.

    `regions` are (x, y, width, height, defect type), sorted.
    """

    category: str
    defect_type: str
    split: str
    image: str
    masks: tuple[str, ...] = ()
    regions: tuple[tuple[int, int, int, int, str], ...] = ()


@dataclass(frozen=True)
class Drawn:
    """A dataset.

    `files` are the contents by path below the root, `expected` the samples by key, `warnings` the codes told of this
    tree, in which nothing is wrong, `parts` the folders that are datasets of their own (one category), `classes` all
    defect types that the masks may show.
    """

    files: Mapping[str, Content]
    expected: Mapping[str, Expected]
    warnings: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def write(self, root: Path) -> Path:
        for name, content in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(content, path.suffix.lower()))
        return root


def encoded(content: Content, suffix: str, *, one_bit: bool = False) -> bytes:
    if suffix not in KINDS:
        assert isinstance(content, str)
        return content.encode()
    if content == IMAGE:
        picture = Image.new("RGB", SIZE, (90, 120, 60))
    else:
        is_coloured = any(isinstance(value, tuple) for _, value in content)
        pixels = np.zeros((SIZE[1], SIZE[0], 3) if is_coloured else (SIZE[1], SIZE[0]), np.uint8)
        for (x, y, width, height), value in content:
            pixels[y : y + height, x : x + width] = value
        picture = Image.fromarray(pixels)
        picture = picture.convert("1") if one_bit else picture
    stream = io.BytesIO()
    picture.save(stream, KINDS[suffix])
    return stream.getvalue()


def good(category: str, split: str, image: str) -> Expected:
    return Expected(category, "good", split, image)


def defective(category: str, defect: str, image: str, *masks: str, split: str = "test") -> Expected:
    return Expected(category, defect, split, image, masks, ((*WHITE[0][0], defect),))


def drawn(expected: Mapping[str, Expected], more: Mapping[str, Content] = {}, **facts: object) -> Drawn:
    """Every image, a `WHITE` mask for each, and more files, which may be other masks."""
    files: dict[str, Content] = {}
    for sample in expected.values():
        files[sample.image] = IMAGE
        files |= dict.fromkeys(sample.masks, WHITE)
    types = {region[4] for sample in expected.values() for region in sample.regions}
    return Drawn({**files, **more}, expected, **{"classes": tuple(sorted(types)), **facts})  # type: ignore[arg-type]


def by_key(*samples: Expected) -> dict[str, Expected]:
    """Where a category is a folder of the root, the key is the image's path."""
    return {sample.image: sample for sample in samples}


MVTEC_AD = drawn(
    by_key(
        good("carpet", "train", "carpet/train/good/000.png"),
        good("carpet", "test", "carpet/test/good/000.png"),
        defective("carpet", "hole", "carpet/test/hole/000.png", "carpet/ground_truth/hole/000_mask.png"),
        defective("carpet", "cut", "carpet/test/cut/000.jpg", "carpet/ground_truth/cut/000.png"),
        good("tile", "train", "tile/train/good/000.png"),
        defective("tile", "crack", "tile/test/crack/003.png", "tile/ground_truth/crack/003_mask.png"),
    ),
    parts=("carpet", "tile"),
)

MVTEC_AD_2 = drawn(
    by_key(
        good("can", "train", "can/train/good/000_regular.png"),
        good("can", "val", "can/validation/good/000_regular.png"),
        good("can", "test", "can/test_public/good/000_regular.png"),
        defective(
            "can", "bad", "can/test_public/bad/000_regular.png", "can/test_public/ground_truth/bad/000_regular_mask.png"
        ),
        defective(
            "can", "bad", "can/test_public/bad/000_shift_1.png", "can/test_public/ground_truth/bad/000_shift_1_mask.png"
        ),
    ),
    {"can/test_private/000_regular.png": IMAGE, "can/test_private_mixed/000_mixed.png": IMAGE},
    parts=("can",),
    warnings=("unlabelled", "unlabelled"),
)

LOCO_CONFIG = [
    {"defect_name": "missing_pushpin", "pixel_value": 255, "saturation_threshold": 3300, "relative_saturation": False},
    {"defect_name": "bent_pin", "pixel_value": 254, "saturation_threshold": 1.0, "relative_saturation": True},
    {"defect_name": "colour", "pixel_value": 250, "saturation_threshold": 1.0, "relative_saturation": True},
]
LOCO_TRUTH = "pushpins/ground_truth/logical_anomalies/000"
MVTEC_LOCO = drawn(
    by_key(
        good("pushpins", "train", "pushpins/train/good/000.png"),
        good("pushpins", "val", "pushpins/validation/good/000.png"),
        good("pushpins", "test", "pushpins/test/good/000.png"),
        Expected(
            "pushpins", "logical_anomalies", "test", "pushpins/test/logical_anomalies/000.png",
            (f"{LOCO_TRUTH}/000.png", f"{LOCO_TRUTH}/001.png"),
            ((2, 2, 4, 4, "missing_pushpin"), (6, 2, 3, 4, "bent_pin"), (14, 8, 4, 4, "missing_pushpin")),
        ),
        Expected(
            "pushpins", "structural_anomalies", "test", "pushpins/test/structural_anomalies/000.png",
            ("pushpins/ground_truth/structural_anomalies/000/000.png",), ((1, 1, 3, 3, "bent_pin"),),
        ),
    ),
    {
        "pushpins/defects_config.json": json.dumps(LOCO_CONFIG),
        # The second defect touches the first, and is another.
        f"{LOCO_TRUTH}/000.png": (((2, 2, 4, 4), 255), ((6, 2, 3, 4), 254)),
        f"{LOCO_TRUTH}/001.png": (((14, 8, 4, 4), 255),),
        "pushpins/ground_truth/structural_anomalies/000/000.png": (((1, 1, 3, 3), 254),),
    },
    parts=("pushpins",),
    classes=("bent_pin", "colour", "missing_pushpin"),
)  # fmt: skip

MVTEC_3D_AD = drawn(
    by_key(
        good("potato", "train", "potato/train/good/rgb/000.png"),
        good("potato", "val", "potato/validation/good/rgb/000.png"),
        good("potato", "test", "potato/test/good/rgb/000.png"),
        defective("potato", "hole", "potato/test/hole/rgb/000.png", "potato/test/hole/gt/000.png"),
        Expected(
            "potato", "combined", "test", "potato/test/combined/rgb/000.png", ("potato/test/combined/gt/000.png",),
            ((1, 1, 4, 4, "hole"), (5, 1, 4, 4, "contamination"), (15, 9, 2, 2, "combined")),
        ),
    ),
    {
        "potato/test/good/gt/000.png": BLACK,
        "potato/test/hole/gt/000.png": (((4, 2, 5, 6), 253),),
        "potato/test/combined/gt/000.png": (((1, 1, 4, 4), 253), ((5, 1, 4, 4), 255), ((15, 9, 2, 2), 7)),
        "potato/test/hole/xyz/000.tiff": IMAGE,
        "potato/calibration/camera_parameters.json": "{}",
    },
    parts=("potato",),
    classes=("combined", "contamination", "cut", "hole"),
)  # fmt: skip

VISA_DATA = "pcb1/Data"
VISA = drawn(
    by_key(
        good("pcb1", "train", f"{VISA_DATA}/Images/Normal/0000.JPG"),
        good("pcb1", "test", f"{VISA_DATA}/Images/Normal/0001.JPG"),
        Expected(
            "pcb1", "melt", "test", f"{VISA_DATA}/Images/Anomaly/000.JPG", (f"{VISA_DATA}/Masks/Anomaly/000.png",),
            ((4, 2, 5, 6, "melt"),),
        ),
        Expected(
            "pcb1", "combined", "test", f"{VISA_DATA}/Images/Anomaly/001.JPG", (f"{VISA_DATA}/Masks/Anomaly/001.png",),
            ((1, 1, 3, 3, "bent"), (4, 1, 3, 3, "scratch")),
        ),
    ),
    {
        "split_csv/1cls.csv": "object,split,label,image,mask\n"
        f"pcb1,train,normal,{VISA_DATA}/Images/Normal/0000.JPG,\n"
        f"pcb1,test,normal,{VISA_DATA}/Images/Normal/0001.JPG,\n"
        f"pcb1,test,anomaly,{VISA_DATA}/Images/Anomaly/000.JPG,{VISA_DATA}/Masks/Anomaly/000.png\n",
        "pcb1/image_anno.csv": "image,label,mask\n"
        f"{VISA_DATA}/Images/Normal/0000.JPG,normal,\n"
        f"{VISA_DATA}/Images/Anomaly/000.JPG,melt,{VISA_DATA}/Masks/Anomaly/000.png\n"
        f'{VISA_DATA}/Images/Anomaly/001.JPG,"bent,scratch",{VISA_DATA}/Masks/Anomaly/001.png\n',
        f"{VISA_DATA}/Masks/Anomaly/000.png": (((4, 2, 5, 6), 2),),
        f"{VISA_DATA}/Masks/Anomaly/001.png": (((1, 1, 3, 3), 1), ((4, 1, 3, 3), 3)),
    },
    parts=("pcb1",),
    classes=("bent", "melt", "missing", "scratch"),
)  # fmt: skip

VISA_PACKED = drawn(
    by_key(
        good("candle", "train", "candle/train/good/0000.JPG"),
        good("candle", "test", "candle/test/good/0001.JPG"),
        defective("candle", "bad", "candle/test/bad/000.JPG", "candle/ground_truth/bad/000.png"),
    ),
    parts=("candle",),
)

VISA_TWO_CLASSES = drawn(
    by_key(
        good("candle", "train", "candle/train/good/0000.JPG"),
        defective("candle", "bad", "candle/train/bad/000.JPG", "candle/ground_truth/train/bad/000.png", split="train"),
        good("candle", "test", "candle/test/good/0001.JPG"),
        defective("candle", "bad", "candle/test/bad/001.JPG", "candle/ground_truth/test/bad/001.png"),
    ),
    parts=("candle",),
)

BTAD = drawn(
    by_key(
        good("01", "train", "01/train/ok/0000.bmp"),
        good("01", "test", "01/test/ok/0000.bmp"),
        defective("01", "ko", "01/test/ko/0000.bmp", "01/ground_truth/ko/0000.png"),
        good("02", "train", "02/train/ok/0000.png"),
        defective("02", "ko", "02/test/ko/0000.png", "02/ground_truth/ko/0000.png"),
        defective("03", "ko", "03/test/ko/0000.bmp", "03/ground_truth/ko/0000.bmp"),
    ),
    parts=("01", "02", "03"),
)

MPDD = drawn(
    by_key(
        good("tubes", "train", "tubes/train/good/000.png"),
        good("tubes", "test", "tubes/test/good/000.png"),
        defective("tubes", "anomalous", "tubes/test/anomalous/000.png", "tubes/ground_truth/anomalous/000_mask.png"),
        defective(
            "metal_plate", "major_rust", "metal_plate/test/major_rust/000.png",
            "metal_plate/ground_truth/major_rust/000_mask.png",
        ),
    ),
    {"__MACOSX/tubes/test/anomalous/._000.png": WHITE},
    parts=("tubes", "metal_plate"),
)  # fmt: skip

KOLEKTOR = drawn(
    {
        "kolektor_sdd/kos01/Part0.jpg": good("kolektor_sdd", "train", "kos01/Part0.jpg"),
        "kolektor_sdd/kos01/Part5.jpg": defective(
            "kolektor_sdd", "defect", "kos01/Part5.jpg", "kos01/Part5_label.bmp", split="train"
        ),
        "kolektor_sdd/kos02/Part0.jpg": defective(
            "kolektor_sdd", "defect", "kos02/Part0.jpg", "kos02/Part0_label.bmp", split="train"
        ),
    },
    {"kos01/Part0_label.bmp": BLACK},
)

KOLEKTOR_2 = drawn(
    {
        "kolektor_sdd2/train/10000.png": good("kolektor_sdd2", "train", "train/10000.png"),
        "kolektor_sdd2/train/10001.png": defective(
            "kolektor_sdd2", "defect", "train/10001.png", "train/10001_GT.png", split="train"
        ),
        "kolektor_sdd2/test/20000.png": good("kolektor_sdd2", "test", "test/20000.png"),
        "kolektor_sdd2/test/20001.png": defective("kolektor_sdd2", "defect", "test/20001.png", "test/20001_GT.png"),
    },
    {
        "train/10000_GT.png": BLACK,
        "test/20000_GT.png": BLACK,
        # The published archive has these two as well.
        "train/10001 (copy).png": IMAGE,
        "train/10001_GT (copy).png": WHITE,
    },
    warnings=("identical-images", "identical-images"),
)

OWN = drawn(
    {
        "bracket/photos/a.jpg": good("bracket", "train", "photos/a.jpg"),
        "bracket/photos/b.jpg": defective("bracket", "scratch", "photos/b.jpg", "drawn/b.png", split="train"),
        "bracket/photos/c.jpg": Expected(
            "bracket", "scratch", "train", "photos/c.jpg", ("drawn/c-1.png", "drawn/c.png"),
            ((4, 2, 5, 6, "scratch"), (15, 9, 2, 2, "scratch")),
        ),
    },
    {
        "mvtec-convert.toml": 'category = "bracket"\nimages = "photos/*.jpg"\n'
        'masks = ["drawn/{stem}.png", "drawn/{stem}-*.png"]\ndefect = "scratch"\ngood_when_no_mask = true\n',
        "drawn/c-1.png": (((15, 9, 2, 2), 255),),
    },
)  # fmt: skip

OWN_VALUES = drawn(
    {
        "own_values/photos/a.jpg": good("own_values", "train", "photos/a.jpg"),
        "own_values/photos/b.jpg": Expected(
            "own_values", "defect", "train", "photos/b.jpg", ("drawn/b.png",),
            ((1, 1, 6, 6, "scratch"), (4, 1, 3, 3, "dent")),
        ),
        "own_values/photos/c.jpg": Expected(
            "own_values", "defect", "train", "photos/c.jpg", ("drawn/c.png",), ((4, 2, 5, 6, "dent"),)
        ),
    },
    {
        "mvtec-convert.toml": 'category = "own_values"\nimages = "photos/*.jpg"\nmasks = "drawn/{stem}.png"\n'
        'good_when_no_mask = true\n[values]\n1 = "scratch"\n2 = "dent"\n3 = "hole"\n',
        # The last touches the first at a corner only, and so they are one; the second lies between them.
        "drawn/b.png": (((1, 1, 3, 3), 1), ((4, 1, 3, 3), 2), ((4, 4, 3, 3), 1)),
        "drawn/c.png": (((4, 2, 5, 6), 2),),
    },
    classes=("dent", "hole", "scratch"),
)  # fmt: skip

OWN_COLOURS = drawn(
    {
        "own_colours/photos/a.jpg": good("own_colours", "train", "photos/a.jpg"),
        "own_colours/photos/b.jpg": Expected(
            "own_colours", "defect", "train", "photos/b.jpg", ("drawn/b.png",),
            ((2, 2, 4, 4, "scratch"), (6, 2, 2, 4, "dent")),
        ),
        "own_colours/photos/c.jpg": Expected(
            "own_colours", "defect", "train", "photos/c.jpg", ("drawn/c.png",), ((4, 2, 5, 6, "dent"),)
        ),
    },
    {
        "mvtec-convert.toml": 'category = "own_colours"\nimages = "photos/*.jpg"\nmasks = "drawn/{stem}.png"\n'
        'good_when_no_mask = true\n[colors]\n"#ff0000" = "scratch"\n"0,255,0" = "dent"\n',
        "drawn/b.png": (((2, 2, 4, 4), (255, 0, 0)), ((6, 2, 2, 4), (0, 255, 0))),
        "drawn/c.png": (((4, 2, 5, 6), (0, 255, 0)),),
    },
)  # fmt: skip

TREES: Mapping[str, tuple[Drawn, ...]] = {
    "btad": (BTAD,),
    "kolektor": (KOLEKTOR, KOLEKTOR_2),
    "mpdd": (MPDD,),
    "mvtec_3d_ad": (MVTEC_3D_AD,),
    "mvtec_ad": (MVTEC_AD,),
    "mvtec_ad_2": (MVTEC_AD_2,),
    "mvtec_loco": (MVTEC_LOCO,),
    "own": (OWN, OWN_VALUES, OWN_COLOURS),
    "visa": (VISA, VISA_PACKED, VISA_TWO_CLASSES),
}
CASES = [(name, tree) for name, trees in TREES.items() for tree in trees]
IDS = [f"{name}-{i}" if i else name for name, trees in TREES.items() for i in range(len(trees))]


def folders_of(tree: Drawn) -> list[str]:
    """Every folder of a tree, the root too."""
    return sorted({str(parent) for name in tree.files for parent in PurePosixPath(name).parents})
