"""One line of CSV for each defect: its split, image, class, and box."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mvtec_convert.formats import Encoded, SimpleFormat
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan


@dataclass(frozen=True)
class BoxesCsv(SimpleFormat):
    """Boxes as CSV: spreadsheets, pandas.

    Attributes:
        header: begin with a line of headings.
    """

    name: ClassVar[str] = "boxes-csv"
    header: bool = False

    def rows(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Iterator[str]:
        """split, image, class, x0, y0, x1, y1; px."""
        for region in image.regions:
            yield ",".join(map(str, (item.split, item.file_name, item.class_of(region).name, *region.xyxy))) + "\n"

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One file for all splits."""
        with (out / "boxes.csv").open("wb") as file:
            file.write(b"split,image,class,x0,y0,x1,y1\n" if self.header else b"")
            for image in encoded:
                file.writelines(image.rows)
