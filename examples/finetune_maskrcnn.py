"""Fine-tune torchvision's Mask R-CNN on a COCO export; torchvision reads it as it is, masks exact to the pixel.

python examples/finetune_maskrcnn.py                               the built-in sample, a small network, random weights

mvtec-convert coco mvtec_anomaly_detection --category screw
python examples/finetune_maskrcnn.py --data screw-coco --weights COCO_V1 --epochs 20 --min-size 800 --batch 2

Random weights learn little in a few steps: watch the loss fall. With `--weights COCO_V1`, torchvision's own
recipe of fine-tuning is run: ResNet-50, new box and mask heads, SGD of rate 0.005, a tenth of it for the last third.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.transforms import v2

import mvtec_convert as mc


def split(data: Path, name: str) -> CocoDetection:
    """One split: images as tensors in [0, 1], boxes as corners, masks, labels from 1 (0 is background)."""
    transforms = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    file = data / "annotations" / f"instances_{name}.json"
    images = CocoDetection(data / "images" / name, file, transforms=transforms)
    return wrap_dataset_for_transforms_v2(images, target_keys=("boxes", "masks", "labels"))


def batch_of(samples: list[tuple]) -> tuple[list, list]:
    """Images and targets; a good image, for which torchvision gives no target, gets one without boxes."""
    targets = []
    for image, target in samples:
        none = {"boxes": torch.zeros(0, 4), "masks": torch.zeros(0, *image.shape[-2:]), "labels": torch.zeros(0).long()}
        targets.append({key: target.get(key, nothing) for key, nothing in none.items()})
    return [image for image, _ in samples], targets


def network(classes: int, weights: str | None, size: int) -> MaskRCNN:
    """Mask R-CNN for so many classes, background included."""
    if weights is None:
        backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
        fewer = {"rpn_post_nms_top_n_train": 100, "box_batch_size_per_image": 32}  # regions looked at; for speed
        return MaskRCNN(backbone, classes, min_size=size, max_size=2 * size, **fewer)
    model = maskrcnn_resnet50_fpn(weights=weights, min_size=size, max_size=2 * size)
    box, mask = model.roi_heads.box_predictor, model.roi_heads.mask_predictor
    model.roi_heads.box_predictor = FastRCNNPredictor(box.cls_score.in_features, classes)
    model.roi_heads.mask_predictor = MaskRCNNPredictor(mask.conv5_mask.in_channels, 256, classes)
    return model


def run(model: MaskRCNN, batches: DataLoader, device: str, optimizer: torch.optim.Optimizer | None = None) -> float:
    """One pass over the batches; the mean of the summed losses. It learns where there is an optimizer."""
    model.train()  # torchvision computes losses in this mode only
    total = 0.0
    with torch.set_grad_enabled(optimizer is not None):
        for images, targets in batches:
            targets = [{key: value.to(device) for key, value in target.items()} for target in targets]
            loss = sum(model([image.to(device) for image in images], targets).values())
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimizer.step()
            total += loss.item()
    return total / len(batches)


def main() -> None:
    """Train, and print the losses of each epoch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder written by mvtec-convert coco; without it, the sample")
    parser.add_argument("--weights", help="COCO_V1 for torchvision's, trained on COCO; without it, random ones")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--min-size", type=int, default=96, help="px of the shorter side; 800 is torchvision's own")
    parser.add_argument("--batch", type=int, default=4)
    args = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    with tempfile.TemporaryDirectory() as folder:
        data = args.data or Path(folder, "coco")
        if args.data is None:
            mc.write_sample(Path(folder, "sample"))
            mc.to_coco(mc.load(Path(folder, "sample", "carpet")), data)
        train, val = split(data, "train"), split(data, "val")
        train_batches = DataLoader(train, args.batch, shuffle=True, collate_fn=batch_of)
        val_batches = DataLoader(val, args.batch, collate_fn=batch_of)
        model = network(1 + len(train.coco.cats), args.weights, args.min_size).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9, weight_decay=0.0005)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [max(1, args.epochs * 2 // 3)])
        print(f"{len(train)} images to learn from, {len(val)} to judge by, {len(train.coco.cats)} classes")
        for epoch in range(1, args.epochs + 1):
            learnt = run(model, train_batches, device, optimizer)
            print(f"epoch {epoch}: loss {learnt:.3f} in training, {run(model, val_batches, device):.3f} on val")
            scheduler.step()


if __name__ == "__main__":
    main()
