"""Proofs with the trainers' own readers. They need the extra `examples`, and run by `pytest tests/readers`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

import mvtec_convert as mc

# No reader may reach for the network or write into the user's home.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("YOLO_OFFLINE", "true")
# Threads of torch that spin while they wait cost minutes where several tests share few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


PILLOW_OPENS = Image.open
"""Kept before Ultralytics replaces it by its own, which asks for pi_heif where Pillow says that a file is no image."""


@pytest.fixture
def plain_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow as it is for those who do not use Ultralytics."""
    monkeypatch.setattr(Image, "open", PILLOW_OPENS)


@pytest.fixture
def carpet(sample_root: Path) -> mc.Dataset:
    """The sample's carpet: 37 images, 23 of them defective, 39 regions, some with holes."""
    return mc.load(sample_root / "carpet")
