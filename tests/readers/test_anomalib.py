"""anomalib reads MVTec AD's tree as it is, by its own datamodule and by folders, and trains on good images alone."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # anomalib 2.7 imports what timm and itself deprecate
    from anomalib.data import Folder, MVTecAD
    from anomalib.engine import Engine
    from anomalib.models import Padim

import mvtec_convert as mc
from mvtec_convert.geometry.regions import annotate
from tests.exports import true_masks

PROOFS = [
    {
        "target": "anomaly detection, trained on good images",
        "command": "nothing to convert: the original tree",
        "reader": "anomalib's `MVTecAD`",
        "package": "anomalib",
        "loses": "nothing of PNG images, and it sees no others; one mask for each image",
    },
    {
        "target": "anomaly detection in a tree of your own",
        "command": "nothing to convert: folders by name",
        "reader": "anomalib's `Folder`",
        "package": "anomalib",
        "loses": "nothing with `val_split_mode=same_as_test`; by default half of test is taken away for validation",
    },
    {
        "target": "anomaly detection, from any annotated dataset",
        "command": "mvtec-convert masks DIR",
        "reader": "anomalib's `MVTecAD`",
        "package": "anomalib",
        "loses": "the types of `combined` images: it reads every mask as defect or not",
    },
]

HOME = Path(__file__).parent.parent.parent
EXAMPLE = HOME / "examples" / "anomaly_detection.py"
COURSE = (HOME / "docs" / "course.md").read_text(encoding="utf-8")
CATEGORIES = ("carpet", "grid", "hazelnut")
COMMON = {"train_batch_size": 8, "eval_batch_size": 8, "num_workers": 0, "val_split_mode": "same_as_test"}

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # Lightning: no workers, no logger, no checkpoint folder
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def by_tree(root: Path, category: str) -> MVTecAD:
    return MVTecAD(root=root, category=category, **COMMON)


def by_folders(root: Path, category: str, **options: Any) -> Folder:
    defects = mc.load(root).filter(category=category).defect_types
    return Folder(
        name=category,
        root=root / category,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{defect}" for defect in defects],
        mask_dir=[f"ground_truth/{defect}" for defect in defects],
        **{**COMMON, **options},
    )


READERS = {"MVTecAD": by_tree, "Folder": by_folders}
Reader = Callable[[Path, str], Any]


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param]


@pytest.mark.parametrize("category", CATEGORIES)
def test_it_counts_what_we_count(sample_root: Path, reader: Reader, category: str):
    data = reader(sample_root, category)
    data.setup()
    (ours,) = mc.stats(mc.load(sample_root).filter(category=category)).categories
    folders = Counter("/".join(Path(path).parts[-3:-1]) for path in data.train_data.samples.image_path)
    folders += Counter("/".join(Path(path).parts[-3:-1]) for path in data.test_data.samples.image_path)
    assert folders == ours.folders
    assert len(data.train_data) == ours.train == ours.train_good
    assert len(data.test_data) == len(data.val_data) == ours.test
    masks = [path for path in data.test_data.samples.mask_path if path]
    assert len(set(masks)) == ours.defective
    assert data.test_data.samples.label_index.sum() == ours.defective


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_mask_is_ours_and_that_of_a_good_image_is_empty(sample_root: Path, reader: Reader, category: str):
    data = reader(sample_root, category)
    data.setup()
    samples = {str(sample.image.resolve()): sample for sample in mc.load(sample_root).filter(category=category)}
    truth, seen = true_masks(sample_root), Counter()
    for item in [*data.train_data, *data.test_data]:
        sample = samples[str(Path(item.image_path).resolve())]
        mask = np.asarray(item.gt_mask)
        assert item.image.shape[-2:] == mask.shape
        assert bool(item.gt_label) != sample.is_good
        if sample.is_good:
            assert not mask.any()
        else:
            defect, wanted = truth[f"{category}_{sample.defect_type}_{sample.stem}"]
            assert defect == sample.defect_type
            assert np.array_equal(mask, wanted)
            assert np.array_equal(mask, annotate(sample).mask())
        seen[sample.is_good] += 1
    assert seen.total() == len(samples)
    assert seen[False] == sum(not sample.is_good for sample in samples.values())


def test_a_tree_of_masks_is_read_as_the_labels_say(tmp_path: Path):
    """Names that sort in two ways, a JPEG, two types in one image: one mask for each, every object in it."""
    images, annotations = [], []
    for number, name in enumerate(["1.png", "10.png", "2.jpg", "3.png", "4.png"], start=1):
        (tmp_path / "parts" / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (90, number, 60)).save(tmp_path / "parts" / "images" / name)
        images.append({"id": number, "file_name": name, "width": 64, "height": 48})
    for number, image_id, category_id, x in ((1, 1, 1, 2), (2, 2, 1, 20), (3, 3, 1, 40), (4, 3, 2, 50), (5, 4, 1, 8)):
        box = {"bbox": [x, 5, 7, 9], "area": 63, "iscrowd": 0}
        outline = [[x, 5, x + 7, 5, x + 7, 14, x, 14]]
        annotations.append(
            {"id": number, "image_id": image_id, "category_id": category_id, "segmentation": outline, **box}
        )
    categories = [{"id": 1, "name": "dent"}, {"id": 2, "name": "scratch"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "parts" / "instances_default.json").write_text(json.dumps(document))
    mc.to_masks(tmp_path / "parts", tmp_path / "back", train=1)
    data = by_tree(tmp_path / "back", "parts")
    data.setup()
    found = {Path(item.image_path).stem: np.argwhere(np.asarray(item.gt_mask)) for item in data.test_data}
    assert {stem: (len(where), where[:, 1].min()) for stem, where in found.items()} == {
        "1": (63, 2),
        "10": (63, 20),
        "2": (126, 40),
        "3": (63, 8),
    }
    assert [Path(item.image_path).name for item in data.train_data] == ["4.png"]


def test_folders_take_half_of_test_for_validation_unless_told_otherwise(sample_root: Path):
    told, untold = by_folders(sample_root, "carpet"), by_folders(sample_root, "carpet", val_split_mode="from_test")
    told.setup()
    untold.setup()
    assert len(told.test_data) == 27
    assert len(untold.test_data) + len(untold.val_data) == 27
    assert 12 <= len(untold.test_data) <= 15


@pytest.fixture
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("quiet")
def test_padim_learns_from_good_images_alone(sample_root: Path, tmp_path: Path, reader: Reader):
    torch.manual_seed(0)
    model = Padim(
        backbone="resnet18",
        pre_trained=False,
        layers=["layer1"],
        n_features=32,
        pre_processor=Padim.configure_pre_processor(image_size=(64, 64)),
        visualizer=False,
    )
    off = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    engine = Engine(default_root_dir=tmp_path, accelerator="cpu", **off)
    data = reader(sample_root, "carpet")
    engine.fit(model, datamodule=data)
    assert {int(label) for label in data.train_data.samples.label_index} == {0}
    (scores,) = engine.test(model, datamodule=data, verbose=False)
    batches = engine.predict(model, datamodule=data, return_predictions=True)
    found = torch.cat([batch.pred_score.flatten() for batch in batches])
    maps = torch.cat([batch.anomaly_map for batch in batches])
    assert found.isfinite().all()
    assert maps.isfinite().all()
    assert len(found) == len(maps) == 27
    # A network of random weights finds the sample's bold colours; a coin would have 0.5.
    assert scores["image_AUROC"] > 0.7
    assert scores["pixel_AUROC"] > 0.7


@pytest.mark.parametrize("options", [[], ["--reader", "folder", "--model", "padim"]])
def test_the_example_runs(tmp_path: Path, options: list[str]):
    done = subprocess.run([sys.executable, str(EXAMPLE), *options], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "learnt from 10 good images, tested on 27\n" in done.stdout
    for name in ("image", "pixel"):
        score = re.search(rf"^{name} AUROC (\d\.\d+)", done.stdout, flags=re.MULTILINE)
        assert score
        assert 0.7 < float(score[1]) <= 1
    assert "arning" not in done.stderr
    assert not list(tmp_path.iterdir())
    if not options:
        plain = [re.sub(r"AUROC \d\.\d{3}", "AUROC", text) for text in (done.stdout, COURSE)]
        assert plain[0] in plain[1]
