"""What holds for an export in any format: same bytes, nothing lost, nothing half-written, nothing touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert import pipeline
from mvtec_convert.errors import BadSourceError, ExhaustedError, OutputError, SelectionError
from mvtec_convert.formats import formats

pytestmark = pytest.mark.usefixtures("_small_medsam")

EXPORTS = {
    "yolo": mc.to_yolo,
    "yolo-segment": partial(mc.to_yolo, task="segment"),
    "yolo-obb": partial(mc.to_yolo, task="obb"),
    "yolo-world": partial(mc.to_yolo, world=True),
    "classify": partial(mc.to_yolo, task="classify"),
    "coco": mc.to_coco,
    "coco-rle": partial(mc.to_coco, segmentation="rle"),
    "coco-simple": partial(mc.to_coco, simplify=0.9),
    "coco-roboflow": partial(mc.to_coco, layout="roboflow"),
    "labelme": mc.to_labelme,
    "labelme-mask": partial(mc.to_labelme, shape="mask"),
    "sam": partial(mc.to_sam, points=2, negatives=2, box_jitter=3),
    "sam2": partial(mc.to_sam, layout="sam2", points=2),
    "sam3": partial(mc.to_sam, layout="sam3"),
    "saco": partial(mc.to_sam, layout="saco"),
    "medsam": partial(mc.to_sam, layout="medsam"),
    "voc": mc.to_voc,
}
"""Every format, by its name and, behind a hyphen, what is special."""

TOLD = {"coco-rle": {"compressed-rle"}}
"""What `validate` says of an export that was asked for, though not every trainer reads it."""

LABELS_ONLY = {"sam2", "medsam", "voc"}
"""Their readers take images in a form of their own; all but VOC's fail on images without a region."""


@pytest.fixture(params=EXPORTS)
def export(request):
    return EXPORTS[request.param]


@pytest.fixture(params=[name for name in EXPORTS if name not in LABELS_ONLY])
def whole_export(request):
    """The exports that hold every image as it is."""
    return EXPORTS[request.param]


@pytest.fixture
def carpet(sample_root) -> mc.Dataset:
    """A part of the sample's carpet: 14 good images, 10 of them in train, and 6 defective ones."""
    return mc.load(sample_root / "carpet").filter(defect_type=["good", "cut", "thread"])


@pytest.fixture
def copy(sample_root, tmp_path) -> Path:
    """A copy of the sample's grid that a test may break."""
    ignored = shutil.ignore_patterns("glue", "broken", "metal_contamination", "00[5-9]*.png")
    return Path(shutil.copytree(sample_root / "grid", tmp_path / "data" / "grid", ignore=ignored))


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_format_of_the_folder_is_tested_here():
    assert {name.split("-")[0] for name in EXPORTS} == set(formats())


def test_same_bytes_for_any_number_of_jobs_in_threads_and_in_processes(export, carpet, tmp_path, monkeypatch):
    export(carpet, tmp_path / "one", jobs=1)
    export(carpet, tmp_path / "threads", jobs=7)
    monkeypatch.setattr("mvtec_convert.runs.workers.WORTH_FORKING", 2)
    export(carpet, tmp_path / "processes", jobs=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "threads") == contents(tmp_path / "processes")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
def test_a_worker_that_the_system_kills_ends_the_export_and_the_next_one_succeeds(carpet, tmp_path, monkeypatch):
    here, annotated = os.getpid(), pipeline.annotate

    def killed_at_a_defect(sample, options):
        if not sample.is_good and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return annotated(sample, options)

    place = tmp_path / "place"
    monkeypatch.setattr("mvtec_convert.runs.workers.WORTH_FORKING", 2)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "annotate", killed_at_a_defect)
        with pytest.raises(ExhaustedError, match="a worker process was killed"):
            mc.to_coco(carpet, place / "out", jobs=2)
    assert not place.exists()
    assert mc.to_coco(carpet, place / "out", jobs=2).fidelity.mean == 1.0


@pytest.mark.parametrize("name", EXPORTS)
def test_a_fresh_export_has_no_findings(name, carpet, tmp_path):
    summary = EXPORTS[name](carpet, tmp_path / "out")
    expected = TOLD.get(name, set())
    assert {finding.code for finding in mc.validate(tmp_path / "out").findings} == expected
    assert {note.code for note in summary.notes} == expected


