"""The public API as a type checker sees it; mypy reads this file, nothing runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

import mvtec_convert as mc
from mvtec_convert.formats import Format, SimpleFormat
from mvtec_convert.layouts import Layout

if TYPE_CHECKING:
    from mvtec_convert_example import side_by_side
    from mvtec_convert_example.boxes_csv import BoxesCsv
    from typing_extensions import assert_type

    def reading(root: Path) -> None:
        """What is read, and what is in it."""
        dataset = assert_type(mc.load(root, layout="mvtec_ad"), mc.Dataset)
        assert_type(dataset.filter(category=["carpet"], split="test"), mc.Dataset)
        sample = assert_type(dataset.samples[0], mc.Sample)
        assert_type(sample.split, Literal["train", "val", "test"])
        assert_type(sample.size(), tuple[int, int])
        assert_type(mc.check(dataset).findings, tuple[mc.Finding, ...])

    def regions(sample: mc.Sample) -> None:
        """Every form of a region."""
        found = assert_type(sample.regions("image", min_area=3), tuple[mc.Region, ...])
        region = found[0]
        assert_type(region.bbox, tuple[int, int, int, int])
        assert_type(region.xyxy, tuple[int, int, int, int])
        assert_type(region.mask(*sample.size()), npt.NDArray[np.uint8])
        assert_type(region.polygons(), list[npt.NDArray[np.int64]])
        assert_type(region.rle(10, 20)["counts"], bytes)

    def splitting(dataset: mc.Dataset) -> None:
        """Splits by protocol, and by hand."""
        parts = assert_type(dataset.split("supervised", ratios=[0.5, 0.5], seed=1), mc.Parts)
        assert_type(parts["train"], mc.Dataset)
        mc.to_coco(dataset, "out", split=parts)
        mc.to_yolo(dataset, "out", split={"train": parts["train"], "val": dataset})
        dataset.split("sometimes")  # type: ignore[arg-type]
        mc.to_coco(dataset, "out", split="sometimes")  # type: ignore[arg-type]

    def writing(dataset: mc.Dataset) -> None:
        """Options are checked by name and by value."""
        assert_type(mc.to_yolo(dataset, "out", task="segment", names="single", jobs=2), mc.Summary)
        assert_type(mc.to_sam(dataset, Path("out"), layout="medsam"), mc.Summary)
        assert_type(mc.to_format(dataset, "out", "boxes-csv", {"header": True}, background=0.5), mc.Summary)
        assert_type(mc.to_format(dataset, "out", BoxesCsv(header=True)), mc.Summary)
        mc.to_yolo(dataset, "out", task="detekt")  # type: ignore[arg-type]
        mc.to_coco(dataset, "out", names="defects")  # type: ignore[arg-type]
        mc.to_coco(dataset, "out", nams="defect")  # type: ignore[call-arg]

    def reading_back() -> None:
        """What exports say."""
        images = assert_type(mc.read_export("out"), Iterator[mc.LabelledImage])
        assert_type(next(images).objects, tuple[mc.LabelledObject, ...])
        assert_type(mc.class_names("out"), tuple[str, ...])
        assert_type(mc.validate("out").errors, int)

    def of_ones_own() -> None:
        """The example package fits what formats and layouts are."""
        layout: Layout = side_by_side
        of_package: type[Format] = BoxesCsv
        simple: type[Format] = SimpleFormat
        assert layout
        assert of_package
        assert simple
