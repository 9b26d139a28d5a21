"""Rare classes made more frequent: the factors by hand, and what the exports say."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import mvtec_convert as mc
from mvtec_convert.balance import (
    BalanceOptions,
    TrainImage,
    balance,
    oversampling_factors,
    repeat_factors,
    whole_repeats,
)
from mvtec_convert.cli.app import run
from mvtec_convert.errors import SelectionError
from mvtec_convert.schemas.balance import BalanceFile


def images(**counts: int) -> list[TrainImage]:
    """So many images of each class, with two regions each; those of `good` show nothing."""
    return [
        TrainImage(f"{name}-{i}", {} if name == "good" else {name: 2})
        for name, count in counts.items()
        for i in range(count)
    ]


def test_repeat_factors_by_hand():
    # Of 100 images 64 show a, 16 b, 4 c; t = 0.64: sqrt(64/64), sqrt(64/16), sqrt(64/4).
    assert repeat_factors({"a": 64, "b": 16, "c": 4}, 100, 0.64) == pytest.approx({"a": 1, "b": 2, "c": 4})
    # LVIS's own bound: nothing here is as rare as one image in a thousand.
    assert repeat_factors({"a": 64, "b": 16, "c": 4}, 100, 0.001) == {"a": 1, "b": 1, "c": 1}


def test_oversampling_by_hand():
    assert oversampling_factors({"a": 64, "b": 16, "c": 4}) == {"a": 1, "b": 4, "c": 16}


def test_rounding_keeps_the_sum_of_a_class():
    repeats = whole_repeats([f"image {i}" for i in range(10)], 1.4, seed=0)
    assert Counter(repeats.values()) == {1: 6, 2: 4}


def test_an_image_takes_the_largest_factor_of_its_classes():
    both = [*images(common=8), TrainImage("both", {"common": 1, "rare": 1})]
    assert balance(both, BalanceOptions("oversample"), seed=0).factors["both"] == 9


def test_before_and_after():
    found = balance(images(good=10, common=16, rare=4), BalanceOptions("repeat-factor"), seed=0)
    assert found.threshold == 16 / 30
    assert [(c.name, c.factor, c.images, c.images_after, c.regions, c.regions_after) for c in found.classes] == [
        ("common", 1, 16, 16, 32, 32),
        ("rare", 2, 4, 8, 8, 16),
    ]
    assert {found.repeats[f"good-{i}"] for i in range(10)} == {1}


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.integers(1, 40), min_size=1),
    st.sampled_from(["repeat-factor", "oversample"]),
    st.integers(0, 5),
)
def test_properties(counts, method, seed):
    train = images(good=3, **counts)
    found = balance(train, BalanceOptions(method), seed)
    assert all(factor >= 1 for factor in found.factors.values())
    assert all(found.repeats[name] - factor < 1 for name, factor in found.factors.items())
    for entry in found.classes:
        assert abs(entry.images_after - entry.factor * entry.images) <= 0.5
        assert entry.images_after >= entry.images
    if method == "oversample":
        assert {entry.images_after for entry in found.classes} == {max(counts.values())}
    assert balance(train[::-1], BalanceOptions(method), seed).repeats == found.repeats


@pytest.mark.parametrize(
    ("method", "threshold"), [("none", 0.1), ("oversample", 0.1), ("repeat-factor", 0.0), ("repeat-factor", 1.5)]
)
def test_a_threshold_that_makes_no_sense(method, threshold):
    with pytest.raises(SelectionError, match="repeat"):
        BalanceOptions(method, threshold)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- exports ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def carpet(sample_root):
    return mc.load(sample_root).filter(category="carpet")


def test_a_yolo_list_repeats_images_of_train(carpet, tmp_path):
    summary = mc.to_yolo(carpet, tmp_path / "set", world=True, balance="oversample")
    for name in ("data.yaml", "data_world.yaml"):
        data = yaml.safe_load((tmp_path / "set" / name).read_text())
        assert (data["train"], data["val"]) == ("train.txt", "images/val")
    lines = (tmp_path / "set/train.txt").read_text().splitlines()
    assert set(lines) == {f"./images/train/{path.name}" for path in (tmp_path / "set/images/train").iterdir()}
    shown = Counter(line.split("carpet_")[1].rsplit("_", 1)[0] for line in lines)
    assert {shown[name] for name in ("color", "cut", "hole", "metal_contamination", "thread")} == {6}
    assert sum(summary.balance.repeats.values()) == len(lines)
    assert mc.validate(tmp_path / "set").findings == ()


def test_folders_of_images_get_further_names(carpet, tmp_path):
    mc.to_yolo(carpet, tmp_path / "set", task="classify", balance="oversample")
    counts = {folder.name: len(list(folder.iterdir())) for folder in (tmp_path / "set/train").iterdir()}
    assert set(counts.values()) == {11}
    assert len({path.stat().st_ino for path in (tmp_path / "set/train/thread").iterdir()}) == 1
    assert not list((tmp_path / "set/val").rglob("*_repeat*"))
    assert mc.validate(tmp_path / "set").findings == ()


def test_weights_for_all_others(carpet, tmp_path):
    mc.to_coco(carpet, tmp_path / "set", balance="repeat-factor")
    found = BalanceFile.model_validate_json((tmp_path / "set/balance.json").read_bytes(), strict=True)
    train = json.loads((tmp_path / "set/annotations/instances_train.json").read_text())
    assert set(found.images) == {Path(image["file_name"]).stem for image in train["images"]}
    shares = Counter(entry["category_id"] for entry in train["annotations"])
    assert [entry.regions for entry in found.classes] == [shares[i] for i in sorted(shares)]
    assert found.images["carpet_good_train_000"] == 1
    thread = next(entry for entry in found.classes if entry.name == "thread")
    assert thread.weight == pytest.approx(6**0.5, abs=1e-6)  # hole has 6 images, thread 1


@pytest.mark.usefixtures("_small_medsam")
@pytest.mark.parametrize("layout", ["sa1b", "sam2", "sam3", "saco", "medsam"])
def test_every_layout_of_sam_has_weights(carpet, tmp_path, layout):
    mc.to_sam(carpet, tmp_path / "set", layout=layout, balance="repeat-factor")
    found = BalanceFile.model_validate_json((tmp_path / "set/balance.json").read_bytes(), strict=True)
    names = {path.stem for path in (tmp_path / "set").rglob("*") if path.suffix in {".jpg", ".png", ".npy"}}
    assert found.images.keys() <= names
    assert mc.validate(tmp_path / "set").errors == 0


def test_without_it_nothing_differs(carpet, tmp_path):
    mc.to_yolo(carpet, tmp_path / "a")
    mc.to_yolo(carpet, tmp_path / "b", balance="oversample")
    plain, balanced = files_of(tmp_path / "a"), files_of(tmp_path / "b")
    assert balanced.keys() - plain.keys() == {"balance.json", "train.txt"}
    assert {name for name in plain if plain[name] != balanced[name]} == {"data.yaml", "mvtec-convert.json"}


def test_a_damaged_balance_is_reported(carpet, tmp_path):
    mc.to_coco(carpet, tmp_path / "set", balance="oversample")
    path = tmp_path / "set/balance.json"
    path.write_text(path.read_text().replace('"weight": 1.0', '"weight": 0.0', 1))
    assert [finding.code for finding in mc.validate(tmp_path / "set").findings] == ["schema"]


def test_the_summary_tells_before_and_after_or_that_nothing_changes(sample_root, tmp_path, capsys):
    source = [str(sample_root / "grid"), "--balance", "oversample"]
    assert run(["coco", *source, "--out", str(tmp_path / "several")]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"balance   oversample: train's 25 images are seen \d+ times", printed)
    assert re.search(r"weight +images +balanced +regions +balanced", printed)
    assert run(["coco", *source, "--names", "single", "--out", str(tmp_path / "one")]) == 0
    told = "balance   oversample: nothing changes, since no class of train is rarer than another\n"
    assert told in capsys.readouterr().out
