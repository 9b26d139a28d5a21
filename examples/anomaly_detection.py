"""Train on good images only, then find defects never seen before: PatchCore or PaDiM with anomalib.

anomalib reads MVTec AD's tree as it is, so nothing is converted. `--reader folder` gives it the same images by folders
of your own choice, which is how data in another tree, or in JPEG, is read: the first way takes .png files alone.

python examples/anomaly_detection.py                            the built-in sample, a network of random weights
python examples/anomaly_detection.py --reader folder --model padim
python examples/anomaly_detection.py --data mvtec_anomaly_detection --category screw --weights wide_resnet50_2

Random weights know nothing of the world. The sample's carpet has defects bold enough for them; on its grid they do
worse than a coin. PatchCore's paper (Roth et al., CVPR 2022) has the settings that `--weights` stands for.
"""

import argparse
import logging
import tempfile
import warnings
from pathlib import Path

import mvtec_convert as mc

warnings.filterwarnings("ignore")  # anomalib's imports and Lightning's trainer have many
logging.disable(logging.WARNING)

from anomalib.data import Folder, MVTecAD  # noqa: E402
from anomalib.engine import Engine  # noqa: E402
from anomalib.models import Padim, Patchcore  # noqa: E402
from lightning import seed_everything  # noqa: E402


def datamodule(reader: str, root: Path, category: str) -> MVTecAD | Folder:
    """The images of one category: train is train/good, test is all of test, with masks."""
    # The same images validate and test. Folder would otherwise take half of test away for validation.
    common = {"train_batch_size": 8, "eval_batch_size": 8, "num_workers": 0, "val_split_mode": "same_as_test"}
    if reader == "mvtec":
        return MVTecAD(root=root, category=category, **common)
    defects = mc.load(root).filter(category=category).defect_types
    return Folder(
        name=category,
        root=root / category,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{defect}" for defect in defects],
        mask_dir=[f"ground_truth/{defect}" for defect in defects],  # in the order of the images: paired one by one
        **common,
    )


def detector(name: str, backbone: str, pre_trained: bool, size: int) -> Padim | Patchcore:
    """PatchCore keeps a tenth of all patches of good images; PaDiM a mean and a covariance for each place."""
    kind = {"patchcore": Patchcore, "padim": Padim}[name]
    own = {"layers": ["layer2", "layer3"], "coreset_sampling_ratio": 0.1} if name == "patchcore" else {}
    # Without `pre_trained`, anomalib builds the same network and downloads nothing.
    return kind(
        backbone=backbone,
        pre_trained=pre_trained,
        pre_processor=kind.configure_pre_processor(image_size=(size, size)),
        visualizer=False,
        **own,
    )


def main() -> None:
    """Fit on good images, test on all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the categories; without it the built-in sample")
    parser.add_argument("--category", default="carpet")
    parser.add_argument("--reader", choices=["mvtec", "folder"], default="mvtec")
    parser.add_argument("--model", choices=["patchcore", "padim"], default="patchcore")
    parser.add_argument("--weights", metavar="BACKBONE", help="pretrained on ImageNet, for example wide_resnet50_2")
    parser.add_argument("--size", type=int, help="images are scaled to this many px: 256 with --weights, else 96")
    args = parser.parse_args()
    seed_everything(0, verbose=False)
    size = args.size or (256 if args.weights else 96)
    model = detector(args.model, args.weights or "resnet18", args.weights is not None, size)

    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            mc.write_sample(Path(folder, "sample"))
        data = datamodule(args.reader, args.data or Path(folder, "sample"), args.category)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        engine = Engine(default_root_dir=Path(folder, "results"), **quiet)
        engine.fit(model, datamodule=data)
        (scores,) = engine.test(model, datamodule=data, verbose=False)

    weights = "ImageNet" if args.weights else "random"
    print(f"{args.model} on {args.category}, {args.weights or 'resnet18'} with {weights} weights, {size} px")
    print(f"learnt from {len(data.train_data)} good images, tested on {len(data.test_data)}")
    print(
        f"image AUROC {scores['image_AUROC']:.3f}   (0.5 is a coin, 1 tells every defective image from every good one)"
    )
    print(f"pixel AUROC {scores['pixel_AUROC']:.3f}")


if __name__ == "__main__":
    main()
