"""Every trap of SA-Co is real: its evaluator stops at the broken ground truth, or counts what is right as wrong.

The evaluator is no package that the extra `examples` could hold: `cgf1` says its rules again, with pycocotools as well,
and where its repository is on PYTHONPATH (originals.py) the same traps are set for `CGF1Evaluator` itself. Prompts are
those of SAM 3 (test_traps_sam3.py).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

import mvtec_convert as mc
from tests.broken import Tiny, change, remove
from tests.exports import load_coco
from tests.readers import originals
from tests.readers.traps import Breaks, codes, codes_in

GROUND_TRUTH = "annotations/saco_train.json"
NO_TRAP = {"area"}
"""Codes of what is not as the format says, though no reader looks at it."""

Predictions = list[dict[str, Any]]
Scores = Callable[[Path, Path, str], float]
IOUS = np.linspace(0.5, 0.95, 10)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Ten images of 40 x 32 px in train, of which six have two regions each; each is asked for two phrases."""
    tiny = Tiny(tmp_path_factory.mktemp("tiny"))
    mc.to_sam(mc.load(tiny.folder / "tree"), tiny.folder / "saco", layout="saco")
    return tiny


def cgf1(file: Path, predictions: Path, kind: str = "segm") -> float:
    """The score of `CGF1Evaluator` (sam3/eval/cgf1_eval.py): F1 times whether something is found where something is.

    F1 is of instances matched one to one, in rows with an answer, averaged over IoU of 0.5 to 0.95; the other factor
    is Matthews' correlation over all rows. Rows that are not exhaustive are left out, and so are crowds.
    """
    truth, found, key = load_coco(file), json.loads(predictions.read_text()), {"segm": "segmentation"}.get(kind, kind)
    rows = [row["id"] for row in truth.dataset["images"] if row["is_instance_exhaustive"]]
    if not rows:
        raise ValueError("need at least one array to concatenate")
    hits, extra, missed, said, there = np.zeros(10), np.zeros(10), np.zeros(10), [], []
    for row in rows:
        own = [a[key] for a in truth.imgToAnns[row] if a["category_id"] in truth.cats and not a["iscrowd"]]
        given = [prediction[key] for prediction in found if prediction["image_id"] == row]
        ious = np.asarray(coco_mask.iou(given, own, [0] * len(own))) if own and given else np.zeros((0, 0))
        matched = (ious[linear_sum_assignment(-ious)][:, None] >= IOUS).sum(0)
        hits += matched
        missed += len(own) - matched
        extra += len(given) - matched if own else 0
        said.append(bool(given))
        there.append(bool(own))
    correlation = np.corrcoef(said, there)[0, 1] if min(np.std(said), np.std(there)) else 0.0
    return float((2 * hits / np.maximum(2 * hits + extra + missed, 1)).mean() * correlation)


EVALUATORS: dict[str, Scores] = originals.available(cgf1, originals.cgf1, originals.HAS_SAM3)


@pytest.fixture(params=EVALUATORS)
def scores(request) -> Scores:
    return EVALUATORS[request.param]


@dataclass
class Evaluation:
    """A broken ground truth, and what a model says that is never wrong."""

    folder: Path
    sound: dict[str, Any]
    scores: Scores

    def answers(self) -> Predictions:
        """For each row the regions that the sound file has for this image and these words."""
        texts = {row["id"]: (row["file_name"], row["text_input"]) for row in self.sound["images"]}
        return [
            {**{key: annotation[key] for key in ("bbox", "segmentation")}, "image_id": row["id"], "category_id": 1,
             "score": 0.9}
            for row in json.loads((self.folder / GROUND_TRUTH).read_text())["images"]
            for annotation in self.sound["annotations"]
            if texts[annotation["image_id"]] == (row["file_name"], row["text_input"])
        ]  # fmt: skip

    def score(self, predictions: Predictions | None = None, kind: str = "segm") -> float:
        """1 is perfect."""
        file = self.folder / "predictions.json"
        file.write_text(json.dumps(self.answers() if predictions is None else predictions))
        return self.scores(self.folder / GROUND_TRUTH, file, kind)


Miscounts = Callable[[Evaluation], None]


def scores_less(least: float, most: float, kind: str = "segm") -> Miscounts:
    def suffers(evaluation: Evaluation) -> None:
        assert least <= evaluation.score(kind=kind) <= most

    return suffers


def stops(kind: type[Exception], match: str) -> Miscounts:
    def suffers(evaluation: Evaluation) -> None:
        with pytest.raises(kind, match=match):
            evaluation.score([])

    return suffers


def scores_nothing(evaluation: Evaluation) -> None:
    """Whatever the model says."""
    assert evaluation.score() == pytest.approx(0, abs=1e-6)
    assert evaluation.score(evaluation.answers()[::2]) == pytest.approx(0, abs=1e-6)


def overlooks_what_is_missing(evaluation: Evaluation) -> None:
    """A model that does not answer the row is as good as one that does."""
    answers = [prediction for prediction in evaluation.answers() if prediction["image_id"] != 1]
    assert len(answers) < len(evaluation.answers())
    assert evaluation.score(answers) == pytest.approx(1, abs=1e-3)


