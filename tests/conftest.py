"""Settings and fixtures that all tests share."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import platformdirs
import pytest
from hypothesis import HealthCheck, settings

from mvtec_convert.sample import write_sample
from tests.broken import Tiny

# Derandomised and without a database, so that a test that passes here passes in CI.
settings.register_profile(
    "default",
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while tests are collected: there is none, and it takes a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache folder that is the tests' own: what they export is not remembered among what a person exported."""
    with pytest.MonkeyPatch.context() as patch:
        # But matplotlib keeps its list of fonts where it has it already: to make one takes a second for each process.
        patch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR", platformdirs.user_cache_dir("matplotlib")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_core() -> Iterator[None]:
    """What is told no number of jobs takes one: the workers of pytest-xdist have all cores already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        yield


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in sample dataset, drawn once for each worker. Read it, never write to it."""
    root = tmp_path_factory.mktemp("sample") / "mvtec sample"
    write_sample(root)
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny tree, and exports of it to break."""
    return Tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def _drawn_before(sample_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sample is written again, it is copied: drawing takes seconds, and tests/test_sample.py is about it."""

    def copy_image(out: Path, name: str, folder: str, index: int, defect: object = None) -> None:
        files = [f"{name}/{folder}/{index:03}.png"]
        if defect is not None:
            files.append(f"{name}/ground_truth/{Path(folder).name}/{index:03}_mask.png")
        for file in files:
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample_root / file, out / file)

    monkeypatch.setattr("mvtec_convert.sample.write_image", copy_image)


@pytest.fixture
def _small_medsam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays for MedSAM of 400 px a side, more than any image of the sample; at its own 1024 px, each takes 12 MB."""
    monkeypatch.setattr("mvtec_convert.formats.medsam.SIDE", 400)
