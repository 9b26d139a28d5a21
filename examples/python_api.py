"""The package from Python: look at a dataset, export it three times with one split, and check what was written.

python examples/python_api.py                          the built-in sample, drawn on the spot
python examples/python_api.py mvtec_anomaly_detection  your own copy
"""

import sys
import tempfile
from pathlib import Path

import mvtec_convert as mc


def main(root: str | None = None) -> None:
    """Export one category in three formats."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if root is None:
            mc.write_sample(work / "sample")
        dataset = mc.load(root or work / "sample")
        print(dataset)

        carpet = dataset.filter(category="carpet")
        for category in mc.stats(carpet).categories:
            print(f"{category.name}: {category.defective} defective images, {category.regions} regions")

        hole = carpet.filter(defect_type="hole").samples[0]
        print(f"{hole.key}: {[region.bbox for region in hole.regions()]}")

        parts = carpet.split(seed=1)
        print(parts)
        summary = mc.to_yolo(carpet, work / "yolo", split=parts)
        mc.to_coco(carpet, work / "coco", split=parts)
        mc.to_sam(carpet, work / "sam", split=parts, points=3, negatives=2, seed=1)
        print(f"{summary.fidelity.exact} of {summary.fidelity.regions} boxes exact")

        for name in ("yolo", "coco", "sam"):
            validation = mc.validate(work / name)
            print(f"{validation.format}: {validation.errors} errors, {validation.warnings} warnings")


if __name__ == "__main__":
    main(*sys.argv[1:2])
