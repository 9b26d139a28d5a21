"""examples/four_attempts.py: it runs as it stands, and its parts do what they say."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.splits import supervised
from tests.exports import true_masks

HOME = Path(__file__).parent.parent.parent
EXAMPLE = HOME / "examples" / "four_attempts.py"
COURSE = (HOME / "docs" / "course.md").read_text(encoding="utf-8")
CLASSES = ["good", "color", "cut", "hole", "metal_contamination", "thread"]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("four_attempts", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def cells(text: str) -> list[list[str]]:
    """The cells of every row of a Markdown table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def attempts(folder: Path, *options: str) -> tuple[list[str], list[dict[str, str]], str]:
    """(columns, rows, last line) of what the example prints."""
    command = [sys.executable, str(EXAMPLE), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr
    columns, _, *rows = cells(done.stdout)
    return columns, [dict(zip(columns, row, strict=True)) for row in rows], done.stdout.splitlines()[-1]


def test_it_runs_as_it_stands_and_learns(tmp_path: Path):
    columns, rows, last = attempts(tmp_path)
    assert columns == ["attempt", "optimiser", "rate", "epochs", "images", "accuracy", "macro-F1", *CLASSES]
    assert [row["attempt"] for row in rows] == ["1 frozen", "2 altered", "3 balanced", "4 pasted"]
    assert [row["optimiser"] for row in rows] == ["Adam", "AdamW", "AdamW", "AdamW"]
    assert last == "28 images to train on, 9 to judge by; picture: four_attempts.png"
    assert [row["images"] for row in rows] == ["28", "28", "28", "66"]
    figures = [[int(row[name].removesuffix(" %")) for name in columns[5:]] for row in rows]
    assert all(0 <= figure <= 100 for row in figures for figure in row)
    # To call every image good would be right for 3 of 9, with a macro-F1 of 8 %.
    assert all(accuracy > 33 and f1 > 8 for accuracy, f1, *_ in figures[1:])
    with Image.open(tmp_path / "four_attempts.png") as picture:
        assert picture.width == 1000
        pixels = np.asarray(picture.convert("RGB"))
    best, others, paper = ((pixels == colour).all(-1).sum() for colour in ((11, 83, 148), (159, 197, 232), 255))
    assert best > 5_000
    assert others > 2_000
    assert paper > 100_000


def test_the_guide_shows_what_it_prints(example: ModuleType):
    """All but the figures, which differ a little from machine to machine."""
    shown = [row for row in cells(COURSE) if re.match(r"\d \w+$", row[0])]
    assert ["attempt", "optimiser", "rate", "epochs", "images", "accuracy", "macro-F1", *CLASSES] in cells(COURSE)
    plan = [[a.name, a.optimiser.__name__, f"{a.rate:g}", str(a.epochs)] for a in example.ATTEMPTS]
    assert [row[:4] for row in shown] == plan
    assert [row[4] for row in shown] == ["28", "28", "28", "66", "28"]
    assert (HOME / "docs" / "four_attempts.png").stat().st_size > 10_000


def test_options_change_what_it_does(tmp_path: Path, sample_root: Path):
    given = ["--data", str(sample_root), "--category", "hazelnut", "--fifth", "--epochs", "1", "--size", "48"]
    _, rows, last = attempts(tmp_path, *given, "--out", "out.png", "--seed", "3")
    assert [row["attempt"] for row in rows][-1] == "5 adjusted"
    assert {row["epochs"] for row in rows} == {"1"}
    assert last.endswith("out.png")
    assert (tmp_path / "out.png").is_file()


def test_the_split_is_that_of_an_export(carpet: mc.Dataset, tmp_path: Path):
    mc.to_yolo(carpet, tmp_path / "out", task="classify")
    exported = {path.stem: path.parts[-3] for path in (tmp_path / "out").rglob("*.png")}
    assert Counter(exported.values()) == {"train": 28, "val": 9}
    for sample in carpet:
        if not sample.is_good:
            name = f"carpet_{sample.defect_type}_{sample.stem}"
            assert exported[name] == supervised(carpet.samples, seed=0).assignments[sample.key]


def test_a_pasted_image_is_the_good_one_outside_a_moved_mask(
    example: ModuleType, carpet: mc.Dataset, sample_root: Path
):
    good = next(sample for sample in carpet if sample.is_good)
    before = np.asarray(Image.open(good.image).convert("RGB"))
    truth = true_masks(sample_root)
    for defective in carpet.filter(defect_type=["cut", "metal_contamination"]):
        after = np.asarray(example.paste(good, defective, np.random.RandomState(1)))
        area = truth[f"carpet_{defective.defect_type}_{defective.stem}"][1].sum()
        changed = (before != after).any(-1).sum()
        # A pixel may by chance have the colour that was there; regions moved to the border may overlap.
        assert 0.8 * area < changed <= area


def test_only_training_images_are_pasted(example: ModuleType, carpet: mc.Dataset, monkeypatch: pytest.MonkeyPatch):
    used = []
    paste = example.paste
    monkeypatch.setattr(
        example, "paste", lambda good, bad, rng: used.extend([good.key, bad.key]) or paste(good, bad, rng)
    )
    places = supervised(carpet.samples).assignments
    train = [sample for sample in carpet if places[sample.key] == "train"]
    made = example.enlarged(train, 32)
    kinds = Counter(sample.defect_type for sample in train) + Counter(name for _, name in made)
    assert set(kinds.values()) == {11}
    assert all(places[key] == "train" for key in used)
    assert all(image.shape == (3, 32, 32) and image.isfinite().all() for image, _ in made)


def test_sampler_and_weights_even_the_classes_out(example: ModuleType):
    counts = torch.tensor([100.0, 25.0, 4.0])
    labels = torch.repeat_interleave(torch.arange(3), counts.long())
    torch.manual_seed(0)
    sampler, weights = example.balance(labels, counts)
    drawn = torch.zeros(3)
    for _ in range(200):
        drawn += torch.bincount(labels[list(sampler)], minlength=3)
    drawn /= drawn.sum()
    assert torch.allclose(drawn, torch.tensor([10.0, 5.0, 2.0]) / 17, atol=0.01)
    effective = [(1 - 0.99**n) / (1 - 0.99) for n in (129 * 10 / 17, 129 * 5 / 17, 129 * 2 / 17)]
    assert torch.allclose(weights * torch.tensor(effective), (weights[0] * effective[0]).expand(3), rtol=1e-4)
    assert weights.mean() == pytest.approx(1)


def test_scores_are_those_of_scikit_learn(example: ModuleType):
    from sklearn.metrics import accuracy_score, f1_score, recall_score

    rng = np.random.RandomState(0)
    for _ in range(20):
        truth, found = np.r_[np.arange(6), rng.randint(6, size=30)], rng.randint(6, size=36)
        scores = example.scores(torch.from_numpy(found), torch.from_numpy(truth), CLASSES)
        assert scores.pop("accuracy") == pytest.approx(accuracy_score(truth, found))
        assert scores.pop("macro-F1") == pytest.approx(f1_score(truth, found, average="macro"))
        assert list(scores.values()) == pytest.approx(list(recall_score(truth, found, average=None)))
