"""Convert industrial-inspection datasets in MVTec AD's layout to what detectors and promptable segmenters train on."""

from __future__ import annotations

__version__ = "0.1.0"
