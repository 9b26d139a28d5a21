"""`--skip-bad`: files that cannot be used are left out everywhere, as if they had never been there, and listed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.cli.app import run
from mvtec_convert.errors import BadSourceError, SelectionError
from mvtec_convert.formats import formats, takes_background
from tests.fitting import fits
from tests.test_pipeline import EXPORTS, contents

pytestmark = pytest.mark.usefixtures("_small_medsam")

CUT, GOOD = "carpet/ground_truth/cut", "carpet/test/good"


@pytest.fixture
def source(sample_root, tmp_path) -> Path:
    """A copy of a part of the sample's carpet: 9 good images in `test`, 6 of `cut`, 5 of `hole`."""
    ignored = shutil.ignore_patterns("color", "thread", "metal_contamination", "train")
    shutil.copytree(sample_root / "carpet", tmp_path / "source" / "carpet", ignore=ignored)
    return tmp_path / "source"


def damage(source: Path) -> list[str]:
    """Break files in each way that is found at another time; the paths of what is bad."""
    (source / CUT / "000_mask.png").unlink()
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(source / CUT / "001_mask.png")
    (source / GOOD / "000.png").write_bytes(b"no image")
    return ["carpet/test/cut/000.png", f"{CUT}/001_mask.png", f"{GOOD}/000.png"]


def remove(source: Path, *, reads_good: bool) -> None:
    """Take the same images away."""
    for name in ("test/cut/000.png", "test/cut/001.png", *(["test/good/000.png"] if reads_good else [])):
        (source / "carpet" / name).unlink()
    for name in ("000_mask.png", "001_mask.png"):
        (source / CUT / name).unlink(missing_ok=True)


@pytest.mark.parametrize("name", EXPORTS)
def test_the_export_is_as_if_bad_files_had_never_been_there(name, source, tmp_path):
    reads_good = takes_background(cast(Any, formats()[name.split("-")[0]]))
    bad = damage(source)
    with pytest.raises(BadSourceError) as caught:
        EXPORTS[name](mc.load(source), tmp_path / "out")
    assert [finding.path for finding in caught.value.findings] == [str(source / path) for path in bad]
    summary = EXPORTS[name](mc.load(source), tmp_path / "out", skip_bad=True)
    listed = bad if reads_good else bad[:2]
    assert [finding.path for finding in summary.skipped] == [str(source / path) for path in listed]
    remove(source, reads_good=reads_good)
    clean = EXPORTS[name](mc.load(source), tmp_path / "clean")
    assert summary.splits == clean.splits
    found, wanted = contents(tmp_path / "out"), contents(tmp_path / "clean")
    document = json.loads((tmp_path / "out" / "skipped.json").read_bytes())
    fits(document, "skipped")
    assert [entry["path"] for entry in document["skipped"]] == listed
    manifest = json.loads((tmp_path / "out" / "mvtec-convert.json").read_bytes())
    assert "skipped.json" in manifest["files"]
    # The one file more, and the manifest that names it.
    del found["skipped.json"], found["mvtec-convert.json"], wanted["mvtec-convert.json"]
    assert found == wanted
    assert "skipped.json" not in {Path(finding.path).name for finding in mc.validate(tmp_path / "out").findings}


def test_where_nothing_is_bad_it_changes_nothing(source, tmp_path):
    assert mc.to_yolo(mc.load(source), tmp_path / "skipping", skip_bad=True).skipped == []
    mc.to_yolo(mc.load(source), tmp_path / "plain")
    assert contents(tmp_path / "skipping") == contents(tmp_path / "plain")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"no image")])
def test_a_class_of_which_nothing_is_left_is_no_warning_but_an_error(source, tmp_path, damage):
    for mask in (source / CUT).iterdir():
        damage(mask)
    with pytest.raises(SelectionError, match=r"cut.*can be used") as caught:
        mc.to_coco(mc.load(source), tmp_path / "out", skip_bad=True)
    assert "--skip-bad" in (caught.value.hint or "")
    assert not (tmp_path / "out").exists()


def test_a_split_of_which_nothing_is_left_is_an_error(source, tmp_path):
    mc.to_coco(mc.load(source), tmp_path / "first")
    saved = json.loads((tmp_path / "first" / "splits.json").read_bytes())["assignments"]
    for key, split in saved.items():
        if split == "val":
            (source / key).write_bytes(b"no image")
    with pytest.raises(SelectionError, match="split val can be used"):
        mc.to_coco(mc.load(source), tmp_path / "out", skip_bad=True, split_from=tmp_path / "first")


def test_where_everything_is_bad_there_is_nothing_to_export(source, tmp_path):
    for mask in (source / "carpet" / "ground_truth").rglob("*.png"):
        mask.write_bytes(b"no image")
    with pytest.raises(SelectionError, match="not one defective image can be used"):
        mc.to_coco(mc.load(source), tmp_path / "out", skip_bad=True)


def test_a_saved_split_goes_on_without_what_is_bad_since(source, tmp_path):
    mc.to_coco(mc.load(source), tmp_path / "first")
    damage(source)
    mc.to_yolo(mc.load(source), tmp_path / "out", skip_bad=True, split_from=tmp_path / "first")
    first = json.loads((tmp_path / "first" / "splits.json").read_bytes())["assignments"]
    left = json.loads((tmp_path / "out" / "splits.json").read_bytes())["assignments"]
    assert len(first) - len(left) == 3
    assert first | left == first


def test_the_command_says_what_it_left_out_and_succeeds(source, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    damage(source)
    assert run(["coco", str(source), "-o", "out"]) == 2
    error = capsys.readouterr().err
    assert error.index("3 files cannot be used") < error.index("--skip-bad")
    assert run(["coco", str(source), "-o", "out", "--skip-bad"]) == 0
    captured = capsys.readouterr()
    assert "skipped   3 files" in captured.out
    assert captured.err.count("skipped: ") == 3


def test_the_command_lists_every_bad_file_however_many_there_are(source, capsys):
    masks = sorted((source / "carpet" / "ground_truth").rglob("*.png"))
    for mask in masks:
        mask.write_bytes(b"no image")
    assert len(masks) > BadSourceError.SHOWN
    assert run(["coco", str(source)]) == 2
    error = capsys.readouterr().err
    assert all(str(mask) in error for mask in masks)
