"""What a dataset holds: classes, counts, splits, sizes, regions, the long tail; and whether the copy is complete.

`stats` counts a source dataset by category and defect type, `export_stats` an exported one by split and class. Both
give one model (`parts`), which becomes tables (`report`), sentences (`sentences`) and plain data (`document`). The
formulas of the long tail are in `longtail`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mvtec_convert.statistics.longtail import LongTail, long_tail
from mvtec_convert.statistics.options import ReportOptions
from mvtec_convert.statistics.source import CategoryStatistics, Statistics, stats

if TYPE_CHECKING:
    from mvtec_convert.statistics.exported import ExportStatistics, export_stats

__all__ = [
    "CategoryStatistics",
    "ExportStatistics",
    "LongTail",
    "ReportOptions",
    "Statistics",
    "export_stats",
    "long_tail",
    "stats",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: the formats, which `exported` knows, take longer to load than all the rest.
    if name not in {"ExportStatistics", "export_stats"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.exported"), name)
