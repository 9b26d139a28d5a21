"""The public API: every function has an example that runs, the page about it runs, splits and regions are exact."""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import mvtec_convert as mc
from mvtec_convert.api import ExportKeywords
from mvtec_convert.dataset import Dataset, Sample
from mvtec_convert.errors import SelectionError
from mvtec_convert.geometry.images import read_mask
from mvtec_convert.geometry.regions import Region
from mvtec_convert.runs.records import Records
from mvtec_convert.splits import Parts

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
FUNCTIONS = sorted(name for name in mc.__all__ if inspect.isfunction(getattr(mc, name)))
TAUGHT = {"download": "its example would fetch"}
METHODS = [Dataset.filter, Dataset.split, Sample.regions, Region.mask, Region.polygons, Region.rle]


@pytest.fixture
def workplace(sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the sample in it under the name that all examples use."""
    (tmp_path / "mvtec_anomaly_detection").symlink_to(sample_root)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(test: doctest.DocTest) -> None:
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


def examples_of(thing: object) -> doctest.DocTest | None:
    text = inspect.getdoc(thing) or ""
    name = getattr(thing, "__qualname__", str(thing))
    test = doctest.DocTestParser().get_doctest(text, {"mc": mc}, name, inspect.getsourcefile(thing), 0)  # type: ignore[arg-type]
    return test if test.examples else None


@pytest.mark.usefixtures("_drawn_before")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_has_an_example_that_runs(name: str, workplace: Path) -> None:
    test = examples_of(getattr(mc, name))
    assert (test is None) == (name in TAUGHT), f"the docstring of mc.{name} needs an example: >>> mc.{name}(...)"
    if test is not None:
        run(test)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
def test_the_examples_of_methods_run(method: object, workplace: Path) -> None:
    test = examples_of(method)
    assert test is not None
    run(test)


def page_examples() -> str:
    """The page's code, the rest turned into empty lines, so that a failure names the line of the page."""
    is_code = False
    lines = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        is_fence = line.startswith("```")
        lines.append("" if is_fence or not is_code else line)
        is_code = line == "```python" if is_fence else is_code
    return "\n".join(lines)


@pytest.mark.usefixtures("_drawn_before")
def test_the_page_about_the_api_runs(workplace: Path) -> None:
    test = doctest.DocTestParser().get_doctest(page_examples(), {}, "api.md", str(PAGE), 0)
    assert len(test.examples) >= 25
    run(test)


def test_the_page_names_everything_that_is_public() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in {*mc.__all__} - {"__version__"}:
        assert re.search(rf"\b(mc\.)?{name}\b", text), f"docs/api.md says nothing of mc.{name}"


def test_the_page_explains_every_keyword_of_an_export() -> None:
    (table,) = re.findall(r"^\| keyword .+?\n\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    explained = {name for row in table.strip().splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert explained == {*ExportKeywords.__annotations__, "progress"}


def test_the_names_for_type_checkers_are_those_that_there_are() -> None:
    source = Path(mc.__file__).read_text(encoding="utf-8")
    found = re.findall(r"^    from mvtec_convert\.(\S+) import (\w+) as \2$", source, flags=re.MULTILINE)
    declared = {name: home for home, name in found}
    assert {*declared, "__version__"} == {*mc.__all__}
    for name, home in declared.items():
        assert getattr(importlib.import_module(f"mvtec_convert.{home}"), name) is getattr(mc, name)


# --- splits ----------------------------------------------------------------------------------------------------------


def keys(dataset: Dataset) -> list[str]:
    return [sample.key for sample in dataset]


def assignments(folder: str | Path) -> dict[str, str]:
    found = json.loads((Path(folder) / "splits.json").read_text())["assignments"]
    assert isinstance(found, dict)
    return found


def test_a_split_is_the_one_that_an_export_makes(workplace: Path) -> None:
    dataset = mc.load("mvtec_anomaly_detection")
    parts = dataset.split(ratios=(0.6, 0.2, 0.2), seed=3)
    assert list(parts) == ["train", "val", "test"]
    assert len(parts) == 3
    assert sorted(key for part in parts.values() for key in keys(part)) == keys(dataset)
    mc.to_coco(dataset, "asked", ratios=(0.6, 0.2, 0.2), seed=3)
    mc.to_coco(dataset, "given", split=parts)
    mc.to_yolo(dataset, "in-yolo", split=parts)
    for out in ("given", "in-yolo"):
        assert Path(out, "splits.json").read_bytes() == Path("asked", "splits.json").read_bytes()
    assert {key: name for name, part in parts.items() for key in keys(part)} == assignments("asked")
    for name, part in parts.items():
        images = json.loads(Path("given", "annotations", f"instances_{name}.json").read_text())["images"]
        assert len(images) == len(part)


def test_the_official_split_and_that_of_an_export_can_be_had(workplace: Path) -> None:
    dataset = mc.load("mvtec_anomaly_detection")
    official = dataset.split("official")
    assert {name: keys(part) for name, part in official.items()} == {
        name: keys(dataset.filter(split=name)) for name in ("train", "test")
    }
    mc.to_coco(dataset, "coco", seed=5)
    assert {name: keys(part) for name, part in dataset.split(split_from="coco").items()} == {
        name: keys(part) for name, part in dataset.split(seed=5).items()
    }


def test_a_part_is_a_dataset_like_any_other(workplace: Path) -> None:
    parts = mc.load("mvtec_anomaly_detection").split()
    assert repr(parts) == "Parts(train: 78 images, val: 24 images)"
    assert parts["train"].filter(category="grid").categories == ("grid",)
    with pytest.raises(KeyError):
        parts["test"]
    assert parts.get("test") is None


def test_an_export_with_another_given_split_is_made_anew(workplace: Path) -> None:
    dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet")
    records = Records(workplace / "records", by_content=True)
    first, second = dataset.split(seed=1), dataset.split(seed=2)
    by_hand = {"train": second["train"], "val": second["val"]}
    given = (first, second, by_hand)
    found = [mc.to_coco(dataset, "out", split=split, records=records) for split in given for _ in range(2)]
    assert [summary.is_up_to_date for summary in found] == [False, True] * 3


def test_a_split_of_ones_own_is_a_dataset_for_each_name(workplace: Path) -> None:
    dataset = mc.load("mvtec_anomaly_detection").filter(category=["carpet", "grid"])
    own = {"train": dataset.filter(category="carpet"), "val": dataset.filter(category="grid")}
    mc.to_coco(dataset, "coco", split=own, seed=4)
    assert {key.split("/")[0] for key, name in assignments("coco").items() if name == "val"} == {"grid"}
    saved = json.loads(Path("coco", "splits.json").read_text())
    assert (saved["protocol"], saved["seed"], saved["ratios"]) == ("given", 4, [])
    assert json.loads(Path("coco", "mvtec-convert.json").read_text())["options"]["split"] == "given"
    assert mc.validate("coco").errors == 0
    mc.to_yolo(dataset, "yolo", split_from="coco")
    assert assignments("yolo") == assignments("coco")


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ({"train": "carpet"}, "knows nothing of 33 of 70 images"),
        ({"train": "carpet", "valid": "grid"}, "no split 'valid'; there are: train, val, test"),
        ({"train": ["carpet", "grid"], "val": "grid"}, "is in train and in val"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(split: dict[str, str], told: str, workplace: Path) -> None:
    dataset = mc.load("mvtec_anomaly_detection").filter(category=["carpet", "grid"])
    with pytest.raises(SelectionError, match=told):
        mc.to_coco(dataset, "out", split={name: dataset.filter(category=chosen) for name, chosen in split.items()})  # type: ignore[misc]
    assert not Path("out").exists()


def test_other_nonsense_about_splits_is_refused(workplace: Path) -> None:
    dataset = mc.load("mvtec_anomaly_detection")
    with pytest.raises(SelectionError, match="no split 'offical'; there are: supervised, official"):
        dataset.split("offical")  # type: ignore[arg-type]
    with pytest.raises(SelectionError, match="given and asked for"):
        mc.to_coco(dataset, "out", split=dataset.split(), split_from="coco")


def test_the_draw_of_good_images_follows_the_split(workplace: Path) -> None:
    dataset = mc.load("mvtec_anomaly_detection")
    mc.to_coco(dataset, "asked", seed=2, background=0.5)
    mc.to_coco(dataset, "given", split=dataset.split(seed=2), background=0.5)
    annotations = [(Path(out) / "annotations" / "instances_train.json").read_bytes() for out in ("asked", "given")]
    assert annotations[0] == annotations[1]


def test_parts_of_nothing_are_nothing(tmp_path: Path) -> None:
    assert dict(Dataset(tmp_path, "mvtec_ad", ()).split()) == {}
    assert isinstance(Dataset(tmp_path, "mvtec_ad", ()).split(), Parts)


# --- regions ---------------------------------------------------------------------------------------------------------


def test_regions_in_every_form_are_the_mask(workplace: Path) -> None:
    for sample in mc.load("mvtec_anomaly_detection").filter(category="carpet"):
        width, height = sample.size()
        regions = sample.regions()
        assert bool(regions) != sample.is_good
        if sample.is_good:
            continue
        truth = read_mask(sample.masks[0]) > 0
        assert (sum(region.mask(width, height).astype(int) for region in regions) == truth).all()
        for region in regions:
            mask = region.mask(width, height)
            assert (coco_mask.decode(region.rle(width, height)) == mask).all()
            flat = [ring.ravel().tolist() for ring in region.polygons()]
            filled = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))
            assert (filled == mask).all()
            x0, y0, x1, y1 = region.xyxy
            assert (x0, y0, x1 - x0, y1 - y0) == region.bbox
            assert region.area == mask.sum() == mask[y0:y1, x0:x1].sum()


def test_regions_take_the_options_of_exports(workplace: Path) -> None:
    samples = mc.load("mvtec_anomaly_detection").filter(defect_type="metal_contamination").samples
    sample = next(sample for sample in samples if len(sample.regions()) > 1)
    pieces = sample.regions()
    (whole,) = sample.regions("image")
    assert whole.area == sum(piece.area for piece in pieces)
    assert len(sample.regions(merge_distance=10_000)) == 1
    assert [r.area for r in sample.regions(min_area=2)] == [piece.area for piece in pieces if piece.area >= 2]


def test_a_sample_that_cannot_be_read_says_which_file(workplace: Path, sample_root: Path) -> None:
    shutil.copytree(sample_root / "carpet", "copy/carpet")
    sample = mc.load("copy").filter(defect_type="hole").samples[0]
    sample.masks[0].write_bytes(b"no image")
    with pytest.raises(mc.MvtecConvertError, match=r"_mask\.png"):
        sample.regions()
    sample.image.write_bytes(b"no image")
    with pytest.raises(mc.MvtecConvertError, match=sample.image.name):
        sample.size()


def test_a_mask_of_a_region_has_the_dtype_of_all_masks(workplace: Path) -> None:
    sample = mc.load("mvtec_anomaly_detection").filter(defect_type="hole").samples[0]
    mask = sample.regions()[0].mask(*sample.size())
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