def test_every_image_is_there_under_a_unique_name_with_its_own_content(whole_export, carpet, tmp_path):
    whole_export(carpet, tmp_path / "out")
    found = list((tmp_path / "out").rglob("*.png"))
    assert len(found) == len(carpet) == len({path.name.casefold() for path in found})
    here = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in found)
    assert here == sorted(hashlib.sha256(sample.image.read_bytes()).hexdigest() for sample in carpet)
    assert "carpet_cut_000.png" in {path.name for path in found}


def test_images_are_linked_or_copied_as_asked(carpet, tmp_path):
    mc.to_coco(carpet, tmp_path / "linked")
    mc.to_coco(carpet, tmp_path / "copied", images="copy")
    assert all(path.stat().st_nlink > 1 for path in (tmp_path / "linked").rglob("*.png"))
    assert all(path.stat().st_nlink == 1 for path in (tmp_path / "copied").rglob("*.png"))


def test_where_links_fail_images_are_copied(carpet, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refused)
    mc.to_coco(carpet, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.png"))) == len(carpet)


def test_a_jpeg_that_a_trainer_would_rewrite_is_copied_not_linked(copy, tmp_path):
    image = copy / "test" / "good" / "000.png"
    jpeg = image.with_name("900.jpg")
    Image.open(image).save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes() + b"trailing")
    mc.to_yolo(mc.load(copy), tmp_path / "out")
    (exported,) = (tmp_path / "out").rglob("grid_good_900.jpg")
    assert exported.stat().st_nlink == 1


