"""The JSON Schemas of the repository are those of the package, and what is written fits them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

import mvtec_convert as mc
from mvtec_convert.schemas import coco, json_schema, names
from tests.fitting import fits

FOLDER = Path(__file__).parent.parent / "schemas"


@pytest.mark.parametrize("name", names())
def test_the_schemas_folder_is_up_to_date(name):
    command = f"mvtec-convert schema {name} > schemas/{name}.schema.json"
    assert json.loads((FOLDER / f"{name}.schema.json").read_text()) == json_schema(name), f"stale; run: {command}"
    jsonschema.Draft202012Validator.check_schema(json_schema(name))


def test_the_schemas_folder_holds_no_other():
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.schema.json" for name in names()}


@pytest.mark.parametrize("segmentation", ["polygon", "rle", "rle-uncompressed"])
def test_coco_files_fit_their_schema(sample_root, tmp_path, segmentation):
    mc.to_coco(mc.load(sample_root / "grid"), tmp_path / "out", segmentation=segmentation)
    for path in (tmp_path / "out" / "annotations").iterdir():
        fits(json.loads(path.read_text()), "coco")


def test_sam_files_fit_their_schema(sample_root, tmp_path):
    mc.to_sam(mc.load(sample_root / "grid"), tmp_path / "out", negatives=1)
    for path in (tmp_path / "out").glob("*/*.json"):
        fits(json.loads(path.read_text()), "sam")


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_yolo_files_fit_their_schema(sample_root, tmp_path, task):
    mc.to_yolo(mc.load(sample_root / "grid"), tmp_path / "out", task=task)
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    rows = []
    for path in (tmp_path / "out" / "labels").rglob("*.txt"):
        for line in path.read_text().splitlines():
            class_id, *values = (float(token) for token in line.split())
            if task == "detect":
                names = ("x_center", "y_center", "width", "height")
                rows.append({"class_id": int(class_id), **dict(zip(names, values, strict=True))})
            else:
                rows.append(
                    {"class_id": int(class_id), "points": [values[i : i + 2] for i in range(0, len(values), 2)]}
                )
    fits({"data_yaml": json.loads(json.dumps(data)), "rows": rows, "task": task}, "yolo")


def test_the_files_beside_every_export_fit_their_schema(sample_root, tmp_path):
    mc.to_yolo(mc.load(sample_root), tmp_path / "out")
    read = {
        key: json.loads((tmp_path / "out" / name).read_text())
        for key, name in (("classes", "classes.json"), ("splits", "splits.json"), ("manifest", "mvtec-convert.json"))
    }
    fits(read, "export")


def test_statistics_and_validations_fit_their_schema(sample_root, tmp_path):
    dataset = mc.load(sample_root)
    fits(json.loads(json.dumps(mc.stats(dataset).document())), "stats")
    mc.to_coco(dataset, tmp_path / "out")
    (next((tmp_path / "out" / "images" / "val").iterdir())).unlink()
    validation = mc.validate(tmp_path / "out")
    assert validation.errors
    fits(json.loads(json.dumps(validation.document())), "validation")


@pytest.mark.parametrize(
    "numbers",
    [
        [10**400, -(10**400), 0, 0, 0, 0],
        [math.inf, -math.inf, 0, 0, 0, 0],
        [math.nan, 1, 2, 3, 4, 5],
        [True, 1, 2, 3, 4, 5],
        ["1", 1, 2, 3, 4, 5],
        [1, 2, 3, 4, 5],
    ],
)
def test_polygons_are_of_finite_numbers_and_of_three_points(numbers: list[object]) -> None:
    said = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1, "iscrowd": 0}
    coco.Annotation.model_validate({**said, "segmentation": [[1e308] * 6, [0, 0, 1, 0, 1, 1.5]]})
    with pytest.raises(ValidationError):
        coco.Annotation.model_validate({**said, "segmentation": [numbers]})
