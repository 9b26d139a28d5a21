"""Proofs with the trainers' own readers. They need the extra `examples`, and run by `pytest tests/readers`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import mvtec_convert as mc

# No reader may reach for the network or write into the user's home.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("YOLO_OFFLINE", "true")
# Threads of torch that spin while they wait cost minutes where several tests share few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture
def carpet(sample_root: Path) -> mc.Dataset:
    """The sample's carpet: 37 images, 23 of them defective, 39 regions, some with holes."""
    return mc.load(sample_root / "carpet")
