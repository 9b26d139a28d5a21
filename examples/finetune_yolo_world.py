"""Fine-tune YOLO-World, a detector that is asked in words, on MVTec AD's defects: "hole in carpet", "bent grid wire".

python examples/finetune_yolo_world.py                                   the built-in sample, a tiny network, CPU
python examples/finetune_yolo_world.py --data mvtec_anomaly_detection --weights yolov8s-worldv2.pt

The second one is the real thing: it downloads YOLO-World and CLIP, whose text encoder turns the phrases into vectors.
The first one downloads nothing, so it has NO TEXT ENCODER: it stands one in that gives each word a random direction.
What it shows is that phrases, boxes and training fit together, not that words mean anything to the network.
"""

import argparse
import csv
import logging
import tempfile
import zlib
from pathlib import Path

import torch
from ultralytics import YOLOWorld
from ultralytics.nn.tasks import WorldModel
from ultralytics.utils import YAML

import mvtec_convert as mc

# The authors' settings for fine-tuning (AILab-CVC/YOLO-World, configs/finetune_coco), at the size of pre-training.
REAL = {"epochs": 80, "imgsz": 640, "batch": 16, "lr0": 2e-4, "weight_decay": 0.05}
TINY = {
    "epochs": 6, "imgsz": 96, "batch": 8, "nbs": 8, "lr0": 2e-3, "warmup_epochs": 0, "device": "cpu", "workers": 0,
    "plots": False, "val": False, "mosaic": 0.0, "scale": 0.0, "translate": 0.0, "hsv_v": 0.0,
}  # fmt: skip


def random_words(model: WorldModel, phrases: list[str], *_: object, **__: object) -> torch.Tensor:
    """In place of CLIP: shape (1, phrases, 512), unit vectors; phrases that share words are near each other."""
    words = [[torch.Generator().manual_seed(zlib.crc32(word.encode())) for word in text.split()] for text in phrases]
    sums = torch.stack([sum(torch.randn(512, generator=generator) for generator in text) for text in words])
    return torch.nn.functional.normalize(sums, dim=1)[None]


def losses(folder: Path) -> list[float]:
    """The sum of the training losses after each epoch."""
    with (folder / "results.csv").open(encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return [sum(float(value) for key, value in row.items() if "train/" in key) for row in rows]


def main() -> None:
    """Export with phrases, train, and ask for what was learnt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the categories; without it the built-in sample")
    parser.add_argument("--category", action="append", help="only this one; repeat it for more")
    parser.add_argument("--weights", help="for example yolov8s-worldv2.pt; without it random weights and no CLIP")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--runs", type=Path, help="keep the training's results here")
    args = parser.parse_args()
    if args.weights is None:
        print("NO TEXT ENCODER: each word is a random direction. Give --weights for a network that can read.")
        WorldModel.get_text_pe = random_words
        logging.getLogger("ultralytics").setLevel(logging.WARNING)
        torch.set_num_threads(2)

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if args.data is None:
            mc.write_sample(work / "sample")
            args.category = args.category or ["carpet"]
        dataset = mc.load(args.data or work / "sample").filter(category=args.category)
        mc.to_yolo(dataset, work / "yolo", world=True)
        phrases = [name.split("/")[0] for name in YAML.load(work / "yolo" / "data_world.yaml")["names"].values()]
        print(f"{len(phrases)} classes, asked for as: {', '.join(phrases)}")

        settings = dict(REAL if args.weights else TINY)
        settings |= {"epochs": args.epochs} if args.epochs else {}
        model = YOLOWorld(args.weights or "yolov8n-worldv2.yaml")
        runs = (args.runs or work / "runs").resolve()
        data = work / "yolo" / "data_world.yaml"
        model.train(data=str(data), project=str(runs), name="world", exist_ok=True, optimizer="AdamW", **settings)

        # Any words will do now, also ones that it was not trained on.
        asked = [phrases[0], "scratch"]
        model.set_classes(asked)
        image = min((work / "yolo" / "images" / "val").iterdir())
        found = model.predict(str(image), imgsz=settings["imgsz"], conf=0.25, verbose=False)[0]
        fall = losses(runs / "world")
        print(f"{image.name}: {len(found.boxes)} boxes for {' or '.join(map(repr, asked))}")
        print(f"loss {fall[0]:.2f} in the first epoch, {fall[-1]:.2f} in the last")
        print(f"mAP50 on val {model.metrics.box.map50:.3f}")


if __name__ == "__main__":
    main()
