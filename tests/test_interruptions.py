"""Killed at any moment, out of disk, out of handles, in each other's way: the export that was there stays whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mvtec_convert as mc
from mvtec_convert.errors import OutputError
from mvtec_convert.runs.staging import staging
from mvtec_convert.runs.workers import WORTH_FORKING
from tests.broken import draw_image, draw_tree
from tests.interrupted import FORKED
from tests.test_pipeline import contents

REPOSITORY = Path(__file__).parent.parent


def draw_source(root: Path, more: int = 0) -> Path:
    """A tree of which nothing has changed for a while; with `more` good images."""
    draw_tree(root)
    for number in range(more):
        draw_image(root / "plate/train/good" / f"9{number:02}.png", 900 + number)
    then = time.time_ns() - 60 * 10**9
    for path in root.rglob("*"):
        os.utime(path, ns=(then, then))
    return root


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")
@pytest.mark.parametrize(
    ("with_signal", "jobs", "count"), [("SIGKILL", 1, 25), ("SIGKILL", 2, 25), ("SIGINT", 1, 8), ("SIGINT", 2, 8)]
)
def test_cut_off_at_any_moment_the_target_is_whole_and_the_next_run_succeeds(tmp_path, with_signal, jobs, count):
    draw_source(tmp_path / "source", more=0 if jobs == 1 else FORKED)
    asked = {"folder": str(tmp_path), "count": count, "with_signal": with_signal, "seed": 20261128, "jobs": jobs}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "tests.interrupted", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    ends = json.loads(done.stdout)
    assert ends["cut off"] >= 1, ends  # how many depends on what else the machine does


# --- what the machine runs out of ------------------------------------------------------------------------------------

WARM = "import os, resource, sys; from mvtec_convert.cli.app import run; assert run({first}) == 0\n"
"""Begins a process in which every library is loaded already, so that nothing but the export meets a limit."""


def export_under(limit: str, source: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Replace an export in a process in which `limit`, lines of Python, was run before."""
    first = ["yolo", str(source), "-o", str(source.parent / "elsewhere"), "--place", "copy"]
    second = ["yolo", str(source), "-o", str(out), "--seed", "2", "--place", "copy", *options]
    code = f"{WARM.format(first=first)}{limit}\nsys.exit(run({second}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, timeout=120)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The error of an export that ended as the user's matter, without a traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "hint: " in done.stderr
    return done.stderr


def survives(limit: str, source: Path, out: Path, mend: Callable[[], object] = lambda: None) -> str:
    """The error under a limit; the export that was there is as it was, and once it is mended, the next run succeeds."""
    before = contents(out)
    error = refused(export_under(limit, source, out))
    assert contents(out) == before
    mend()
    mc.to_yolo(mc.load(source), out, seed=2, images="copy")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    mc.to_yolo(mc.load(source), source.parent / "fresh", seed=2, images="copy")
    assert contents(out) == contents(source.parent / "fresh")
    return error


@pytest.fixture
def source(tmp_path) -> Path:
    return draw_source(tmp_path / "source")


@pytest.fixture
def out(source, tmp_path) -> Path:
    """An export, alone in its folder."""
    (tmp_path / "place").mkdir()
    return mc.to_yolo(mc.load(source), tmp_path / "place/out", seed=1).out


SMALL_FILES = "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))"
"""A disk that any user can have: it is full once a file has 3,000 bytes."""


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of so many bytes in `folder`; the usual one where this user, or this machine, cannot mount it."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    is_mounted = shutil.which("mount") is not None and subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits as Unix has them")
def test_out_of_disk(source, tmp_path):
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", 2 * 10**6):
        out = mc.to_yolo(mc.load(source), tmp_path / "disk/out", seed=1).out
        ballast = tmp_path / "disk/ballast"
        # As much as leaves room for a part of an export; on a disk that cannot be filled, a limit has to do.
        free = shutil.disk_usage(tmp_path / "disk").free
        is_small = free < 2 * 10**6
        ballast.write_bytes(b"0" * (free - 20 * 4096 if is_small else 0))
        error = survives("" if is_small else SMALL_FILES, source, out, mend=ballast.unlink)
        assert ("No space left" if is_small else "File too large") in error


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits as Unix has them")
def test_a_file_that_cannot_be_written_whole(source, out):
    assert "File too large" in survives(SMALL_FILES, source, out)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts its open files in /proc")
