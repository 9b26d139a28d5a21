"""What an export holds and how faithful it is. Imports nothing heavy, so that a run with nothing to do can show it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvtec_convert.balance import Balance
from mvtec_convert.dataset import SplitName
from mvtec_convert.findings import Finding

MOST_INEXACT = 200
"""Images whose IoU is kept; the rest is counted."""


@dataclass(slots=True)
class SplitSummary:
    """What one split holds.

    Attributes:
        images: all images, background included.
        background: images without a region.
        regions: number of regions by class name.
    """

    images: int = 0
    background: int = 0
    regions: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Fidelity:
    """What the target's own reader makes of the regions.

    Attributes:
        judge: who read them.
        regions: how many were compared.
        exact: how many came back exactly.
        total: sum of all IoUs.
        lowest: the lowest IoU.
        worst: name of the image with the lowest IoU; None while all are exact.
        inexact: lowest IoU of the images that did not come back exactly, by name; those of the lowest, at most
            `MOST_INEXACT`.
    """

    judge: str
    regions: int = 0
    exact: int = 0
    total: float = 0.0
    lowest: float = 1.0
    worst: str | None = None
    inexact: dict[str, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean IoU; 1.0 where there is no region."""
        return self.total / self.regions if self.regions else 1.0

    def add(self, name: str, ious: tuple[float, ...]) -> None:
        """Count one image's regions in."""
        for iou in ious:
            self.regions += 1
            self.exact += iou == 1.0
            self.total += iou
            if iou < self.lowest:
                self.lowest, self.worst = iou, name
        if min(ious, default=1.0) < 1.0:
            self.inexact[name] = min(ious)
        if len(self.inexact) > MOST_INEXACT:
            del self.inexact[max(self.inexact, key=lambda name: self.inexact[name])]

    def document(self) -> dict[str, Any]:
        """As the manifest keeps it, the worst images first."""
        worst = sorted(self.inexact.items(), key=lambda pair: (pair[1], pair[0]))
        counts = {"regions": self.regions, "exact": self.exact, "lowest": self.lowest, "mean": self.mean}
        return {"judge": self.judge, **counts, "inexact": dict(worst)}


@dataclass(slots=True)
class Summary:
    """What an export holds and how faithful it is.

    Attributes:
        out: the folder.
        format: name of the format.
        splits: by name, in the order train, val, test.
        fidelity: how the regions came back; None where the format has no geometry.
        left_out: keys of defective images that a filter emptied.
        good_left_out: number of good images left out because the format's trainer fails on them.
        notes: what a person should know before training.
        next_step: the command that would train on it.
        has_regions: whether the numbers are of regions; else of labelled images, which the format sorts by class.
        balance: how often each image of `train` is to be seen; None where nothing was balanced.
        skipped: what cannot be used and was left out.
        is_up_to_date: whether all of it was there already, so that nothing was done.
        reused: images that an earlier run, which did not end, had done.
    """

    out: Path
    format: str
    splits: dict[SplitName, SplitSummary]
    fidelity: Fidelity | None
    left_out: list[str] = field(default_factory=list)
    good_left_out: int = 0
    notes: list[Finding] = field(default_factory=list)
    next_step: str = ""
    has_regions: bool = True
    balance: Balance | None = None
    skipped: list[Finding] = field(default_factory=list)
    is_up_to_date: bool = field(default=False, compare=False)
    reused: int = field(default=0, compare=False)
