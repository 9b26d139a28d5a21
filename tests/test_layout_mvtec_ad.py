"""MVTec AD's tree as people really have it: what is read, what is passed over, and what is reported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvtec_convert.dataset import Dataset, Sample
from mvtec_convert.errors import DatasetNotFoundError, SelectionError
from mvtec_convert.geometry.regions import annotate
from mvtec_convert.layouts import load
from mvtec_convert.layouts.mvtec_ad import matches
from tests.trees import complete, make_tree


def keys(dataset: Dataset) -> list[str]:
    return [sample.key for sample in dataset]


def reported(dataset: Dataset) -> list[tuple[str, str]]:
    """(code, path from the root) of every finding, sorted."""
    return sorted((f.code, Path(f.path).relative_to(dataset.root).as_posix()) for f in dataset.findings)


def pairs(dataset: Dataset) -> dict[str, str]:
    """Mask's name by image's name, of the defective samples."""
    return {sample.image.name: mask.name for sample in dataset for mask in sample.masks}


def hole(root: Path, images: str | Iterable[str], masks: str | Iterable[str]) -> Dataset:
    """The dataset of one category, one defect type, and one good image."""
    folders = {"carpet/train/good": "000.png", "carpet/test/hole": images, "carpet/ground_truth/hole": masks}
    return load(make_tree(root, folders))


# --- what is read -----------------------------------------------------------------------------------------------------


def test_every_image_is_a_sample_with_its_mask(tmp_path: Path) -> None:
    dataset = load(complete(tmp_path))
    assert dataset.layout == "mvtec_ad"
    assert dataset.findings == ()
    test, truth = tmp_path / "carpet" / "test", tmp_path / "carpet" / "ground_truth"
    assert list(dataset)[:4] == [
        Sample("carpet", "cut", "test", test / "cut/000.png", (truth / "cut/000_mask.png",), "carpet/test/cut/000.png"),
        Sample("carpet", "good", "test", test / "good/000.png", (), "carpet/test/good/000.png"),
        Sample(
            "carpet", "hole", "test", test / "hole/000.png", (truth / "hole/000_mask.png",), "carpet/test/hole/000.png"
        ),
        Sample(
            "carpet", "hole", "test", test / "hole/001.png", (truth / "hole/001_mask.png",), "carpet/test/hole/001.png"
        ),
    ]
    assert keys(dataset)[4:] == ["carpet/train/good/000.png", "carpet/train/good/001.png"]
    assert {sample.split for sample in list(dataset)[4:]} == {"train"}


def test_a_root_of_categories_and_one_category_give_the_same_keys(tmp_path: Path) -> None:
    complete(tmp_path, ["carpet", "grid"])
    whole, one = load(tmp_path), load(tmp_path / "carpet")
    assert whole.categories == ("carpet", "grid")
    assert one.categories == ("carpet",)
    assert list(one) == list(whole.filter(category="carpet"))


@pytest.mark.parametrize("spelling", [".", "./", "../carpet", "../../data/carpet/."])
def test_a_category_has_its_name_however_its_path_is_spelt(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data" / "carpet")
    assert keys(load(spelling)) == keys(load(tmp_path / "data" / "carpet"))


@pytest.mark.parametrize("spelling", ["..", "../../carpet/test/.."])
def test_a_category_has_its_name_from_a_folder_within(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(tmp_path)
    monkeypatch.chdir(tmp_path / "carpet" / "test")
    assert load(spelling).categories == ("carpet",)


def test_the_root_may_be_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(complete(tmp_path, ["carpet", "grid"]))
    assert keys(load(".")) == keys(load(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="links need special rights on Windows")
def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    complete(tmp_path / "far")
    link = tmp_path / "near"
    link.symlink_to(tmp_path / "far", target_is_directory=True)
    assert keys(load(link)) == keys(load(tmp_path / "far"))


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    complete(tmp_path / "data")
    assert len(load("~/data")) == 6


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("000.png", "000_mask.png"),
        ("000.png", "000.png"),
        ("000.jpg", "000_mask.png"),
        ("000.JPG", "000.bmp"),
        ("000.jpeg", "000.tiff"),
        ("000.bmp", "000_mask.TIF"),
        ("000.TIFF", "000_mask.jpeg"),
        ("000.PNG", "000_mask.PNG"),
        ("part 7 (left).png", "part 7 (left)_mask.png"),
        ("Öse_缺陷.png", "Öse_缺陷.png"),
        ("a.b.c.png", "a.b.c_mask.png"),
        ("a_mask.png", "a_mask_mask.png"),
        ("_mask.png", "_mask.png"),
    ],
)
def test_a_mask_is_called_like_its_image_with_or_without_mask(image: str, mask: str, tmp_path: Path) -> None:
    dataset = hole(tmp_path, [image], [mask])
    assert dataset.findings == ()
    assert pairs(dataset) == {image: mask}
    (sample,) = dataset.filter(defect_type="hole")
    assert len(annotate(sample).regions) == 1


def test_both_names_of_masks_may_be_mixed(tmp_path: Path) -> None:
    dataset = hole(tmp_path, "a.png b.png", "a_mask.png b.png")
    assert pairs(dataset) == {"a.png": "a_mask.png", "b.png": "b.png"}
    assert dataset.findings == ()


@pytest.mark.parametrize("order", [["a.png", "a_mask.png"], ["a_mask.png", "a.png"]])
def test_an_image_called_a_mask_beside_a_has_its_own_mask(order: list[str], tmp_path: Path) -> None:
    dataset = hole(tmp_path, order, "a_mask.png a_mask_mask.png")
    assert pairs(dataset) == {"a.png": "a_mask.png", "a_mask.png": "a_mask_mask.png"}
    assert dataset.findings == ()


def test_an_image_called_a_mask_beside_a_without_a_mask_of_its_own_is_reported(tmp_path: Path) -> None:
    dataset = hole(tmp_path, "a.png a_mask.png", "a_mask.png")
    assert pairs(dataset) == {"a.png": "a_mask.png"}
    assert reported(dataset) == [("missing-mask", "carpet/test/hole/a_mask.png")]


def test_images_called_a_and_a_mask_never_get_each_others_masks(tmp_path: Path) -> None:
    # Both masks are called like an image, but a_mask.png could be the mask of a.png too: pair by name, or say so.
    dataset = hole(tmp_path, "a.png a_mask.png", "a.png a_mask.png")
    assert pairs(dataset) == {"a.png": "a.png", "a_mask.png": "a_mask.png"} or dataset.findings


def test_names_with_spaces_and_unicode_are_fine_everywhere(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path / "Prüf daten",
        {
            "Öse 検査/train/good": ["gut 1.png"],
            "Öse 検査/test/große Löcher": ["Teil 1.png", "\U0001f529.png"],
            "Öse 検査/ground_truth/große Löcher": ["Teil 1_mask.png", "\U0001f529.png"],
        },
    )
    dataset = load(root)
    assert dataset.findings == ()
    assert dataset.categories == ("Öse 検査",)
    assert dataset.defect_types == ("große Löcher",)
    assert "Öse 検査/test/große Löcher/Teil 1.png" in keys(dataset)


@pytest.mark.parametrize(
    ("left_out", "count", "missing"),
    [
        ("train", 4, 0),
        ("train/good", 4, 0),
        ("test/good", 5, 0),
        ("test", 2, 3),
        ("ground_truth", 3, 3),
        ("ground_truth/cut", 5, 1),
    ],
)
def test_a_folder_left_out_is_no_reason_to_stop(left_out: str, count: int, missing: int, tmp_path: Path) -> None:
    folders: dict[str, str] = {
        "train/good": "000.png 001.png",
        "test/good": "000.png",
        "test/hole": "000.png 001.png",
        "test/cut": "000.png",
        "ground_truth/hole": "000_mask.png 001_mask.png",
        "ground_truth/cut": "000_mask.png",
    }
    kept = {f"carpet/{name}": files for name, files in folders.items() if not f"{name}/".startswith(f"{left_out}/")}
    dataset = load(make_tree(tmp_path, kept))
    assert len(dataset) == count
    assert [f.code for f in dataset.findings] == [{"test": "orphan-mask"}.get(left_out, "missing-mask")] * missing


def test_empty_folders_hold_nothing(tmp_path: Path) -> None:
    complete(tmp_path)
    make_tree(tmp_path, {"carpet/test/empty": "", "carpet/ground_truth/empty": "", "grid/train/good": "", "other": ""})
    assert load(tmp_path).findings == ()
    assert len(load(tmp_path)) == 6


# --- what is passed over ----------------------------------------------------------------------------------------------

JUNK = [".DS_Store", ".hidden.png", "._000.png", "._000_mask.png", "Thumbs.db", "desktop.ini", "notes.txt", "000.npy"]


def test_hidden_files_and_what_archivers_leave_behind_are_passed_over(tmp_path: Path) -> None:
    complete(tmp_path)
    clean = load(tmp_path)
    places = [".", "carpet", "carpet/train", "carpet/train/good", "carpet/test", "carpet/test/hole"]
    places += ["carpet/ground_truth", "carpet/ground_truth/hole"]
    for place in places:
        make_tree(tmp_path, {place: JUNK})
        for folder in ("__MACOSX", ".ipynb_checkpoints"):
            make_tree(
                tmp_path, dict.fromkeys([f"{place}/{folder}", f"{place}/{folder}/test/hole"], "._000.png 000.png")
            )
    assert load(tmp_path) == clean


def test_a_copy_of_the_tree_for_macos_is_no_category(tmp_path: Path) -> None:
    complete(tmp_path, ["carpet", "__MACOSX", ".trash"])
    assert load(tmp_path).categories == ("carpet",)


def test_folders_called_like_images_are_passed_over(tmp_path: Path) -> None:
    complete(tmp_path)
    (tmp_path / "carpet/test/hole/folder.png").mkdir()
    (tmp_path / "carpet/ground_truth/hole/folder_mask.png").mkdir()
    assert load(tmp_path).findings == ()
    assert len(load(tmp_path)) == 6


def test_folders_beside_the_categories_are_passed_over(tmp_path: Path) -> None:
    complete(tmp_path)
    make_tree(tmp_path, {"docs": "readme.txt picture.png", "license": "license.txt", "masks/hole": "000.png"})
    assert load(tmp_path).categories == ("carpet",)


# --- what is reported -------------------------------------------------------------------------------------------------


def test_a_defective_image_without_a_mask_is_reported_and_left_out(tmp_path: Path) -> None:
    dataset = hole(tmp_path, "000.png 001.png", "000_mask.png")
    assert reported(dataset) == [("missing-mask", "carpet/test/hole/001.png")]
    assert "carpet/test/hole/001.png" not in keys(dataset)
    assert "001_mask" in dataset.findings[0].message


def test_a_mask_without_an_image_is_reported(tmp_path: Path) -> None:
    dataset = hole(tmp_path, "000.png", "000_mask.png 001_mask.png 7.png")
    expected = [("orphan-mask", f"carpet/ground_truth/hole/{name}") for name in ("001_mask.png", "7.png")]
    assert reported(dataset) == expected
    assert pairs(dataset) == {"000.png": "000_mask.png"}


@pytest.mark.parametrize("test_folder", [[], ["carpet/test/stain"]])
def test_a_whole_folder_of_masks_without_images_is_reported(test_folder: list[str], tmp_path: Path) -> None:
    complete(tmp_path)
    make_tree(tmp_path, {"carpet/ground_truth/stain": "000_mask.png 001_mask.png"} | dict.fromkeys(test_folder, ""))
    expected = [("orphan-mask", f"carpet/ground_truth/stain/{name}_mask.png") for name in ("000", "001")]
    assert reported(load(tmp_path)) == expected


@pytest.mark.parametrize("masks", ["000_mask.png 000.png", "000_mask.png 000_mask.bmp", "000.png 000.TIF"])
def test_two_masks_that_claim_one_image_are_reported(masks: str, tmp_path: Path) -> None:
    dataset = hole(tmp_path, "000.png 001.png", f"{masks} 001.png")
    assert reported(dataset) == [("ambiguous-mask", "carpet/test/hole/000.png")]
    assert all(name in dataset.findings[0].message for name in masks.split())
    assert pairs(dataset) == {"001.png": "001.png"}


def test_two_images_that_claim_one_mask_are_reported(tmp_path: Path) -> None:
    dataset = hole(tmp_path, "000.png 000.jpg 001.png", "000_mask.png 001.png")
    assert reported(dataset) == [("ambiguous-image", "carpet/test/hole/000.jpg")]
    assert "000.png" in dataset.findings[0].message
    assert pairs(dataset) == {"001.png": "001.png"}


def test_good_images_of_one_name_and_two_kinds_are_two_samples(tmp_path: Path) -> None:
    dataset = load(make_tree(tmp_path, {"carpet/train/good": "000.png 000.jpg"}))
    assert keys(dataset) == ["carpet/train/good/000.jpg", "carpet/train/good/000.png"]
    assert dataset.findings == ()


def test_defective_images_in_train_are_reported_and_left_out(tmp_path: Path) -> None:
    complete(tmp_path)
    make_tree(tmp_path, {"carpet/train/hole": "000.png 001.png"})
    dataset = load(tmp_path)
    assert reported(dataset) == [("train-defect", "carpet/train/hole")]
    assert len(dataset) == 6


def test_an_empty_defect_folder_in_train_does_not_make_orphans_of_the_masks_of_test(tmp_path: Path) -> None:
    complete(tmp_path)
    make_tree(tmp_path, {"carpet/train/hole": ""})
    assert reported(load(tmp_path)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
@pytest.mark.parametrize(
    "name", [b"a\nb.png", b"a\tb.png", b"a\rb.png", b"\xff\xfe.png", b"\x1b[31m.png", "a\u2028b.png".encode()]
)
@pytest.mark.parametrize("folder", ["train/good", "test/good", "test/hole"])
def test_a_name_that_no_text_file_can_hold_is_reported(name: bytes, folder: str, tmp_path: Path) -> None:
    complete(tmp_path)
    path = tmp_path / "carpet" / folder / os.fsdecode(name)
    path.hardlink_to(tmp_path / "carpet/train/good/000.png")
    dataset = load(tmp_path)
    assert [finding.code for finding in dataset.findings] == ["bad-name"]
    assert dataset.findings[0].path == str(path)
    assert len(dataset) == 6
    assert str(dataset.findings[0]).isprintable()
    str(dataset.findings[0]).encode()


def test_every_finding_says_what_to_do(tmp_path: Path) -> None:
    hole(tmp_path, "0.png 1.png 2.png 2.bmp 3.png", "0.png 0_mask.png 2.png x.png")
    make_tree(tmp_path, {"carpet/train/cut": "0.png"})
    dataset = load(tmp_path)
    codes = {"ambiguous-image", "ambiguous-mask", "missing-mask", "orphan-mask", "train-defect"}
    assert {finding.code for finding in dataset.findings} == codes
    assert all(finding.hint and finding.severity == "error" for finding in dataset.findings)


def test_findings_come_in_the_same_order_in_every_process(tmp_path: Path) -> None:
    hole(tmp_path, "000.png", [f"{i:03}_mask.png" for i in range(12)])
    code = f"from mvtec_convert.layouts import load; print([f.path for f in load({str(tmp_path)!r}).findings])"

    def run(seed: int) -> str:
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        return subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True).stdout

    assert run(1) == run(2)


# --- where there is no dataset ----------------------------------------------------------------------------------------


def test_a_missing_folder_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"no such folder") as caught:
        load(tmp_path / "none")
    assert caught.value.path == str(tmp_path / "none")
    assert caught.value.hint


@pytest.mark.parametrize("folders", [{}, {"pictures": "a.png"}, {"carpet/images": "a.png"}, {"carpet/train/good": ""}])
def test_a_folder_without_a_dataset_is_an_error_with_a_hint(folders: Mapping[str, str], tmp_path: Path) -> None:
    make_tree(tmp_path, folders)
    with pytest.raises(DatasetNotFoundError, match=r"no dataset here") as caught:
        load(tmp_path)
    assert caught.value.path == str(tmp_path)
    assert caught.value.hint


def test_an_unknown_layout_is_an_error_that_lists_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"'mvtec'; there are: .*mvtec_ad"):
        load(complete(tmp_path), layout="mvtec")


@pytest.mark.parametrize(
    ("folder", "is_one"), [("", True), ("carpet", True), ("carpet/test", False), ("carpet/test/hole", False)]
)
def test_a_root_or_a_category_matches_and_nothing_below(folder: str, is_one: bool, tmp_path: Path) -> None:
    assert matches(complete(tmp_path) / folder) is is_one


def test_matching_a_file_or_nothing_is_no_error(tmp_path: Path) -> None:
    make_tree(tmp_path, {"": "a.txt"})
    assert not matches(tmp_path / "a.txt")
    assert not matches(tmp_path / "none")


# --- keys -------------------------------------------------------------------------------------------------------------

# No two names differ by case or by Unicode form alone: some file systems take these for one.
NAMES = st.text("abc01 -_.\u00e9\u7f3a", min_size=1, max_size=6).filter(lambda name: name == name.strip(" ."))
FOLDERS = st.sampled_from(["train/good", "test/good", "test/hole", "test/cut"])


@given(files=st.lists(st.tuples(st.sampled_from(["a", "a-b", "B", "ab"]), FOLDERS, NAMES), min_size=1, max_size=12))
def test_keys_are_unique_sorted_and_independent_of_the_order_of_files(
    files: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = []
    for order in (files, files[::-1]):
        root = tmp_path_factory.mktemp("tree")
        for category, folder, name in order:
            make_tree(root, {f"{category}/{folder}": [f"{name}.png"]})
            if "good" not in folder:
                make_tree(root, {f"{category}/{folder.replace('test', 'ground_truth')}": [f"{name}.png"]})
        found.append(load(root))
    assert keys(found[0]) == keys(found[1]) == sorted(set(keys(found[0])))
    assert reported(found[0]) == reported(found[1])
    if not found[0].findings:
        expected = {f"{category}/{folder}/{name}.png" for category, folder, name in files}
        assert set(keys(found[0])) == expected


# --- filter -----------------------------------------------------------------------------------------------------------


def test_an_unknown_category_is_an_error_that_lists_them_and_suggests_the_nearest(tmp_path: Path) -> None:
    dataset = load(complete(tmp_path, ["carpet", "grid", "hazelnut"]))
    with pytest.raises(
        SelectionError, match=r"no category 'carpets' in this dataset; it has: carpet, grid, hazelnut"
    ) as e:
        dataset.filter(category="carpets")
    assert e.value.hint == "did you mean 'carpet'?"
    with pytest.raises(SelectionError) as e:
        dataset.filter(category=["grid", "zzz"])
    assert e.value.hint is None


def test_an_unknown_defect_type_or_split_is_an_error_that_suggests_the_nearest(tmp_path: Path) -> None:
    dataset = load(complete(tmp_path))
    with pytest.raises(SelectionError, match=r"no defect type 'holes'.*good, cut, hole.*did you mean 'hole'"):
        dataset.filter(defect_type="holes")
    with pytest.raises(SelectionError, match=r"no split 'tests'.*train, val, test.*did you mean 'test'"):
        dataset.filter(split="tests")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, 12),
        ({"category": "grid"}, 6),
        ({"category": ["grid", "carpet"]}, 12),
        ({"defect_type": "hole"}, 4),
        ({"defect_type": ["good", "cut"]}, 8),
        ({"split": "train"}, 4),
        ({"category": "carpet", "defect_type": "good", "split": "test"}, 1),
        ({"category": []}, 0),
    ],
)
def test_filter_keeps_what_is_named(wanted: dict[str, str], expected: int, tmp_path: Path) -> None:
    dataset = load(complete(tmp_path, ["carpet", "grid"]))
    kept = dataset.filter(**wanted)
    assert len(kept) == expected
    for what, names in wanted.items():
        assert all(getattr(sample, what) in ([names] if isinstance(names, str) else names) for sample in kept)
    assert keys(kept) == [key for key in keys(dataset) if key in set(keys(kept))]


def with_faults(root: Path, categories: Iterable[str]) -> Path:
    """A complete tree, and in each category a defective image without a mask."""
    complete(root, categories)
    return make_tree(root, {f"{category}/test/hole": "9.png" for category in categories})


def test_findings_of_other_categories_do_not_survive_the_filter(tmp_path: Path) -> None:
    dataset = load(with_faults(tmp_path, ["carpet", "carpet2", "grid"]))
    assert len(dataset.findings) == 3
    assert reported(dataset.filter(category="carpet")) == [("missing-mask", "carpet/test/hole/9.png")]
    assert len(dataset.filter(category=["grid", "carpet2"]).findings) == 2


def test_nor_where_the_root_is_called_like_a_category(tmp_path: Path) -> None:
    dataset = load(with_faults(tmp_path / "carpet", ["carpet", "grid"]))
    assert reported(dataset.filter(category="carpet")) == [("missing-mask", "carpet/test/hole/9.png")]


def test_a_filter_by_anything_else_keeps_every_finding(tmp_path: Path) -> None:
    dataset = load(with_faults(tmp_path, ["carpet", "grid"]))
    for kept in (dataset.filter(), dataset.filter(split="train"), dataset.filter(defect_type="good")):
        assert kept.findings == dataset.findings


def test_findings_of_a_category_without_any_usable_image_survive_a_filter_that_names_none(tmp_path: Path) -> None:
    complete(tmp_path)
    make_tree(tmp_path, {"grid/test/hole": "000.png"})
    assert reported(load(tmp_path).filter()) == [("missing-mask", "grid/test/hole/000.png")]


def test_a_category_without_any_usable_image_can_be_named(tmp_path: Path) -> None:
    complete(tmp_path)
    make_tree(tmp_path, {"grid/test/hole": "000.png"})
    # Not "no category 'grid'": it is there, and what is wrong with it is known.
    assert reported(load(tmp_path).filter(category="grid")) == [("missing-mask", "grid/test/hole/000.png")]


@pytest.mark.parametrize("spelling", [".", "../carpet", "{absolute}"])
def test_findings_of_a_category_that_is_the_root_survive_the_filter(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_faults(tmp_path, ["carpet"])
    monkeypatch.chdir(tmp_path / "carpet")
    dataset = load(spelling.format(absolute=tmp_path / "carpet"))
    assert len(dataset.findings) == 1
    assert dataset.filter(category="carpet").findings == dataset.findings
