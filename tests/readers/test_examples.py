"""The examples on Ultralytics run as they stand; the others are run beside the proof that they belong to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.mark.parametrize("name", ["train_yolo.py", "finetune_yolo_world.py"])
def test_the_example_runs_without_arguments_or_network(tmp_path: Path, name: str) -> None:
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(tmp_path)}
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loss" in done.stdout
