"""Own data as a person describes it on the command line, from the folder that it lies in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvtec_convert.cli.app import run

GOOD = ["--good-when-no-mask"]


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photographs, two of them with a mask."""
    root = tmp_path / "shop"
    for folder in ("parts", "masks"):
        (root / folder).mkdir(parents=True)
    mask = np.zeros((30, 40), np.uint8)
    mask[3:8, 4:9] = 255
    for i, suffix in enumerate(("jpg", "JPG", "jpg", "JPG")):
        Image.new("RGB", (40, 30), (i * 50, 90, 30)).save(root / "parts" / f"{i}.{suffix}")
        if i < 2:
            Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    monkeypatch.chdir(root)
    return root


def exported(out: str) -> list[str]:
    files = sorted(Path(out, "annotations").glob("*.json"))
    return sorted(image["file_name"] for file in files for image in json.loads(file.read_text())["images"])


def test_an_export_may_lie_beside_the_images_as_the_documents_show_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["coco", "--images", "parts/*.jpg", "--masks", "masks/{stem}.png", *GOOD, "--out", "parts-coco"]) == 0
    assert "2 of 2 regions exact" in capsys.readouterr().out
    assert len(exported("parts-coco")) == 4
    assert run(["coco", "--images", "parts", "--masks", "masks", *GOOD]) == 0
    assert exported("shop-coco") == exported("parts-coco")


@pytest.mark.parametrize("out", [".", "parts", "masks/out", ".."])
def test_but_neither_in_the_folders_of_its_files_nor_around_them(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["coco", "--images", "parts/*.jpg", "--masks", "masks/{stem}.png", *GOOD, "--out", out]) == 2
    assert "--out" in capsys.readouterr().err
    assert sorted(path.name for path in Path().iterdir()) == ["masks", "parts"]


def test_what_was_exported_is_not_taken_for_data() -> None:
    command = ["coco", "--images", "**/*.jpg", "--masks", "masks/{stem}.png", *GOOD, "--out"]
    assert run([*command, "first"]) == 0
    assert run([*command, "second"]) == 0
    assert exported("second") == exported("first")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--images", "part/*.jpg", "--masks", "masks/{stem}.png"], "no image fits the pattern"),
        (["--images", "parts/*.jpg", "--masks", "mask/{stem}.png"], "no file fits mask/{stem}.png"),
        (["--images", "parts/0.jpg", "parts/2.jpg", "--masks", "masks"], "write them in quotes"),
        (
            ["--images", "parts/*.jpg", "--masks", "masks/{name}.png"],
            "there are: {category}, {defect}, {split}, {stem}",
        ),
        (["--images", "parts/*.jpg"], "of own data, --masks must fit the images"),
        (["--masks", "masks/{stem}.png"], "add --images"),
    ],
)
def test_what_is_written_wrong_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["coco", *arguments, *GOOD, "--out", "out"]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not Path("out").exists()
