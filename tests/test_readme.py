"""What the README and the examples show is run here, in order, on the built-in sample."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mvtec_convert.cli.app import run

HOME = Path(__file__).parent.parent
README = (HOME / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every `mvtec-convert ...` of the README but those of the installation and the downloads, in order."""
    return [
        line for line in re.findall(r"^(mvtec-convert .*)$|`(mvtec-convert .*?)`", README, flags=re.MULTILINE)
        for line in line if line and not line.startswith("mvtec-convert download")
    ]  # fmt: skip


@pytest.fixture
def workplace(sample_root, tmp_path, monkeypatch) -> Path:
    """An empty folder; the dataset is the sample's carpet, of which figures are shown, and a part of its others."""
    root = tmp_path / "data" / "mvtec sample"
    for path in sample_root.rglob("*.png"):
        target = root / path.relative_to(sample_root)
        if target.relative_to(root).parts[0] == "carpet" or path.name[:3] < "003":
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MVTEC_ROOT", str(root))
    return tmp_path / "here"


def test_the_readme_opens_with_a_sentence_a_picture_and_two_commands():
    head = README.split("## Use it")[0]
    assert head.startswith("# mvtec-convert\n\n**")
    picture = re.search(r"!\[.+\]\((.+)\)", head)
    assert picture
    assert (HOME / picture[1]).is_file()
    assert re.findall(r"```bash\n(.+)\n```", head) == [
        "python -m venv .venv && . .venv/bin/activate && pip install . && mvtec-convert yolo --sample",
        "python -m venv .venv && . .venv/bin/activate && pip install -e '.[dev]' && pytest",
        "python -m venv .venv && . .venv/bin/activate && pip install -e '.[dev,examples]' && pytest tests/readers",
        "python -m venv .venv && . .venv/bin/activate && pip install -e '.[dev,browser]' && pytest tests/browser",
    ]


@pytest.mark.usefixtures("_drawn_before")
def test_every_command_of_the_readme_runs(workplace, capsys, monkeypatch):
    # As on a machine of several cores, and with a dataset large enough for them.
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr("mvtec_convert.runs.workers.WORTH_FORKING", 50)
    seen = {}
    for command in commands():
        assert run(shlex.split(command)[1:]) == 0, command
        seen[command] = capsys.readouterr().out
    assert len(seen) >= 15
    shown = re.search(r"```\n( +train .+?)```", README, flags=re.DOTALL)
    assert shown
    real = seen["mvtec-convert yolo --category carpet"].splitlines()
    for line in shown[1].splitlines():
        assert line in real or line.strip() == "...", line


def test_the_python_of_the_readme_runs(workplace, sample_root):
    Path("mvtec_anomaly_detection").symlink_to(sample_root)
    (code,) = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "exact=39" in done.stdout


def test_every_link_of_the_documents_leads_somewhere():
    for document in (HOME / "README.md", HOME / "CONTRIBUTING.md", *sorted((HOME / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


EXAMPLES = {
    "python_api.py": [[]],
    "draw_polygons.py": [["coco", "out.png"], ["coco", "out.png", "carpet_hole_006", "grid_bent_002"]],
}


def test_every_example_is_run_here_or_with_the_trainers_it_needs():
    proofs = "".join(path.read_text(encoding="utf-8") for path in (HOME / "tests" / "readers").glob("test_*.py"))
    for path in (HOME / "examples").glob("*.py"):
        assert path.name in EXAMPLES or path.name in proofs, f"{path.name} is run by no test"


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_run(workplace, name):
    assert run(["coco", "--out", "coco"]) == 0
    for arguments in EXAMPLES[name]:
        command = [sys.executable, str(HOME / "examples" / name), *arguments]
        # A warning of a library's own must not fail an example.
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(HOME)})
        assert done.returncode == 0, done.stderr
        if "out.png" in arguments:
            assert Path("out.png").stat().st_size > 50_000