def counts_one_phrase_as_two(evaluation: Evaluation) -> None:
    """What results per phrase are sorted by, `original_category_id`, is the number (SAM3_EVAL_API_FROM_JSON_NP)."""
    rows = json.loads((evaluation.folder / GROUND_TRUTH).read_text())["images"]
    assert {int(row["queried_category"]) for row in rows if row["text_input"] == "cut on plate"} == {0, 5}


def row(index: int = 0, **values: Any) -> Breaks:
    return change(GROUND_TRUTH, "images", index, **values)


def answer(**values: Any) -> Breaks:
    return change(GROUND_TRUTH, "annotations", 0, **values)


def only_positives(folder: Path) -> None:
    document = json.loads((folder / GROUND_TRUTH).read_text())
    answered = {annotation["image_id"] for annotation in document["annotations"]}
    document["images"] = [row for row in document["images"] if row["id"] in answered]
    (folder / GROUND_TRUTH).write_text(json.dumps(document))


def rle(counts: str, *size: int) -> Breaks:
    return answer(segmentation={"size": size or [32, 40], "counts": counts})


TRAPS: dict[str, tuple[Breaks, str, Miscounts]] = {
    # name: (what is done to it, code, what the evaluator does)
    "no file": (remove("annotations"), "no-annotation-file", stops(FileNotFoundError, "saco_train")),
    "no rows": (change(GROUND_TRUTH, images=[], annotations=[]), "empty-split", stops(ValueError, "at least one")),
    "no answers": (change(GROUND_TRUTH, annotations=[]), "no-annotations", scores_nothing),
    "no negatives": (only_positives, "no-negatives", scores_nothing),
    "a question twice": (row(1, text_input="cut on plate", queried_category="0"), "duplicate-row",
                         scores_less(0.8, 0.95)),
    "a phrase with two numbers": (row(2, queried_category="5"), "phrase-number", counts_one_phrase_as_two),
    "a row that is not exhaustive": (row(0, is_instance_exhaustive=0), "not-exhaustive", overlooks_what_is_missing),
    "no such row": (answer(image_id=99), "unknown-image", scores_less(0.9, 0.97)),
    "no such category": (answer(category_id=2), "unknown-category", scores_less(0.9, 0.97)),
    "a crowd": (answer(iscrowd=1), "crowd", scores_less(0.9, 0.97)),
    "a box in px": (answer(bbox=[6, 4, 14, 12]), "not-normalised", scores_less(0.9, 0.93, "bbox")),
    "a box of corners": (answer(bbox=[0.15, 0.125, 0.5, 0.5]), "box-and-mask", scores_less(0.9, 0.93, "bbox")),
    "a mask of nothing": (rle("PX1"), "empty-segmentation", scores_less(0.9, 0.93)),
    "a mask of another size": (rle("PX1", 40, 32), "rle-size", scores_less(0.9, 0.93)),
    "run lengths of garbage": (rle("hello"), "bad-rle", scores_less(0.9, 0.93)),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_the_evaluator_falls_into_the_trap_and_validate_names_it(name, tiny, scores, tmp_path):
    breaks, code, suffers = TRAPS[name]
    folder = tiny.copy("saco", tmp_path / "set")
    sound = json.loads((folder / GROUND_TRUTH).read_text())
    assert codes(folder) == set()
    breaks(folder)
    assert code in codes(folder)
    suffers(Evaluation(folder, sound, scores))


def test_on_run_lengths_cut_short_pycocotools_never_comes_back(tiny, tmp_path):
    """The evaluator's first call, in a process of its own; another one of sound masks comes before it."""
    folder = tiny.copy("saco", tmp_path / "set")
    sound = json.loads((folder / GROUND_TRUTH).read_text())["annotations"][0]["segmentation"]
    rle("T6<d00")(folder)
    assert codes(folder) == {"bad-rle"}
    broken = json.loads((folder / GROUND_TRUTH).read_text())["annotations"][0]["segmentation"]
    calls = [f"print(coco_mask.iou([{sound}], [{mask}], [0]), flush=True)" for mask in (sound, broken)]
    script = "\n".join(["from pycocotools import mask as coco_mask", *calls])
    with pytest.raises(subprocess.TimeoutExpired) as stopped:
        subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=5, check=True)
    assert stopped.value.stdout == b"[[1.]]\n"


def test_every_finding_of_sa_co_has_its_trap():
    assert {code for _, code, _ in TRAPS.values()} >= codes_in("SA-Co") - NO_TRAP


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_without_a_trap_the_truth_scores_1_on_the_sample(kind, sample_root, scores, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "set", layout="saco")
    evaluation = Evaluation(tmp_path / "set", json.loads((tmp_path / "set" / GROUND_TRUTH).read_text()), scores)
    assert evaluation.score(kind=kind) == pytest.approx(1, abs=1e-3)
    half = evaluation.answers()[::2]
    assert evaluation.score(half, kind) == pytest.approx(cgf1(tmp_path / "set" / GROUND_TRUTH, evaluation.folder /
                                                              "predictions.json", kind), abs=1e-3)  # fmt: skip
