"""Convert industrial-inspection datasets in MVTec AD's layout to what detectors and promptable segmenters train on.

import mvtec_convert as mc

dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet")
summary = mc.to_coco(dataset, "carpet-coco")
print(summary.fidelity)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mvtec_convert.api import to_coco as to_coco
    from mvtec_convert.api import to_format as to_format
    from mvtec_convert.api import to_labelme as to_labelme
    from mvtec_convert.api import to_sam as to_sam
    from mvtec_convert.api import to_voc as to_voc
    from mvtec_convert.api import to_yolo as to_yolo
    from mvtec_convert.dataset import Dataset as Dataset
    from mvtec_convert.dataset import Sample as Sample
    from mvtec_convert.downloads import download as download
    from mvtec_convert.errors import MvtecConvertError as MvtecConvertError
    from mvtec_convert.exports import class_names as class_names
    from mvtec_convert.exports import read_export as read_export
    from mvtec_convert.findings import Finding as Finding
    from mvtec_convert.geometry.regions import Region as Region
    from mvtec_convert.geometry.regions import RegionOptions as RegionOptions
    from mvtec_convert.labelled import LabelledImage as LabelledImage
    from mvtec_convert.labelled import LabelledObject as LabelledObject
    from mvtec_convert.layouts import load as load
    from mvtec_convert.mask_tree import to_masks as to_masks
    from mvtec_convert.previews import preview as preview
    from mvtec_convert.repairs import repair as repair
    from mvtec_convert.reports import report as report
    from mvtec_convert.runs.records import Records as Records
    from mvtec_convert.sample import write_sample as write_sample
    from mvtec_convert.source_checks import check as check
    from mvtec_convert.splits import Parts as Parts
    from mvtec_convert.statistics import export_stats as export_stats
    from mvtec_convert.statistics import stats as stats
    from mvtec_convert.summary import Summary as Summary
    from mvtec_convert.validation import validate as validate

# Loaded on first use (PEP 562): `import mvtec_convert` must not cost what OpenCV and pydantic cost.
_HOMES = {
    "Dataset": "dataset",
    "Finding": "findings",
    "LabelledImage": "labelled",
    "LabelledObject": "labelled",
    "MvtecConvertError": "errors",
    "Records": "runs.records",
    "Parts": "splits",
    "Region": "geometry.regions",
    "RegionOptions": "geometry.regions",
    "Sample": "dataset",
    "Summary": "summary",
    "check": "source_checks",
    "class_names": "exports",
    "download": "downloads",
    "export_stats": "statistics",
    "load": "layouts",
    "preview": "previews",
    "read_export": "exports",
    "repair": "repairs",
    "report": "reports",
    "stats": "statistics",
    "to_coco": "api",
    "to_format": "api",
    "to_labelme": "api",
    "to_masks": "mask_tree",
    "to_sam": "api",
    "to_voc": "api",
    "to_yolo": "api",
    "validate": "validation",
    "write_sample": "sample",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
