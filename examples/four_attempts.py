"""Four attempts at telling the defect types of one category apart with a TorchVision network, compared on one split.

1 frozen    the network as it comes, frozen; only a new last layer learns
2 altered   the whole network learns: its last stage removed, a hidden layer and dropout added
3 balanced  as 2, with rare classes drawn more often and weighed by their effective number (Cui et al., CVPR 2019)
4 pasted    as 2, with more training images: defects cut out by their masks and pasted on good images
5 adjusted  as 2, with logits adjusted by the classes' frequencies (Menon et al., ICLR 2021); with --fifth

python examples/four_attempts.py                       the built-in sample, random weights, half a minute
python examples/four_attempts.py --data mvtec_anomaly_detection --weights IMAGENET1K_V1 --epochs 30

3, 4 and 5 change one thing of 2 each. The split is that of every export of this package with the same seed.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait cost minutes on a busy machine

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler
from torchvision.models import get_model

import mvtec_convert as mc
from mvtec_convert.geometry.regions import annotate
from mvtec_convert.splits import supervised
from mvtec_convert.tables import Table, markdown

matplotlib.use("Agg")
from matplotlib import pyplot as plt

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BETA, TAU = 0.99, 1.0


def frozen(args: argparse.Namespace, classes: int) -> nn.Module:
    """The network with all weights fixed but those of a new last layer."""
    network = get_model("resnet18", weights=args.weights).requires_grad_(False)
    network.fc = nn.Linear(512, classes)
    return network


def altered(args: argparse.Namespace, classes: int) -> nn.Module:
    """The network without its last stage, which has three quarters of the weights, and with a larger head."""
    network = get_model("resnet18", weights=args.weights)
    network.layer4 = nn.Identity()
    network.fc = nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, classes))
    return network


@dataclass(frozen=True)
class Attempt:
    """What is tried, and how it learns."""

    name: str
    network: Callable[[argparse.Namespace, int], nn.Module]
    optimiser: type[torch.optim.Optimizer]
    rate: float
    epochs: int
    balanced: bool = False
    pasted: bool = False
    adjusted: bool = False


ATTEMPTS = [
    Attempt("1 frozen", frozen, torch.optim.Adam, 1e-2, 30),
    Attempt("2 altered", altered, torch.optim.AdamW, 1e-3, 20),
    Attempt("3 balanced", altered, torch.optim.AdamW, 1e-3, 20, balanced=True),
    Attempt("4 pasted", altered, torch.optim.AdamW, 1e-3, 8, pasted=True),  # as many steps, of more images
    Attempt("5 adjusted", altered, torch.optim.AdamW, 1e-3, 20, adjusted=True),
]


def pixels(image: Image.Image, size: int) -> torch.Tensor:
    """An image as the network wants it, shape (3, size, size), with ImageNet's mean and deviation."""
    values = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
    return torch.from_numpy((values - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)).permute(2, 0, 1).float()