@pytest.mark.parametrize("more", [0, 1, 2, 4])
def test_out_of_file_handles(source, out, more):
    limit = (
        "used = max(map(int, os.listdir('/proc/self/fd')))\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (used + {more}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))"
    )
    error = survives(limit, source, out)
    assert "oo many open files" in error
    assert "ulimit -n" in error


AS_ANYBODY = """
import ctypes
header, bits = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc = ctypes.CDLL(None, use_errno=True)
assert libc.capget(header, bits) == 0
for kind in range(3):
    bits[kind] &= ~0b110
assert libc.capset(header, bits) == 0
"""
"""Root may write everywhere; takes CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (capabilities(7)) from a process."""


@pytest.mark.skipif(sys.platform == "win32", reason="needs modes")
def test_a_folder_that_must_not_be_written(source, tmp_path):
    closed = tmp_path / "closed"
    mc.to_yolo(mc.load(source), closed / "out", seed=1)
    before = contents(closed / "out")
    closed.chmod(0o555)
    error = refused(export_under(AS_ANYBODY if os.geteuid() == 0 else "", source, closed / "out"))
    assert "Permission denied" in error
    assert contents(closed / "out") == before
    closed.chmod(0o755)
    mc.to_yolo(mc.load(source), closed / "out", seed=2)
    assert [path.name for path in closed.iterdir()] == ["out"]


# --- in each other's way ---------------------------------------------------------------------------------------------


def test_the_output_removed_while_it_is_written(source, out, tmp_path):
    before = contents(out)

    def remove(done: int, total: int) -> None:
        if done == total:
            shutil.rmtree(out.with_name(".out.partial"))

    with pytest.raises(OutputError):
        mc.to_coco(mc.load(source), out, seed=2, progress=remove)
    assert contents(out) == before
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    mc.to_coco(mc.load(source), out, seed=2, progress=lambda done, total: shutil.rmtree(out, ignore_errors=True))
    mc.to_coco(mc.load(source), tmp_path / "fresh", seed=2)
    assert contents(out) == contents(tmp_path / "fresh")


def test_a_target_that_another_run_is_writing_is_refused(source, out, monkeypatch):
    monkeypatch.setattr("mvtec_convert.runs.staging.GRACE", 0.2)
    before = contents(out)
    with staging(out), pytest.raises(OutputError, match="another run is writing this output"):
        mc.to_coco(mc.load(source), out, seed=2)
    assert contents(out) == before
    mc.to_coco(mc.load(source), out, seed=2)
    assert contents(out) != before


def test_of_two_exports_at_once_each_is_whole_or_refused(tmp_path):
    source, out = draw_source(tmp_path / "source", more=WORTH_FORKING), tmp_path / "place/out"
    out.parent.mkdir()
    fresh = []
    for seed in (1, 2):
        mc.to_yolo(mc.load(source), tmp_path / f"fresh{seed}", seed=seed)
        fresh.append(contents(tmp_path / f"fresh{seed}"))
    command = [sys.executable, "-m", "mvtec_convert", "yolo", str(source), "-o", str(out), "--seed"]
    runs = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for seed in (1, 2, 1, 2)
    ]
    errors = [run.communicate(timeout=120)[1] for run in runs]
    codes = [run.returncode for run in runs]
    assert 0 in codes
    assert all(code == 0 or "another run is writing" in error for code, error in zip(codes, errors, strict=True))
    assert contents(out) in fresh
    assert [path.name for path in out.parent.iterdir()] == ["out"]
