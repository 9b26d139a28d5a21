"""Every source layout reads its own tree, whole and as people really have it."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path

import pytest

import mvtec_convert as mc
from mvtec_convert.dataset import Dataset
from mvtec_convert.layouts import layouts, load, recognised
from mvtec_convert.regions import annotate
from tests.layout_contract import CASES, IDS, IMAGE, TREES, WHITE, Drawn, Expected, encoded, folders_of

JUNK = {".DS_Store": "junk", "Thumbs.db": "junk", "notes.txt": "junk", "._000.png": "junk", "__MACOSX/._1.png": "junk"}

every_layout = pytest.mark.parametrize(("name", "tree"), CASES, ids=IDS)


def read(dataset: Dataset, root: Path) -> dict[str, Expected]:
    """What was read, without regions, paths relative to the root."""

    def below(path: Path) -> str:
        return path.relative_to(root).as_posix()

    return {
        sample.key: Expected(
            sample.category, sample.defect_type, sample.split, below(sample.image), tuple(map(below, sample.masks))
        )
        for sample in dataset
    }


def without_regions(tree: Drawn) -> dict[str, Expected]:
    return {
        key: Expected(each.category, each.defect_type, each.split, each.image, each.masks)
        for key, each in tree.expected.items()
    }


def codes(dataset: Dataset) -> list[str]:
    return sorted(finding.code for finding in dataset.findings)


def test_every_layout_has_a_tree() -> None:
    assert set(layouts()) == set(TREES)


@pytest.mark.parametrize("name", sorted(TREES))
def test_a_layout_says_how_it_lies_who_made_it_and_under_which_licence(name: str) -> None:
    module = importlib.import_module(f"mvtec_convert.layouts.{name}")
    doc = module.__doc__
    assert module.TITLE
    assert module.KNOWN_BY
    assert name == "own" or f"published data: {module.LICENCE}." in " ".join(doc.split())
    assert re.search(r"^    \S", doc, re.MULTILINE), "no drawing of the tree"
    assert "licence" in doc.lower()
    assert name == "own" or re.search(r"(doi|arXiv) \d", doc)


@every_layout
def test_it_is_recognised_and_read(name: str, tree: Drawn, tmp_path: Path) -> None:
    dataset = load(tree.write(tmp_path))
    assert dataset.layout == name
    assert read(dataset, tmp_path) == without_regions(tree)
    assert [sample.key for sample in dataset] == sorted(tree.expected)
    assert codes(dataset) == sorted(tree.warnings)
    assert dataset.errors == ()
    assert all(sample.image.is_file() and all(mask.is_file() for mask in sample.masks) for sample in dataset)


@every_layout
def test_its_regions_are_called_after_their_pixels(name: str, tree: Drawn, tmp_path: Path) -> None:
    for sample in load(tree.write(tmp_path)):
        found = sorted((*region.bbox, region.defect_type) for region in annotate(sample).regions)
        assert found == sorted(tree.expected[sample.key].regions)


@every_layout
def test_forced_it_reads_the_same(name: str, tree: Drawn, tmp_path: Path) -> None:
    assert read(load(tree.write(tmp_path), layout=name), tmp_path) == without_regions(tree)


@every_layout
def test_one_category_alone_has_the_same_keys(name: str, tree: Drawn, tmp_path: Path) -> None:
    tree.write(tmp_path)
    for part in tree.parts:
        dataset = load(tmp_path / part)
        assert dataset.layout == name
        assert read(dataset, tmp_path) == {k: v for k, v in without_regions(tree).items() if v.category == part}


@every_layout
def test_junk_in_any_folder_is_passed_over(name: str, tree: Drawn, tmp_path: Path) -> None:
    tree.write(tmp_path)
    for folder in folders_of(tree):
        for junk, text in JUNK.items():
            path = tmp_path / folder / junk
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    dataset = load(tmp_path)
    assert (dataset.layout, codes(dataset)) == (name, sorted(tree.warnings))
    assert read(dataset, tmp_path) == without_regions(tree)


@every_layout
def test_upper_case_extensions_are_read(name: str, tree: Drawn, tmp_path: Path) -> None:
    tree.write(tmp_path)
    for path in sorted(tmp_path.rglob("*")):
        if path.suffix.lower() in {".png", ".jpg", ".bmp"}:
            path.rename(path.with_suffix(path.suffix.upper()))
    dataset = load(tmp_path)
    assert dataset.errors == ()
    assert [(sample.category, sample.defect_type, len(sample.masks)) for sample in dataset] == [
        (each.category, each.defect_type, len(each.masks)) for _, each in sorted(tree.expected.items())
    ]


@every_layout
def test_without_good_images_the_rest_is_read_alike(name: str, tree: Drawn, tmp_path: Path) -> None:
    tree.write(tmp_path)
    for sample in tree.expected.values():
        if sample.defect_type == "good":
            folder = (tmp_path / sample.image).parent
            (tmp_path / sample.image).unlink(missing_ok=True)
            if folder.name in {"good", "ok", "Normal"}:
                shutil.rmtree(folder, ignore_errors=True)
            for mask in folder.glob(f"{Path(sample.image).stem}_*"):  # Kolektor's black ones
                mask.unlink()
    dataset = load(tmp_path)
    assert (dataset.layout, dataset.errors) == (name, ())
    assert read(dataset, tmp_path) == {k: v for k, v in without_regions(tree).items() if v.defect_type != "good"}


@every_layout
def test_a_defective_image_whose_masks_are_gone_is_an_error_that_names_it(
    name: str, tree: Drawn, tmp_path: Path
) -> None:
    tree.write(tmp_path)
    if name == "own":
        description = tmp_path / "mvtec-convert.toml"
        description.write_text(description.read_text().replace("good_when_no_mask = true", ""))
        (tmp_path / "photos" / "a.jpg").unlink()
    key, sample = next((key, sample) for key, sample in tree.expected.items() if sample.masks)
    for mask in sample.masks:
        (tmp_path / mask).unlink()
    dataset = load(tmp_path)
    assert [(error.code, error.path) for error in dataset.errors] == [("missing-mask", str(tmp_path / sample.image))]
    assert key not in [each.key for each in dataset]
    with pytest.raises(mc.MvtecConvertError, match=r"without a mask|no mask"):
        mc.to_coco(dataset, tmp_path.with_name("out"))


@every_layout
def test_a_mask_whose_image_is_gone_is_told(name: str, tree: Drawn, tmp_path: Path) -> None:
    tree.write(tmp_path)
    sample = next(sample for sample in tree.expected.values() if sample.masks)
    (tmp_path / sample.image).unlink()
    told = [finding for finding in load(tmp_path).findings if finding.code == "orphan-mask"]
    assert told
    assert all(Path(mask) == Path(finding.path) or Path(finding.path) in Path(mask).parents
               for finding, mask in zip(told, (tmp_path / mask for mask in sample.masks), strict=False))  # fmt: skip


@every_layout
def test_the_same_dataset_elsewhere_has_the_same_keys(name: str, tree: Drawn, tmp_path: Path) -> None:
    first, second = tree.write(tmp_path / "one"), tree.write(tmp_path / "another" / "place")
    assert [sample.key for sample in load(first)] == [sample.key for sample in load(second)]


@every_layout
def test_a_name_that_no_text_file_holds_is_reported(name: str, tree: Drawn, tmp_path: Path) -> None:
    tree.write(tmp_path)
    image = tmp_path / next(sample.image for sample in tree.expected.values() if sample.masks)
    image.with_stem("line\nbreak").write_bytes(encoded(IMAGE, image.suffix.lower()))
    assert "bad-name" in codes(load(tmp_path))


@every_layout
def test_an_export_is_told_from_a_source(name: str, tree: Drawn, tmp_path: Path) -> None:
    tree.write(tmp_path / "source")
    (tmp_path / "none").mkdir()
    assert recognised(tmp_path / "source") == name
    assert recognised(tmp_path / "none") is None


def test_private_images_are_told_and_left_out(tmp_path: Path) -> None:
    dataset = load(TREES["mvtec_ad_2"][0].write(tmp_path))
    assert [(finding.severity, Path(finding.path).name) for finding in dataset.findings] == [
        ("warning", "test_private"),
        ("warning", "test_private_mixed"),
    ]
    assert not [sample for sample in dataset if "private" in sample.key]
    summary = mc.to_coco(dataset, tmp_path.with_name("out"))
    assert [note.code for note in summary.notes if note.code == "unlabelled"] == ["unlabelled", "unlabelled"]


def test_validation_images_are_val_in_the_official_split(tmp_path: Path) -> None:
    for name in ("mvtec_ad_2", "mvtec_loco", "mvtec_3d_ad"):
        root = TREES[name][0].write(tmp_path / name)
        mc.to_coco(load(root), tmp_path / f"{name}-coco", split="official")
        document = json.loads((tmp_path / f"{name}-coco" / "annotations" / "instances_val.json").read_text())
        assert len(document["images"]) == 1
        assert document["annotations"] == []


def test_a_category_of_another_dataset_is_not_passed_over(tmp_path: Path) -> None:
    """MPDD's and VisA's names alone must not hide the other categories of a folder."""
    for part in ("tubes", "candle", "carpet"):
        for file in ("test/hole/000.png", "ground_truth/hole/000.png", "train/good/000.png"):
            path = tmp_path / part / file
            path.parent.mkdir(parents=True)
            path.write_bytes(encoded(WHITE if "truth" in file else IMAGE, ".png"))
    dataset = load(tmp_path)
    assert (dataset.layout, dataset.categories) == ("mvtec_ad", ("candle", "carpet", "tubes"))


def test_a_damaged_config_is_reported(tmp_path: Path) -> None:
    root = TREES["mvtec_loco"][0].write(tmp_path)
    (root / "pushpins" / "defects_config.json").write_text('[{"defect_name": "x", "pixel_value": 999}]')
    assert codes(load(root)) == ["bad-config"]
    (root / "pushpins" / "defects_config.json").write_text("{")
    assert codes(load(root)) == ["bad-config"]


def test_a_damaged_table_of_visa_is_reported(tmp_path: Path) -> None:
    root = TREES["visa"][0].write(tmp_path)
    (root / "split_csv" / "1cls.csv").write_text("a,b\n1,2\n")
    assert codes(load(root)) == ["bad-config"]


def test_a_damaged_mask_of_kolektor_is_a_defect_until_it_is_read(tmp_path: Path) -> None:
    root = TREES["kolektor"][0].write(tmp_path)
    (root / "kos01" / "Part0_label.bmp").write_bytes(b"BM")
    with pytest.raises(mc.MvtecConvertError, match="Part0_label"):
        mc.to_coco(load(root), tmp_path.with_name("out"))
