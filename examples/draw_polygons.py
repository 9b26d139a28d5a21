"""Draw the polygons and boxes of a COCO export over its images: a look at what a trainer will be told.

mvtec-convert coco --sample --out sample-coco
python examples/draw_polygons.py sample-coco polygons.png carpet_hole_005 hazelnut_crack_003
"""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps
from pycocotools.coco import COCO

SCALE, SIDE = 3, 360  # drawn at three times the image's size, shown at 360 px
LINE, FILL, BOX = (0, 255, 170), (0, 255, 170, 70), (255, 170, 0)


def tile(coco: COCO, image: dict, folder: Path) -> Image.Image:
    """One image with its regions, `SIDE` px square."""
    with Image.open(folder / image["file_name"]) as opened:
        picture = ImageOps.scale(opened.convert("RGB"), SCALE, Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture, "RGBA")
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
        x, y, width, height = (value * SCALE for value in annotation["bbox"])
        draw.rectangle((x, y, x + width, y + height), outline=BOX, width=2)
        for polygon in annotation["segmentation"]:
            points = [value * SCALE for value in polygon]
            draw.polygon(points, fill=FILL)
            draw.line([*points, *points[:2]], fill=LINE, width=3)
    return ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.LANCZOS)


def main(export: str, out: str, *names: str) -> None:
    """Draw the named images (or the first four with a region) side by side."""
    tiles = []
    for file in sorted(Path(export, "annotations").glob("instances_*.json")):
        coco = COCO(str(file))
        folder = Path(export, "images", file.stem.removeprefix("instances_"))
        for image in coco.loadImgs(coco.getImgIds()):
            stem = Path(image["file_name"]).stem
            if stem in names or (not names and len(tiles) < 4 and coco.getAnnIds(imgIds=[image["id"]])):
                tiles.append((names.index(stem) if names else 0, stem, tile(coco, image, folder)))
    if not tiles:
        raise SystemExit(f"none of these images is in {export}: {', '.join(names)}")
    sheet = Image.new("RGB", (SIDE * len(tiles), SIDE))
    for place, (_, _, picture) in enumerate(sorted(tiles, key=lambda entry: entry[:2])):
        sheet.paste(picture, (SIDE * place, 0))
    sheet.save(out, optimize=True)
    print(f"{len(tiles)} images drawn to {out}")


if __name__ == "__main__":
    main(*sys.argv[1:] if len(sys.argv) > 2 else sys.exit(__doc__))