def test_the_source_is_never_written_to(export, copy, tmp_path):
    before = contents(copy), {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    export(mc.load(copy), tmp_path / "out")
    export(mc.load(copy), tmp_path / "out")
    assert (contents(copy), {path: path.stat().st_mtime_ns for path in copy.rglob("*")}) == before


def test_all_bad_files_are_listed_and_nothing_is_written(export, copy, tmp_path):
    bad = [copy / "ground_truth" / "bent" / f"{i:03d}_mask.png" for i in range(3)]
    Image.new("L", (288, 288)).save(bad[0])
    Image.new("L", (10, 10), 255).save(bad[1])
    bad[2].write_bytes(bad[2].read_bytes()[:200])
    with pytest.raises(BadSourceError) as caught:
        export(mc.load(copy), tmp_path / "out")
    assert [finding.path for finding in caught.value.findings] == [str(path) for path in bad]
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_earlier_export_survives_a_failure_and_is_replaced_by_a_success(export, copy, tmp_path):
    export(mc.load(copy), tmp_path / "out")
    before = contents(tmp_path / "out")
    mask = copy / "ground_truth" / "bent" / "000_mask.png"
    good = mask.read_bytes()
    mask.write_bytes(b"")
    with pytest.raises(BadSourceError):
        export(mc.load(copy), tmp_path / "out")
    assert contents(tmp_path / "out") == before
    mask.write_bytes(good)
    export(mc.load(copy), tmp_path / "out", seed=3)
    assert contents(tmp_path / "out") != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out"]


def test_what_trainers_leave_behind_does_not_survive_an_export(carpet, tmp_path):
    mc.to_yolo(carpet, tmp_path / "out")
    (tmp_path / "out" / "labels" / "train.cache").write_bytes(b"stale")
    (tmp_path / "out" / "images" / "text_embeddings_clip_ViT-B_32.pt").write_bytes(b"what YOLO-World leaves")
    next((tmp_path / "out" / "images").glob("*/*.png")).with_suffix(".npy").write_bytes(b"what cache=disk leaves")
    mc.to_yolo(carpet, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.npy"))
    assert not list((tmp_path / "out").rglob("*.cache"))
    assert not list((tmp_path / "out").rglob("*.pt"))


@pytest.mark.parametrize("names", [[""], ["."], ["/"], ["a", 7, None]])
def test_a_manifest_with_odd_names_still_tells_what_is_not_ours(carpet, tmp_path, names):
    mc.to_coco(carpet, tmp_path / "out")
    (tmp_path / "out" / "mvtec-convert.json").write_text(json.dumps({"files": names}))
    with pytest.raises(OutputError, match="holds files that this tool did not write"):
        mc.to_coco(carpet, tmp_path / "out")


def test_what_others_wrote_is_left_alone(carpet, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="not an export of this tool"):
        mc.to_coco(carpet, tmp_path / "mine")
    mc.to_coco(carpet, tmp_path / "out")
    (tmp_path / "out" / "annotations" / "notes.txt").write_text("by hand")
    with pytest.raises(OutputError, match=r"annotations/notes\.txt"):
        mc.to_coco(carpet, tmp_path / "out")
    assert (tmp_path / "out" / "annotations" / "notes.txt").read_text() == "by hand"
    mc.to_yolo(carpet, tmp_path / "yolo")
    (tmp_path / "yolo" / "images" / "train" / "embeddings.npy").write_bytes(b"hours of work")
    with pytest.raises(OutputError, match=r"images/train/embeddings\.npy"):
        mc.to_yolo(carpet, tmp_path / "yolo")
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OutputError):
        mc.to_coco(carpet, tmp_path / "file")


def test_an_empty_folder_may_be_filled(carpet, tmp_path):
    (tmp_path / "out").mkdir()
    mc.to_coco(carpet, tmp_path / "out")
    assert (tmp_path / "out" / "classes.json").is_file()


@pytest.mark.parametrize("out", ["grid/out", "grid", ".", "grid/../grid/train"])
def test_the_output_never_lies_in_the_dataset_nor_around_it(copy, out):
    with pytest.raises(OutputError):
        mc.to_coco(mc.load(copy), copy.parent / out)
    assert not list(copy.parent.rglob("*.json"))


def test_the_output_is_never_the_current_folder(carpet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="current folder"):
        mc.to_coco(carpet, ".")


def test_an_unwritable_place_is_an_error_with_a_hint(carpet, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError) as caught:
        mc.to_coco(carpet, tmp_path / "file" / "below")
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failure_leaves_no_new_parent_folders(copy, tmp_path):
    (copy / "ground_truth" / "bent" / "000_mask.png").write_bytes(b"")
    with pytest.raises(BadSourceError):
        mc.to_coco(mc.load(copy), tmp_path / "new" / "deep" / "out")
    assert not (tmp_path / "new").exists()


def test_a_filter_that_empties_an_image_takes_it_out_and_says_so(whole_export, copy, tmp_path):
    mask = np.zeros((288, 288), np.uint8)
    mask[5, 5] = 255
    Image.fromarray(mask).save(copy / "ground_truth" / "bent" / "000_mask.png")
    summary = whole_export(mc.load(copy), tmp_path / "out", min_area=2)
    assert "grid/test/bent/000.png" in summary.left_out
    assert not list((tmp_path / "out").rglob("grid_bent_000.*"))
    kept = whole_export(mc.load(copy), tmp_path / "out")
    assert kept.left_out == []
    assert list((tmp_path / "out").rglob("grid_bent_000.*"))


def test_a_filter_that_leaves_nothing_is_refused(copy, tmp_path):
    with pytest.raises(SelectionError, match="left"):
        mc.to_coco(mc.load(copy), tmp_path / "out", min_area=10**6)
    assert not (tmp_path / "out").exists()


def test_background_can_be_left_out_or_rationed(whole_export, carpet, tmp_path):
    def background(**keywords):
        splits = whole_export(carpet, tmp_path / "out", **keywords).splits.values()
        return [(split.background, split.images - split.background) for split in splits]

    assert sum(good for good, _ in background()) == 14
    assert [good for good, _ in background(background="none")] == [0, 0]
    for good, defective in background(background=0.5):
        assert good == min(round(0.5 * defective), 11)


@pytest.mark.parametrize("name", ["yolo", "classify", "coco", "sam", "sam3"])
def test_the_official_split_is_mvtecs(carpet, tmp_path, name):
    summary = EXPORTS[name](carpet, tmp_path / "out", split="official")
    assert list(summary.splits) == ["train", "test"]
    assert summary.splits["train"].images == summary.splits["train"].background == 10
    assert summary.splits["test"].images == 10


@pytest.mark.parametrize(("names", "classes"), [("single", 1), ("category", 3), ("category-defect", 4), ("defect", 2)])
def test_naming_schemes_give_the_same_classes_to_every_format(sample_root, tmp_path, names, classes):
    dataset = mc.load(sample_root).filter(defect_type=["good", "cut", "thread"], split="test")
    for name, export in EXPORTS.items():
        if "-" not in name:
            export(dataset, tmp_path / name, names=names)
    written = {(tmp_path / name / "classes.json").read_bytes() for name in formats()}
    assert len(written) == 1
    assert written.pop().count(b'"id"') == classes


def test_progress_counts_to_the_end(carpet, tmp_path):
    seen = []
    mc.to_coco(carpet, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, len(carpet)) for i in range(len(carpet))]
