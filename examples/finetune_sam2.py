"""Fine-tune SAM 2's mask decoder on boxes and points of images; the rest of it stays as it is.

python examples/finetune_sam2.py                           the built-in sample, a tiny network of random weights
mvtec-convert sam mvtec_anomaly_detection --layout sam2 --points 3 --negatives 2 --out mvtec-sam2
python examples/finetune_sam2.py --data mvtec-sam2 --weights facebook/sam2.1-hiera-tiny --epochs 10

Every second step prompts with boxes, every other with points. What the image encoder makes of an image is computed
once and kept (17 MB with real weights). Random weights know nothing: what they learn is a floor, not what SAM 2 can do.
SAM 2's own trainer, which trains all of it, reads the same folder; see `SA1BRawDataset` in its training/README.md.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

import mvtec_convert as mc


def tiny() -> tuple[Sam2Model, Sam2Processor]:
    """SAM 2's parts for images of 96 px."""
    torch.set_num_threads(1)  # quickest for so small a network
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model", "image_size": [96, 96], "hidden_size": 16,
                "patch_kernel_size": [3, 3], "patch_stride": [2, 2], "patch_padding": [1, 1],
                "blocks_per_stage": [1, 1, 2], "embed_dim_per_stage": [16, 32, 64],
                "num_attention_heads_per_stage": [1, 2, 2], "window_size_per_stage": [4, 4, 4],
                "num_query_pool_stages": 2, "global_attention_blocks": [3], "initializer_range": 0.2,
            },
            "backbone_channel_list": [64, 32, 16], "backbone_feature_sizes": [[48, 48], [24, 24], [12, 12]],
            "fpn_hidden_size": 32, "fpn_top_down_levels": [1, 2],
        },
        prompt_encoder_config={"image_size": 96, "patch_size": 8, "hidden_size": 32},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        initializer_range=0.05,
    )  # fmt: skip
    return Sam2Model(config), Sam2Processor(Sam2ImageProcessor(size={"height": 96, "width": 96}))


def read(file: Path, model: Sam2Model, processor: Sam2Processor) -> dict:
    """One image as its encoder sees it, with its prompts, and its masks (0 and 1) at its own size."""
    document = json.loads(file.read_text())
    regions = document["annotations"]
    prompts = [region["prompts"] for region in regions]
    points = min(len(prompt["points"]) for prompt in prompts)  # the processor wants as many of each region
    with Image.open(file.parent / document["image"]["file_name"]) as image:
        inputs = processor(
            image.convert("RGB"),
            input_boxes=[[prompt["box"] for prompt in prompts]],  # [image][region][x0, y0, x1, y1]
            input_points=[[prompt["points"][:points] for prompt in prompts]],  # [image][region][point][x, y]
            input_labels=[[prompt["labels"][:points] for prompt in prompts]],  # [image][region][point]
            return_tensors="pt",
        ).to(model.device, torch.float32)
    masks = torch.stack([torch.from_numpy(coco_mask.decode(region["segmentation"])) for region in regions])
    embeddings = model.get_image_embeddings(inputs.pop("pixel_values"))
    return {**inputs, "image_embeddings": embeddings, "masks": masks.to(model.device, torch.float32)}


def predict(model: Sam2Model, processor: Sam2Processor, image: dict, prompt: str) -> torch.Tensor:
    """Logits at the image's own size, shape (regions, height, width); `prompt` is boxes or points."""
    names = {"boxes": ["input_boxes"], "points": ["input_points", "input_labels"]}[prompt]
    given = {name: image[name] for name in ["image_embeddings", *names]}
    masks = model(**given, multimask_output=False).pred_masks
    return processor.post_process_masks(masks, image["original_sizes"], binarize=False)[0][:, 0]


def loss_of(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Focal and Dice loss, 20 to 1, as SAM 2 was trained (Ravi et al., 2024, appendix D)."""
    chance = logits.sigmoid()
    overlap, total = (chance * masks).sum((1, 2)), chance.sum((1, 2)) + masks.sum((1, 2))
    miss = binary_cross_entropy_with_logits(logits, masks, reduction="none")
    focal = miss * (1 - torch.exp(-miss)) ** 2 * torch.where(masks > 0, 0.25, 0.75)
    return (20 * focal.mean((1, 2)) + 1 - (2 * overlap + 1) / (total + 1)).mean()


@torch.no_grad()
def mean_iou(model: Sam2Model, processor: Sam2Processor, images: list[dict], prompt: str) -> float:
    """Mean IoU of what is predicted for each region."""
    pairs = [(predict(model, processor, image, prompt) > 0, image["masks"] > 0) for image in images]
    return torch.cat([(a & b).sum((1, 2)) / (a | b).sum((1, 2)) for a, b in pairs]).mean().item()


def main() -> None:
    """Train on train, look at val."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="what `mvtec-convert sam --layout sam2` wrote; without it the built-in sample"
    )
    parser.add_argument("--weights", help="for example facebook/sam2.1-hiera-tiny, -small or -large")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, help="1e-5 with --weights, else 3e-3")
    args = parser.parse_args()
    torch.manual_seed(0)
    pretrained = args.weights and (Sam2Model.from_pretrained(args.weights), Sam2Processor.from_pretrained(args.weights))
    model, processor = pretrained or tiny()
    # In training it answers with the one mask that is trained, in evaluation at times with another of its four.
    model.train().to("cuda" if torch.cuda.is_available() else "cpu").requires_grad_(False)
    model.mask_decoder.requires_grad_(True)

    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            mc.write_sample(Path(folder, "sample"))
            carpet = mc.load(Path(folder, "sample")).filter(category="carpet")
            mc.to_sam(carpet, Path(folder, "sam2"), layout="sam2", points=3, negatives=2)
        data = args.data or Path(folder, "sam2")
        train, val = (
            [read(file, model, processor) for file in sorted((data / split).glob("*.json"))]
            for split in ("train", "val")
        )

    before = {prompt: mean_iou(model, processor, val, prompt) for prompt in ("boxes", "points")}
    rate = args.learning_rate or (1e-5 if args.weights else 3e-3)
    optimizer = torch.optim.AdamW(model.mask_decoder.parameters(), lr=rate, weight_decay=0)
    losses = []
    for _ in range(args.epochs):
        total = 0.0
        for step, i in enumerate(torch.randperm(len(train)).tolist()):
            logits = predict(model, processor, train[i], ("boxes", "points")[step % 2])
            loss = loss_of(logits, train[i]["masks"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(train))

    print(f"{args.weights or 'a tiny SAM 2 of random weights'}: {len(train)} images, {args.epochs} epochs")
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}")
    for prompt, iou in before.items():
        print(f"IoU on val, prompted with {prompt}: {iou:.3f} to {mean_iou(model, processor, val, prompt):.3f}")


if __name__ == "__main__":
    main()
