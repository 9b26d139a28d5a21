"""What a dataset holds: classes, counts, splits, sizes, regions, the long tail; and whether the copy is complete.

`stats` counts a source dataset by category and defect type, `export_stats` an exported one by split and class. Both
give one model (`parts`), which becomes tables (`report`), sentences (`sentences`) and plain data (`document`). The
formulas of the long tail are in `longtail`.
"""

from mvtec_convert.statistics.exported import ExportStatistics, export_stats
from mvtec_convert.statistics.longtail import LongTail, long_tail
from mvtec_convert.statistics.options import ReportOptions
from mvtec_convert.statistics.source import CategoryStatistics, Statistics, stats

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
