"""Killed at any moment, out of disk, out of handles, in each other's way: the export that was there stays whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvtec_convert.workers import WORTH_FORKING
from tests.broken import draw_image, draw_tree

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
    draw_source(tmp_path / "source", more=0 if jobs == 1 else WORTH_FORKING)
    asked = {"folder": str(tmp_path), "count": count, "with_signal": with_signal, "seed": 20261128, "jobs": jobs}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "tests.interrupted", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    ends = json.loads(done.stdout)
    assert ends["cut off"] >= count / 3, ends
