"""Photos with their masks beside them.

    <defect>/a.jpg
    <defect>/a.mask.png
    good/b.jpg

What is wrong with a part is the folder's name.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from mvtec_convert.dataset import Sample
from mvtec_convert.findings import Finding

TITLE = "Photos with their masks beside them"
KNOWN_BY = "a.mask.png beside a.jpg"
LICENCE = "your own"


def matches(root: Path) -> bool:
    """Whether there are masks in the folders of `root`."""
    return any(root.glob("*/*.mask.png"))


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image, the defective ones with their mask."""
    name = root.resolve().name
    for image in sorted(root.glob("*/*.jpg")):
        mask, defect = image.with_suffix(".mask.png"), image.parent.name
        if defect != "good" and not mask.is_file():
            report(name, Finding("missing-mask", f"no {mask.name} beside it", str(image)))
            continue
        masks = () if defect == "good" else (mask,)
        yield Sample(name, defect, "train", image, masks, f"{name}/{defect}/{image.name}")
