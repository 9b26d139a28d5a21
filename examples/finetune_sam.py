"""Fine-tune SAM's mask decoder on boxes and points: image encoder and prompt encoder stay as they are.

python examples/finetune_sam.py                            the built-in sample, a tiny network of random weights
mvtec-convert sam mvtec_anomaly_detection --points 3 --negatives 2 --background none --out mvtec-sam
python examples/finetune_sam.py --data mvtec-sam --weights facebook/sam-vit-base --epochs 10 --learning-rate 1e-5

Every second step prompts with the box, every other with the points. What is frozen is computed once for each image
and kept (4 MB for each with real weights). Random weights learn to fill boxes, no more: a floor, not what SAM can do.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as coco_mask
from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

import mvtec_convert as mc


def tiny() -> tuple[SamModel, SamProcessor]:
    """SAM's parts, small enough for a CPU: images of 128 px."""
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 128, "window_size": 0}
    vision |= {"output_channels": 32, "num_pos_feats": 16, "global_attn_indexes": [0], "initializer_range": 0.1}
    prompts = {"hidden_size": 32, "image_size": 128}
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    images = SamImageProcessor(size={"longest_edge": 128}, pad_size={"height": 128, "width": 128})
    return SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)), SamProcessor(images)


def read(file: Path, model: SamModel, processor: SamProcessor) -> dict:
    """One image, as the frozen parts see it, with its prompts and its masks (0 and 1, at its own size)."""
    document = json.loads(file.read_text())
    regions = document["annotations"]
    prompts = [region["prompts"] for region in regions]
    points = min(len(prompt["points"]) for prompt in prompts)  # the processor wants as many of each region
    with Image.open(file.parent / document["image"]["file_name"]) as image:
        inputs = processor(
            image.convert("RGB"),
            input_boxes=[[prompt["box"] for prompt in prompts]],  # [image][region][x0, y0, x1, y1]
            input_points=[[prompt["points"][:points] for prompt in prompts]],  # [image][region][point][x, y]
            input_labels=[[prompt["labels"][:points] for prompt in prompts]],
            return_tensors="pt",
        )
    masks = torch.stack([torch.from_numpy(coco_mask.decode(region["segmentation"])) for region in regions])
    prompts = {name: inputs[name].to(model.device) for name in ("input_boxes", "input_points", "input_labels")}
    prompts["input_boxes"], prompts["input_points"] = prompts["input_boxes"].float(), prompts["input_points"].float()
    embeddings = model.get_image_embeddings(inputs["pixel_values"].to(model.device))
    sizes = {name: inputs[name].tolist() for name in ("original_sizes", "reshaped_input_sizes")}
    return {"embeddings": embeddings, "masks": masks.float().to(model.device), "sizes": sizes, **prompts}


def predict(model: SamModel, processor: SamProcessor, image: dict, prompt: str) -> torch.Tensor:
    """Logits at the image's own size, shape (regions, height, width); `prompt` is box or points."""
    names = ["input_boxes"] if prompt == "box" else ["input_points", "input_labels"]
    given = {name: image[name] for name in names}
    masks = model(image_embeddings=image["embeddings"], multimask_output=False, **given).pred_masks
    return processor.image_processor.post_process_masks(masks, **image["sizes"], binarize=False)[0][:, 0]


def loss_of(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice and focal loss, 1 to 20, as SAM was trained (Kirillov et al., ICCV 2023, appendix A)."""
    chance = logits.sigmoid()
    overlap = (chance * masks).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (chance.sum((1, 2)) + masks.sum((1, 2)) + 1)
    miss = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    focal = (miss * (1 - torch.exp(-miss)) ** 2 * torch.where(masks > 0, 0.25, 0.75)).mean((1, 2))
    return (dice + 20 * focal).mean()


@torch.no_grad()
def mean_iou(model: SamModel, processor: SamProcessor, images: list[dict], prompt: str) -> float:
    """Mean IoU of what is predicted for each region."""
    found = [(predict(model, processor, image, prompt) > 0, image["masks"] > 0) for image in images]
    ious = [(a & b).sum((1, 2)) / (a | b).sum((1, 2)) for a, b in found]
    return torch.cat(ious).mean().item()


def main() -> None:
    """Train on train, look at val."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="what `mvtec-convert sam` wrote; without it the built-in sample")
    parser.add_argument("--weights", help="for example facebook/sam-vit-base, -large, -huge")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, help="1e-5 with --weights, else 2e-3")
    args = parser.parse_args()
    torch.manual_seed(0)
    if args.weights:
        model, processor = SamModel.from_pretrained(args.weights), SamProcessor.from_pretrained(args.weights)
    else:
        model, processor = tiny()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.requires_grad_(False)
    model.mask_decoder.requires_grad_(True)

    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            mc.write_sample(Path(folder, "sample"))
            carpet = mc.load(Path(folder, "sample")).filter(category="carpet")
            mc.to_sam(carpet, Path(folder, "sam"), points=3, negatives=2)
        files = {split: sorted((args.data or Path(folder, "sam")).glob(f"{split}/*.json")) for split in ("train", "val")}
        # Good images have no mask to learn from.
        images = {
            split: [read(file, model, processor) for file in found if json.loads(file.read_text())["annotations"]]
            for split, found in files.items()
        }

    before = {prompt: mean_iou(model, processor, images["val"], prompt) for prompt in ("box", "points")}
    rate = args.learning_rate or (1e-5 if args.weights else 2e-3)
    optimizer = torch.optim.AdamW(model.mask_decoder.parameters(), lr=rate, weight_decay=0.0)
    losses = []
    for _ in range(args.epochs):
        total = 0.0
        for step, i in enumerate(torch.randperm(len(images["train"])).tolist()):
            image = images["train"][i]
            loss = loss_of(predict(model, processor, image, ("box", "points")[step % 2]), image["masks"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(images["train"]))
    print(f"{args.weights or 'a tiny SAM of random weights'}, {len(images['train'])} images, {args.epochs} epochs")
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}")
    for prompt, first in before.items():
        print(f"IoU on val, prompted with {prompt}: {first:.3f} to {mean_iou(model, processor, images['val'], prompt):.3f}")


if __name__ == "__main__":
    main()
