"""Train Ultralytics YOLO on MVTec AD: boxes, masks, rotated boxes, or a class for each image.

python examples/train_yolo.py                              the built-in sample, a tiny network from scratch, on CPU
python examples/train_yolo.py --task segment               or obb, or classify
python examples/train_yolo.py --data mvtec_anomaly_detection --category screw --task segment --weights yolo11n-seg.pt

The first two show that the loss falls; nothing can be learnt in seconds from random weights. The last one is the real
thing: MVTec AD's images are up to 1024 px, and its small defects want all of that.
"""

import argparse
import csv
import logging
import tempfile
from pathlib import Path

import torch
from ultralytics import YOLO

import mvtec_convert as mc

SUFFIX = {"detect": "", "segment": "-seg", "obb": "-obb", "classify": "-cls"}

# `mask_ratio=1` learns masks at the size of the images, not at a quarter of it. Parts lie any way round, so flip both.
REAL = {"epochs": 100, "imgsz": 1024, "batch": 8, "patience": 30, "flipud": 0.5, "mask_ratio": 1}
TINY = {
    "epochs": 6, "imgsz": 96, "batch": 8, "nbs": 8, "optimizer": "AdamW", "lr0": 2e-3, "warmup_epochs": 0,
    "device": "cpu", "workers": 0, "plots": False, "val": False,
    "mosaic": 0.0, "scale": 0.0, "translate": 0.0, "hsv_v": 0.0, "erasing": 0.0, "auto_augment": None,
}  # fmt: skip


def losses(folder: Path) -> list[float]:
    """The sum of the training losses after each epoch."""
    with (folder / "results.csv").open(encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return [sum(float(value) for key, value in row.items() if "train/" in key) for row in rows]


def main() -> None:
    """Export, train, and say what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the categories; without it the built-in sample")
    parser.add_argument("--category", action="append", help="only this one; repeat it for more")
    parser.add_argument("--task", choices=list(SUFFIX), default="detect")
    parser.add_argument("--weights", help="for example yolo11n.pt, yolo11n-seg.pt, ...; without it random weights")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--imgsz", type=int, help="images are scaled to this many px")
    parser.add_argument("--runs", type=Path, help="keep the training's results here")
    args = parser.parse_args()

    settings = dict(REAL if args.weights else TINY)
    if args.weights is None:
        logging.getLogger("ultralytics").setLevel(logging.WARNING)
        torch.set_num_threads(2)
    settings |= {key: value for key in ("epochs", "imgsz") if (value := getattr(args, key))}

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.data is None:
            mc.write_sample(work / "sample")
            args.category = args.category or ["carpet"]
        dataset = mc.load(args.data or work / "sample").filter(category=args.category)
        summary = mc.to_yolo(dataset, work / "yolo", task=args.task)
        for name, split in summary.splits.items():
            print(f"{name}: {split.images} images, {split.background} of them good")

        model = YOLO(args.weights or f"yolov8n{SUFFIX[args.task]}.yaml")
        data = work / "yolo" if args.task == "classify" else work / "yolo" / "data.yaml"
        runs = (args.runs or work / "runs").resolve()
        model.train(data=str(data), project=str(runs), name=args.task, exist_ok=True, **settings)

        fall = losses(runs / args.task)
        print(f"loss {fall[0]:.2f} in the first epoch, {fall[-1]:.2f} in the last")
        print("on val: " + ", ".join(f"{name} {value:.3f}" for name, value in model.metrics.results_dict.items()))


if __name__ == "__main__":
    main()
