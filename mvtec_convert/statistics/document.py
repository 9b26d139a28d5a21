"""Statistics as plain data, in the form of `schemas/stats.schema.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mvtec_convert.dataset import GOOD, SPLIT_NAMES
from mvtec_convert.statistics.longtail import LongTail
from mvtec_convert.statistics.measures import Numbers, size_counts, spread
from mvtec_convert.statistics.options import ReportOptions
from mvtec_convert.statistics.parts import BACKGROUND, ClassStatistics, Part, merged

if TYPE_CHECKING:
    from mvtec_convert.statistics.exported import ExportStatistics
    from mvtec_convert.statistics.source import CategoryStatistics, Statistics


def of_source(found: Statistics, options: ReportOptions) -> dict[str, Any]:
    """A source dataset."""
    whole = merged([category.part for category in found.categories])
    sums = ("images", "train_good", "test_good", "defective", "regions")
    return {
        "kind": "source",
        "root": found.root,
        "layout": found.layout,
        "imgsz": options.imgsz,
        "complete": found.complete,
        "categories": [_category(category, options) for category in found.categories],
        "total": {
            **{name: sum(getattr(category, name) for category in found.categories) for name in sums},
            **{split: sum(category.splits[split] for category in found.categories) for split in SPLIT_NAMES},
            "measures": _measures(whole.whole, options),
            "long_tail": _tails(whole.tails(GOOD, options.beta)),
        },
        "sentences": found.sentences(options),
        "findings": [asdict(finding) for finding in found.findings],
    }


def of_export(found: ExportStatistics, options: ReportOptions) -> dict[str, Any]:
    """An exported dataset."""
    return {
        "kind": "export",
        "root": found.root,
        "format": found.format,
        "imgsz": options.imgsz,
        "class_names": list(found.class_names),
        "splits": [_split(split, options) for split in found.splits],
        "crowds": found.crowds,
        "boxes": found.boxes,
        "balance": None if found.balance is None else found.balance.model_dump(exclude={"images"}),
        "sentences": found.sentences(options),
    }


def _category(category: CategoryStatistics, options: ReportOptions) -> dict[str, Any]:
    types = {
        name: _class(found, options) | {split: category.images_of(name, split) for split in SPLIT_NAMES}
        for name, found in category.defect_types.items()
    }
    return {
        "name": category.name,
        "images": category.images,
        **category.splits,
        "train_good": category.train_good,
        "test_good": category.test_good,
        "defective": category.defective,
        "regions": category.regions,
        "defect_types": types,
        **_part(category.part, GOOD, options),
        "differences": category.differences,
    }


def _split(split: Part, options: ReportOptions) -> dict[str, Any]:
    return {
        "name": split.name,
        "images": split.images,
        "background": split.good,
        "regions": split.regions,
        "classes": {found.name: _class(found, options) for found in split.classes},
        **_part(split, BACKGROUND, options),
    }


def _part(part: Part, good: str, options: ReportOptions) -> dict[str, Any]:
    return {
        "image_kinds": [{**kind._asdict(), "images": count} for kind, count in part.kinds.items()],
        "measures": _measures(part.whole, options),
        "long_tail": _tails(part.tails(good, options.beta)),
    }


def _class(found: ClassStatistics, options: ReportOptions) -> dict[str, Any]:
    return {"images": found.images, "regions": found.regions, "measures": _measures(found, options)}


def _measures(found: ClassStatistics, options: ReportOptions) -> dict[str, Any]:
    measures, per_image = found.measures, found.regions_per_image
    return {
        "pixels": found.pixels,
        "regions_per_image": None if not len(per_image) else {"mean": float(per_image.mean()), **_spread(per_image)},
        "area": _spread(measures.area),
        "relative_area": _spread(measures.relative_area),
        "aspect": _spread(measures.aspect),
        "sizes": size_counts(measures.area)._asdict(),
        "sizes_at_imgsz": size_counts(measures.area_at(options.imgsz))._asdict(),
        "on_border": int(measures.touches_border.sum()),
        "masks": measures.masks,
        "with_holes": int((measures.holes > 0).sum()),
        "in_pieces": int((measures.pieces > 1).sum()),
    }


def _spread(values: Numbers) -> Any:
    found = spread(values)
    return None if found is None else found._asdict()


def _tails(tails: Mapping[str, LongTail]) -> list[dict[str, Any]]:
    return [
        {
            "counted_in": what,
            "ratio": tail.ratio,
            "gini": tail.gini,
            "entropy": tail.entropy,
            "beta": tail.beta,
            "classes": {
                name: {"count": count, "effective_number": tail.effective[name], "weight": tail.weights[name]}
                for name, count in tail.counts.items()
            },
        }
        for what, tail in tails.items()
    ]
