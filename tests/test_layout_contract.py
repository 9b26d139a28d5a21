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
from mvtec_convert.geometry.regions import annotate
from mvtec_convert.layouts import layouts, load, recognised
from tests.layout_contract import CASES, IDS, IMAGE, TREES, WHITE, Drawn, Expected, encoded, folders_of

JUNK = {
    ".DS_Store": "junk", "Thumbs.db": "junk", "desktop.ini": "junk", "readme.txt": "words", "license.txt": "words",
    "._000.png": "junk", "__MACOSX/._1.png": "junk", "__MACOSX/carpet/test/good/._2.png": "junk", ".git/HEAD": "ref",
}  # fmt: skip

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
            path.parent.mkdir(parents=True, exist_ok=True)
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
def test_masks_of_one_bit_are_read_alike(name: str, tree: Drawn, tmp_path: Path) -> None:
    """Copies of MVTec AD that were made smaller have them; masks whose values mean something cannot be made so."""
    masks = [name for each in tree.expected.values() for name in each.masks]
    if any(tree.files[mask] != WHITE for mask in masks):
        return
    tree.write(tmp_path)
    for mask in masks:
        (tmp_path / mask).write_bytes(encoded(WHITE, Path(mask).suffix, one_bit=True))
    for sample in load(tmp_path):
        assert [(*region.bbox, sample.defect_type) for region in sample.regions()] == [
            *tree.expected[sample.key].regions
        ]


@every_layout
def test_a_folder_around_it_is_seen_through(name: str, tree: Drawn, tmp_path: Path) -> None:
    """As archives are packed, and as they come out where one unpacks them twice."""
    for wrapped in ("download/the dataset", "once"):
        root = tmp_path / wrapped.replace("/", "-")
        tree.write(root / wrapped)
        (root / "readme.txt").write_text("words")
        dataset = load(root)
        assert (dataset.layout, dataset.root) == (name, root / wrapped)
        assert read(dataset, root / wrapped) == without_regions(tree)


@every_layout
def test_categories_each_in_a_folder_of_their_name_are_one_dataset(name: str, tree: Drawn, tmp_path: Path) -> None:
    if not tree.parts:
        return
    tree.write(tmp_path / "flat")
    for part in tree.parts:  # each archive unpacked into a folder of its name
        (tmp_path / "nested" / part).mkdir(parents=True)
        shutil.copytree(tmp_path / "flat" / part, tmp_path / "nested" / part / part)
    dataset = load(tmp_path / "nested")
    assert dataset.layout == name
    assert {sample.key: sample.defect_type for sample in dataset} == {
        key: each.defect_type for key, each in tree.expected.items()
    }
    counted = [
        [(each.name, each.regions) for each in mc.stats(load(tmp_path / root)).categories]
        for root in ("nested", "flat")
    ]
    assert counted[0] == counted[1]


@every_layout
def test_links_to_categories_and_names_of_any_script_are_followed(name: str, tree: Drawn, tmp_path: Path) -> None:
    root = tree.write(tmp_path / "\u6570\u636e \u00e9tiquet\u00e9es")
    linked = tmp_path / "linked"
    linked.mkdir()
    for entry in root.iterdir():
        (linked / entry.name).symlink_to(entry)
    for each in (root, linked):
        dataset = load(each)
        assert (dataset.layout, dataset.errors) == (name, ())
        assert read(dataset, each) == without_regions(tree)


@every_layout
def test_what_it_reads_is_exported_region_by_region(name: str, tree: Drawn, tmp_path: Path) -> None:
    dataset = load(tree.write(tmp_path / "source"))
    summary = mc.to_coco(dataset, tmp_path / "out")
    assert summary.fidelity is not None
    assert summary.fidelity.exact == summary.fidelity.regions == sum(len(sample.regions()) for sample in dataset) > 0
    assert {each.code for each in mc.validate(tmp_path / "out").findings if each.severity == "error"} == {"split-leak"}


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


def test_several_datasets_below_a_folder_are_named_and_none_is_taken(tmp_path: Path) -> None:
    TREES["btad"][0].write(tmp_path / "btad")
    TREES["mvtec_loco"][0].write(tmp_path / "loco")
    with pytest.raises(mc.MvtecConvertError, match=r"there are 2 below it: .*btad, .*loco"):
        load(tmp_path)


def test_a_dataset_among_the_categories_is_told_and_not_read(tmp_path: Path) -> None:
    TREES["mvtec_ad"][0].write(tmp_path)
    shutil.copytree(tmp_path / "tile", tmp_path / "backup" / "tile")
    dataset = load(tmp_path)
    assert codes(dataset) == ["nested-dataset"]
    assert dataset.findings[0].path == str(tmp_path / "backup")
    assert dataset.categories == ("carpet", "tile")
    assert read(dataset, tmp_path) == without_regions(TREES["mvtec_ad"][0])


def test_the_folder_of_all_data_is_not_searched(tmp_path: Path) -> None:
    TREES["mvtec_ad"][0].write(tmp_path / "data" / "here")
    for i in range(201):
        (tmp_path / "data" / f"{i}").mkdir()
    with pytest.raises(mc.MvtecConvertError, match="no dataset here"):
        load(tmp_path)


def test_hundreds_of_categories_are_read(tmp_path: Path) -> None:
    for i in range(600):
        for folder in ("train/good", "test/cut", "ground_truth/cut"):
            path = tmp_path / f"{i:04}" / folder / "0.png"
            path.parent.mkdir(parents=True)
            path.touch()
    dataset = load(tmp_path)
    assert (len(dataset), len(dataset.categories), dataset.findings) == (1200, 600, ())


def test_the_split_of_visa_is_found_beside_a_linked_category(tmp_path: Path) -> None:
    TREES["visa"][0].write(tmp_path / "original")
    (tmp_path / "linked" / "split_csv").mkdir(parents=True)
    (tmp_path / "linked" / "pcb1").symlink_to(tmp_path / "original" / "pcb1")
    assert {sample.split for sample in load(tmp_path / "linked") if sample.is_good} == {"train", "test"}
    csv = (tmp_path / "original" / "split_csv" / "1cls.csv").read_text().replace(",test,normal", ",train,normal")
    (tmp_path / "linked" / "split_csv" / "1cls.csv").write_text(csv)
    assert {sample.split for sample in load(tmp_path / "linked") if sample.is_good} == {"train"}


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