def paste(good: mc.Sample, defective: mc.Sample, rng: np.random.RandomState) -> Image.Image:
    """The good image with each region of the other's mask copied into it, all moved by the same random step."""
    canvas = np.array(Image.open(good.image).convert("RGB"))
    source = np.asarray(Image.open(defective.image).convert("RGB"))
    height, width = canvas.shape[:2]
    dx, dy = rng.randint(-width // 4, width // 4), rng.randint(-height // 4, height // 4)
    for region in annotate(defective).regions:
        x, y = np.clip(region.x + dx, 0, width - region.width), np.clip(region.y + dy, 0, height - region.height)
        cut = source[region.y : region.y + region.height, region.x : region.x + region.width]
        canvas[y : y + region.height, x : x + region.width][region.crop > 0] = cut[region.crop > 0]
    return Image.fromarray(canvas)


def enlarged(train: list[mc.Sample], size: int) -> list[tuple[torch.Tensor, str]]:
    """Pasted images, so many that each defect type has as many as there are good ones. Training images alone."""
    rng = np.random.RandomState(0)
    good = [sample for sample in train if sample.is_good]
    made = []
    for defect in sorted({sample.defect_type for sample in train if not sample.is_good}):
        own = [sample for sample in train if sample.defect_type == defect]
        for i in range(max(0, len(good) - len(own))):
            made.append((pixels(paste(good[rng.randint(len(good))], own[i % len(own)], rng), size), defect))
    return made


def balance(labels: torch.Tensor, counts: torch.Tensor) -> tuple[WeightedRandomSampler, torch.Tensor]:
    """A sampler that evens out half of the imbalance, and class weights that even out what it leaves.

    Both in full would count rare classes twice. The sampler draws each class in proportion to the root of its number
    of images; a class then weighs the inverse of its effective number, (1 - BETA^n) / (1 - BETA).
    """
    drawn = counts.sqrt() * counts.sum() / counts.sqrt().sum()
    weights = (1 - BETA) / (1 - BETA**drawn)
    return WeightedRandomSampler((drawn / counts)[labels], len(labels)), weights * len(counts) / weights.sum()


def learn(attempt: Attempt, args: argparse.Namespace, images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """The trained network."""
    torch.manual_seed(args.seed)
    counts = torch.bincount(labels).float()
    sampler, weights = balance(labels, counts) if attempt.balanced else (None, torch.ones(len(counts)))
    shift = TAU * (counts / counts.sum()).log().to(DEVICE) if attempt.adjusted else 0
    loader = DataLoader(TensorDataset(images, labels), 16, shuffle=sampler is None, sampler=sampler)
    network = attempt.network(args, len(counts)).to(DEVICE)
    optimiser = attempt.optimiser([p for p in network.parameters() if p.requires_grad], lr=attempt.rate)
    for _ in range(attempt.epochs):
        # A frozen network keeps its batch statistics too; it has no dropout to switch on.
        network.train(attempt.network is not frozen)
        for batch, truth in loader:
            for axis in (2, 3):
                batch = torch.where(torch.rand(len(batch), 1, 1, 1) < 0.5, batch, batch.flip(axis))
            logits = network(batch.to(DEVICE)) + shift
            loss = functional.cross_entropy(logits, truth.to(DEVICE), weights.to(DEVICE))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    if attempt.network is not frozen:
        # So few steps leave the running means of batch normalisation behind the weights: one pass sets them right.
        update_bn(loader, network, DEVICE)
    return network.eval()


def scores(found: torch.Tensor, truth: torch.Tensor, classes: list[str]) -> dict[str, float]:
    """Accuracy, the mean of the classes' F1, and the recall of each."""
    confusion = torch.bincount(truth * len(classes) + found, minlength=len(classes) ** 2).view(len(classes), -1)
    right, real, said = confusion.diag().float(), confusion.sum(1), confusion.sum(0)
    f1, recall = 2 * right / (real + said).clamp(min=1), right / real.clamp(min=1)
    return {
        "accuracy": float(right.sum() / len(truth)),
        "macro-F1": float(f1.mean()),
        **dict(zip(classes, recall.tolist(), strict=True)),
    }


def picture(rows: dict[str, dict[str, float]], counts: dict[str, int], title: str, out: Path) -> None:
    """A bar for every figure of every attempt, the best of each column dark; n images are judged in each class."""
    figures = list(next(iter(rows.values())))
    chart, panels = plt.subplots(
        1, len(figures), sharey=True, figsize=(10, 1.9 + 0.35 * len(rows)), dpi=100, layout="constrained"
    )
    for panel, figure in zip(panels, figures, strict=True):
        values = [100 * row[figure] for row in rows.values()]
        colours = ["#0b5394" if value == max(values) > 0 else "#9fc5e8" for value in values]
        bars = panel.barh(list(rows), values, color=colours, height=0.7)
        panel.bar_label(bars, [f"{value:.0f}" for value in values], padding=3)
        name = figure.replace("_", "\n")
        panel.set_title(f"{name}\nn = {counts[figure]}" if figure in counts else name, fontsize=10)
        panel.set(xlim=(0, 135), xticks=())
        panel.tick_params(left=False)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
    panels[0].invert_yaxis()
    chart.suptitle(title)
    chart.supxlabel("accuracy, macro-F1, and the recall of each class, in %", fontsize=10)
    chart.savefig(out)


def main() -> None:
    """Read, split, try, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the categories; without it the built-in sample")
    parser.add_argument("--category", default="carpet")
    parser.add_argument("--weights", help="of resnet18, IMAGENET1K_V1; without it random ones")
    parser.add_argument("--size", type=int, help="images are scaled to this many px: 224 with --weights, else 96")
    parser.add_argument("--epochs", type=int, help="of every attempt, instead of its own")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the training")
    parser.add_argument("--fifth", action="store_true", help="try logit adjustment as well")
    parser.add_argument("--out", type=Path, default=Path("four_attempts.png"))
    args = parser.parse_args()
    args.size = args.size or (224 if args.weights else 96)

    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            mc.write_sample(Path(folder, "sample"))
        dataset = mc.load(args.data or Path(folder, "sample")).filter(category=args.category)
        places = supervised(dataset.samples, seed=args.seed).assignments
        parts = {split: [s for s in dataset if places[s.key] == split] for split in ("train", "val")}
        data = {split: [(pixels(Image.open(s.image), args.size), s.defect_type) for s in part]
                for split, part in parts.items()}  # fmt: skip
        more = enlarged(parts["train"], args.size)
    classes = ["good", *dataset.defect_types]

    def tensors(pairs: list[tuple[torch.Tensor, str]]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.stack([image for image, _ in pairs]), torch.tensor([classes.index(name) for _, name in pairs])

    images, truth = tensors(data["val"])
    rows, table = {}, []
    for attempt in ATTEMPTS if args.fifth else ATTEMPTS[:4]:
        # What a pretrained network knows must not be overwritten: a tenth of the rate.
        rate = attempt.rate / (10 if args.weights and attempt.network is altered else 1)
        attempt = replace(attempt, epochs=args.epochs or attempt.epochs, rate=rate)
        train = tensors(data["train"] + more if attempt.pasted else data["train"])
        network = learn(attempt, args, *train)
        with torch.no_grad():
            rows[attempt.name] = scores(network(images.to(DEVICE)).argmax(1).cpu(), truth, classes)
        how = (attempt.name, attempt.optimiser.__name__, f"{attempt.rate:g}", str(attempt.epochs), str(len(train[1])))
        table.append((*how, *(f"{100 * value:.0f} %" for value in rows[attempt.name].values())))

    columns = ("attempt", "optimiser", "rate", "epochs", "images", *next(iter(rows.values())))
    print(markdown(Table(columns, tuple(table), frozenset(columns[2:]))))
    counts = dict(zip(classes, torch.bincount(truth, minlength=len(classes)).tolist(), strict=True))
    weights = args.weights or "random weights"
    picture(rows, counts, f"{args.category}: {len(truth)} images judged, resnet18, {weights}", args.out)
    print(f"\n{len(parts['train'])} images to train on, {len(truth)} to judge by; picture: {args.out}")


if __name__ == "__main__":
    main()
