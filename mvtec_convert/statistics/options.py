"""What the figures of a report depend on, beside the dataset."""

from __future__ import annotations

from dataclasses import dataclass

from mvtec_convert.errors import SelectionError


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What figures depend on beside the dataset.

    Attributes:
        imgsz: to how many px a trainer scales the longer side of images.
        beta: of the effective number, in [0, 1); None: 1 - 1/N, N being the sum of all counts.
    """

    imgsz: int = 640
    beta: float | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.imgsz < 1:
            raise SelectionError(f"images cannot be scaled to {self.imgsz} px", hint="--imgsz 640 is usual")
        if self.beta is not None and not 0 <= self.beta < 1:
            raise SelectionError(f"beta is from 0 up to 1, 1 not included, not {self.beta:g}", hint="0.999 is usual")
