"""The trainers' own readers, for whoever has their repositories; nothing of them is kept here.

They are in no package that the extra `examples` could hold.

    cd ..; git clone https://github.com/facebookresearch/sam2
    git clone https://github.com/facebookresearch/sam3
    git clone https://github.com/bowang-lab/MedSAM; cd -
    pip install decord einops ftfy iopath tensordict timm 'setuptools<81'
    PYTHONPATH=../sam2:../sam3:../MedSAM pytest tests/readers -k traps -n 0

Without them the traps are set for the rules that each reader's proof says again.
"""

from __future__ import annotations

import ast
import glob
import gzip
import os
import random
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset


def is_there(name: str) -> bool:
    """Whether a module could be imported."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of its parent
        return False


HAS_SAM2, HAS_SAM3, HAS_MEDSAM = map(is_there, ("training.dataset.vos_dataset", "sam3", "train_one_gpu"))


def available(rules: Any, original: Any, is_available: bool) -> dict[str, Any]:
    """What to set the traps for, by name: the rules as stated, and the original where it is there."""
    return {"rules": rules, **({"original": original} if is_available else {})}


@contextmanager
def others_warnings():
    """Warnings of code that is not ours end nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- SAM 2 -----------------------------------------------------------------------------------------------------------


def sam2_split(folder: Path, training: bool = False) -> Any:
    """`VOSDataset` over `SA1BRawDataset`, images and masks as they are read.

    Where it evaluates it draws all masks, and raises; where it trains it draws up to three, and takes another image at
    random for one that it cannot load.
    """
    with others_warnings():
        from training.dataset.vos_dataset import VOSDataset
        from training.dataset.vos_raw_dataset import SA1BRawDataset
        from training.dataset.vos_sampler import EvalSampler, RandomUniformSampler

        sampler = RandomUniformSampler(num_frames=1, max_num_objects=3) if training else EvalSampler()
        return VOSDataset([], training, SA1BRawDataset(str(folder), str(folder)), sampler, multiplier=1)


# --- SAM 3 -----------------------------------------------------------------------------------------------------------


def sam3_split(folder: Path, file: Path, loader: str = "COCO_FROM_JSON", transforms: Sequence[Callable] = ()) -> Any:
    """`Sam3ImageDataset` with masks; it takes the next image for one that it cannot load."""
    with others_warnings():
        from sam3.train.data import coco_json_loaders
        from sam3.train.data.sam3_image_dataset import Sam3ImageDataset

        return Sam3ImageDataset(
            str(folder), str(file), transforms, max_ann_per_img=200, multiplier=1, training=True,
            load_segmentation=True, coco_json_loader=getattr(coco_json_loaders, loader),
        )  # fmt: skip


def sam3_transforms(side: int | None = None) -> list[Callable]:
    """Those of roboflow_v100_full_ft_100_images.yaml that leave out annotations or change masks; at `side` px."""
    with others_warnings():
        from sam3.train.transforms import basic_for_api as basic
        from sam3.train.transforms import filter_query_transforms as filters
        from sam3.train.transforms.segmentation import DecodeRle

        only = filters.FlexibleFilterFindGetQueries
        kept = [only(filters.FilterCrowds()), DecodeRle()]
        if side is None:
            return kept
        resize = basic.RandomResizeAPI([side], max_size=side, square=True, consistent_transform=False)
        return [*kept, resize, basic.ToTensorAPI(), only(filters.FilterEmptyTargets())]


def sam3_tokenizer(folder: Path) -> Any:
    """`SimpleTokenizer` without a vocabulary, which is a download: each letter is a token."""
    with others_warnings():
        from sam3.model.tokenizer_ve import SimpleTokenizer

        with gzip.open(folder / "vocabulary.gz", "wt") as file:
            file.write("no pairs\n")
        return SimpleTokenizer(bpe_path=str(folder / "vocabulary.gz"))


def cgf1(file: Path, predictions: Path, kind: str = "segm") -> float:
    """The headline score of `CGF1Evaluator`, which scripts/eval/standalone_cgf1.py prints."""
    with others_warnings():
        from sam3.eval.cgf1_eval import CGF1Evaluator

        return CGF1Evaluator(str(file), kind).evaluate(str(predictions))[f"cgF1_eval_{kind}_cgF1"]


# --- MedSAM ----------------------------------------------------------------------------------------------------------


def medsam_split(folder: Path) -> Dataset:
    """`NpyDataset`, cut out of the script, which would begin to train where it were imported."""
    script = find_spec("train_one_gpu").origin
    tree = ast.parse(Path(script).read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "NpyDataset"]
    modules = {"np": np, "torch": torch, "glob": glob, "os": os, "random": random}
    names = {**modules, "join": os.path.join, "Dataset": Dataset}
    exec(compile(tree, script, "exec"), names)
    return names["NpyDataset"](str(folder))
