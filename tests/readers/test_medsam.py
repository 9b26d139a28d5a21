"""MedSAM: its trainer's rules, read from its source, and one of its steps.

The trainer is a script. What its `NpyDataset` does to a folder is said again here, from
https://github.com/bowang-lab/MedSAM/blob/d71e8a1/train_one_gpu.py.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from transformers import SamConfig, SamModel

import mvtec_convert as mc
from tests.exports import regions_of, same_regions, true_masks

torch.set_num_threads(1)  # a second one only waits where the machine has other work

SIDE = 1024

PROOF = {
    "target": "MedSAM",
    "command": "mvtec-convert sam --layout medsam",
    "reader": "PyTorch, by the rules of MedSAM's NpyDataset",
    "also": "NpyDataset of bowang-lab/MedSAM at d71e8a1, 2026-11-23",
    "package": "torch",
    "loses": "good images, which the trainer cannot use; classes and aspect ratio, kept in regions.json; masks come "
    "back exactly up to 1024 px a side, at 2448 px with a mean IoU of 0.94",
}


class Arrays(Dataset):
    """What the trainer yields: (image (3, 1024, 1024), mask (1, 1024, 1024) of one id, box, name)."""

    def __init__(self, root: Path, shift: int = 20) -> None:
        self.root, self.shift = root, shift
        masks = sorted((root / "gts").glob("**/*.npy"))
        self.masks = [path for path in masks if (root / "imgs" / path.name).is_file()]  # others are passed over

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int):
        path = self.masks[index]
        image = np.load(self.root / "imgs" / path.name, "r", allow_pickle=True).transpose(2, 0, 1)
        if not (np.max(image) <= 1 and np.min(image) >= 0):
            raise ValueError("image should be normalized to [0, 1]")
        ids = np.load(path, "r", allow_pickle=True)
        mask = np.uint8(ids == random.choice(np.unique(ids)[1:].tolist()))  # the smallest value is background
        if not (mask.max() == 1 and mask.min() == 0):
            raise ValueError("ground truth should be 0, 1")
        y, x = np.where(mask > 0)
        height, width = mask.shape
        box = [max(0, x.min() - self.moved()), max(0, y.min() - self.moved()),
               min(width, x.max() + self.moved()), min(height, y.max() + self.moved())]  # fmt: skip
        return torch.tensor(image).float(), torch.tensor(mask[None]).long(), torch.tensor(box).float(), path.name

    def moved(self) -> int:
        return random.randint(0, self.shift)


@pytest.fixture(scope="module")
def out(sample_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("medsam") / "out"
    mc.to_sam(mc.load(sample_root).filter(category="hazelnut"), folder, layout="medsam")
    yield folder
    for path in folder.rglob("*.npy"):
        path.unlink()  # 13 MB each


@pytest.fixture(autouse=True)
def seed() -> None:
    random.seed(0)
    torch.manual_seed(0)


def test_every_defective_image_reaches_the_trainer(out, sample_root):
    names = {name for name in true_masks(sample_root) if name.startswith("hazelnut_")}
    read = {}
    for split in ("train", "val"):
        arrays = Arrays(out / split)
        assert len(arrays) == len(list((out / split / "imgs").iterdir()))
        for image, mask, box, name in arrays:
            assert (image.dtype, image.shape) == (torch.float32, (3, SIDE, SIDE))
            assert (mask.dtype, mask.shape) == (torch.int64, (1, SIDE, SIDE))
            assert (image.min().item(), image.max().item()) == (0, 1)
            x0, y0, x1, y1 = box.tolist()
            assert 0 <= x0 < x1 <= SIDE
            assert 0 <= y0 < y1 <= SIDE
            read[name.removesuffix(".npy")] = split
    assert read.keys() == names
    assert set(read.values()) == {"train", "val"}


def test_ids_scaled_back_are_the_regions(out, sample_root):
    """By Pillow's nearest neighbour, to the size that regions.json keeps."""
    truth = true_masks(sample_root)
    for split in ("train", "val"):
        for record in json.loads((out / split / "regions.json").read_text())["images"]:
            ids = Image.fromarray(np.load(out / split / "gts" / f"{record['name']}.npy"))
            back = np.asarray(ids.resize((record["width"], record["height"]), Image.Resampling.NEAREST))
            found = [(back == region["id"]).astype(np.uint8) for region in record["regions"]]
            defect, mask = truth[record["name"]]
            assert same_regions(found, regions_of(mask))
            assert {region["class_name"] for region in record["regions"]} == {defect}


def test_images_are_the_sources_squeezed(out, sample_root):
    for path in sorted(out.glob("*/imgs/*.npy"))[::3]:
        _, defect, stem = path.stem.split("_")
        with Image.open(sample_root / "hazelnut" / "test" / defect / f"{stem}.png") as image:
            small = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX), float)
        array = np.load(path)
        mean = array.reshape(64, SIDE // 64, 64, SIDE // 64, 3).mean((1, 3))
        stretched = np.polyfit(small.ravel(), mean.ravel(), 1)
        assert np.abs(np.polyval(stretched, small) - mean).mean() < 0.01
        assert np.corrcoef(small.ravel(), mean.ravel())[0, 1] > 0.995
        assert stretched[0] * 255 >= 0.99


def test_what_the_trainer_fails_on_is_what_the_check_finds(out, tmp_path):
    """Each trap: the rules above raise or pass an image over, and validation says so."""
    name = next((out / "val" / "gts").iterdir()).name
    image, mask = (np.load(out / "val" / part / name) for part in ("imgs", "gts"))
    for picture, ids, code, error in (
        (image, mask * 0, "no-ids", IndexError),
        (image, np.ones_like(mask), "no-background", IndexError),
        (image * 255, mask, "out-of-range", ValueError),
        (None, mask, "missing-image", IndexError),
    ):
        for part, array in (("imgs", picture), ("gts", ids)):
            (tmp_path / code / part).mkdir(parents=True)
            if array is not None:
                np.save(tmp_path / code / part / name, array)
        assert mc.validate(tmp_path / code).findings[0].code == code
        with pytest.raises(error):
            Arrays(tmp_path / code)[0]
        shutil.rmtree(tmp_path / code)


def test_a_step_of_its_training_lowers_the_loss(out):
    """Encoder and decoder are trained by box, Dice and cross entropy at 1024 x 1024, as the script does."""
    size = {"image_size": SIDE, "patch_size": 64, "hidden_size": 32}
    config = SamConfig(
        vision_config={**size, "output_channels": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                       "window_size": 0, "num_pos_feats": 16, "global_attn_indexes": [0], "initializer_range": 0.02},
        prompt_encoder_config=size,
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
    )  # fmt: skip
    config.vision_config.scale = 1
    model = SamModel(config)
    model.prompt_encoder.requires_grad_(False)
    trained = [*model.vision_encoder.parameters(), *model.mask_decoder.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=5e-3, weight_decay=0.01)
    image, mask, box, _ = next(iter(DataLoader(Arrays(out / "train", shift=0), batch_size=2)))
    losses = []
    for _ in range(40):
        low = model(image, input_boxes=box[:, None], multimask_output=False).pred_masks[:, 0]
        logits = nn.functional.interpolate(low, (SIDE, SIDE), mode="bilinear", align_corners=False)
        chance, wanted = logits.sigmoid(), mask.float()
        dice = 1 - 2 * (chance * wanted).sum() / ((chance**2).sum() + (wanted**2).sum())
        loss = dice + nn.functional.binary_cross_entropy_with_logits(logits, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0], losses
