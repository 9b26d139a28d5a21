"""SAM 3: its processor and a small model of random weights take the phrases, boxes and masks of an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from transformers import CLIPTokenizer, Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor

import mvtec_convert as mc
from mvtec_convert.phrases import built_in
from tests.exports import extent, true_masks

torch.set_num_threads(2)

SIDE, MASK_SIDE, TOKENS = 112, 32, 32
LETTERS = "abcdefghijklmnopqrstuvwxyz-"

PROOFS = [
    {
        "target": "SAM 3",
        "command": "mvtec-convert sam --layout sam3",
        "reader": "transformers, Sam3Processor and Sam3Model",
        "also": "Sam3ImageDataset of facebookresearch/sam3 at 99d02f2, 2026-11-23",
        "package": "transformers",
        "loses": "nothing: masks and boxes exact, every phrase within 32 tokens; good images are negatives",
    },
    {
        "target": "SA-Co evaluation",
        "command": "mvtec-convert sam --layout saco",
        "reader": "transformers, Sam3Processor; masks by pycocotools",
        "also": "CGF1Evaluator of facebookresearch/sam3 at 99d02f2, 2026-11-23, where the truth scores 1.00",
        "package": "transformers",
        "loses": "nothing: masks exact, every phrase within 32 tokens",
    },
]


@pytest.fixture(scope="module")
def processor() -> Sam3Processor:
    """SAM 3's, with a tokenizer that takes each letter for a token: no other can need more tokens for a phrase."""
    pieces = [*LETTERS, *(letter + "</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[])
    images = Sam3ImageProcessor(
        size={"height": SIDE, "width": SIDE}, mask_size={"height": MASK_SIDE, "width": MASK_SIDE}
    )
    return Sam3Processor(images, tokenizer)


def tiny_model(vocabulary: int) -> Sam3Model:
    small = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": SIDE, "patch_size": 14, "window_size": 4, "global_attn_indexes": [1],
        "pretrain_image_size": SIDE,
    }  # fmt: skip
    text = {
        "model_type": "clip_text_model", "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64,
        "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": TOKENS,
        "bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1,
    }  # fmt: skip
    config = Sam3Config(
        vision_config={
            "backbone_config": backbone, "fpn_hidden_size": 32, "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        },
        text_config=text, geometry_encoder_config=small, detr_encoder_config=small,
        detr_decoder_config={**small, "num_queries": 20},
        mask_decoder_config={"hidden_size": 32, "num_upsampling_stages": 3, "num_attention_heads": 2},
    )  # fmt: skip
    torch.manual_seed(0)
    return Sam3Model(config)


@pytest.fixture(scope="module")
def export(sample_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sam3") / "out"
    mc.to_sam(mc.load(sample_root / "carpet"), out, layout="sam3")
    return out


def questions(folder: Path, split: str) -> list[dict[str, Any]]:
    """One for each image and each phrase, as `COCO_FROM_JSON` of facebookresearch/sam3 asks.

    Image, text, boxes (corners, px), and the union of the masks (height, width).
    """
    content = json.loads((folder / split / "_annotations.coco.json").read_text())
    found = []
    for record in content["images"]:
        with Image.open(folder / split / record["file_name"]) as opened:
            image = opened.convert("RGB")
        for category in content["categories"]:
            own = [
                annotation for annotation in content["annotations"]
                if (annotation["image_id"], annotation["category_id"]) == (record["id"], category["id"])
            ]  # fmt: skip
            mask = np.zeros((image.height, image.width), np.uint8)
            for annotation in own:
                rles = coco_mask.frPyObjects(annotation["segmentation"], image.height, image.width)
                mask |= coco_mask.decode(coco_mask.merge(rles))
            boxes = [[x, y, x + width, y + height] for x, y, width, height in (a["bbox"] for a in own)]
            name = Path(record["file_name"]).stem
            found.append({"name": name, "image": image, "text": category["name"], "boxes": boxes, "mask": mask})
    return found


def test_every_phrase_of_the_vocabulary_fits_whatever_the_tokenizer(processor):
    phrases = [phrase for types in built_in().known.values() for known in types.values() for phrase in known]
    assert len(phrases) == 293
    read = processor(text=phrases, return_tensors="pt")
    assert read["input_ids"].shape == (293, TOKENS)
    unknown = processor.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    letters = [len(phrase.replace(" ", "")) for phrase in phrases]
    assert (read["input_ids"] != unknown).sum(1).tolist() == [count + 1 for count in letters]  # and the beginning
    assert read["attention_mask"].sum(1).tolist() == [count + 2 for count in letters]
    assert max(letters) + 2 <= TOKENS


def test_the_processor_takes_every_positive_with_its_boxes(export, processor, sample_root):
    truth = true_masks(sample_root)
    seen = 0
    for split in ("train", "test"):
        for question in questions(export, split):
            if not question["boxes"]:
                continue
            image = question["image"]
            read = processor(
                images=image, text=question["text"], input_boxes=[question["boxes"]], return_tensors="pt"
            )  # fmt: skip
            x, y, width, height = (read["input_boxes"][0] * torch.tensor([image.width, image.height] * 2)).T
            corners = torch.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1).numpy()
            assert np.allclose(corners, question["boxes"], atol=1e-3)
            assert read["original_sizes"].tolist() == [[image.height, image.width]]
            assert np.array_equal(question["mask"], truth[question["name"]][1])
            around = (*corners.min(0)[:2], *corners.max(0)[2:])
            assert around == pytest.approx(extent(truth[question["name"]][1]), abs=1e-3)
            seen += 1
    assert seen == 23


def test_good_images_and_other_defects_are_negatives(export):
    asked = [question for split in ("train", "test") for question in questions(export, split)]
    assert len(asked) == 37 * 5
    negatives = [question for question in asked if not question["boxes"]]
    assert len(negatives) == 14 * 5 + 23 * 4
    assert not any(question["mask"].any() for question in negatives)


def test_a_small_sam_3_learns_from_it(export, processor):
    asked = questions(export, "train")
    positives = [question for question in asked if question["boxes"]][:3]
    negative = next(question for question in asked if "_good_" in question["name"])
    batch = [*positives, negative]
    read = processor(
        images=[question["image"] for question in batch], text=[question["text"] for question in batch],
        segmentation_maps=[question["mask"] for question in batch], return_tensors="pt",
    )  # fmt: skip
    presence = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    masks = read.pop("labels").float().reshape(4, 1, MASK_SIDE, MASK_SIDE)
    assert masks.flatten(1).max(1).values.tolist() == [1, 1, 1, 0], "masks for a loss are 0 and 1"
    inputs = {key: read[key] for key in ("pixel_values", "input_ids", "attention_mask")}
    model = tiny_model(len(processor.tokenizer)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    losses = []
    for _ in range(20):
        out = model(**inputs)
        loss = loss_of(out.semantic_seg, masks) + loss_of(out.presence_logits, presence)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.8 * losses[0], losses


def test_the_rows_of_sa_co_are_questions_it_takes(carpet, processor, sample_root, tmp_path):
    mc.to_sam(carpet, tmp_path / "out", layout="saco")
    truth = true_masks(sample_root)
    seen = 0
    for split in ("train", "val"):
        content = json.loads((tmp_path / "out/annotations" / f"saco_{split}.json").read_text())
        for row in content["images"]:
            # as SAM3_EVAL_API_FROM_JSON_NP of facebookresearch/sam3 reads a row
            number, text = int(row["queried_category"]), row["text_input"]
            own = [a for a in content["annotations"] if a["image_id"] == row["id"]]
            if not own:
                continue
            with Image.open(tmp_path / "out/images" / row["file_name"]) as opened:
                image = opened.convert("RGB")
            boxes = [
                [x * image.width, y * image.height, (x + width) * image.width, (y + height) * image.height]
                for x, y, width, height in (annotation["bbox"] for annotation in own)
            ]
            read = processor(images=image, text=text, input_boxes=[boxes], return_tensors="pt")
            wanted = torch.tensor([[x + w / 2, y + h / 2, w, h] for x, y, w, h in (a["bbox"] for a in own)])
            assert torch.allclose(read["input_boxes"][0], wanted, atol=1e-6)
            union = coco_mask.decode(coco_mask.merge([annotation["segmentation"] for annotation in own]))
            assert np.array_equal(union, truth[Path(row["file_name"]).stem][1])
            assert 0 <= number < 5
            seen += 1
    assert seen == 23
