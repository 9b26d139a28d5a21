"""What one writes in ten minutes: every mask to COCO by OpenCV's contours, holes and thin defects lost.

python benchmarks/plain_script.py ROOT OUT.json
"""

import json
import sys
from pathlib import Path

import cv2

root, out = Path(sys.argv[1]), Path(sys.argv[2])
coco = {"images": [], "annotations": [], "categories": []}
ids = {}
for mask_path in sorted(root.glob("*/ground_truth/*/*_mask.png")):
    defect = mask_path.parent.name
    if defect not in ids:
        ids[defect] = len(ids) + 1
        coco["categories"].append({"id": ids[defect], "name": defect})
    mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
    image_id = len(coco["images"]) + 1
    image_path = root / mask_path.parts[-4] / "test" / defect / mask_path.name.replace("_mask", "")
    coco["images"].append(
        {"id": image_id, "file_name": str(image_path), "height": mask.shape[0], "width": mask.shape[1]}
    )
    _, binary = cv2.threshold(mask, 127, 255, cv2.THRESH_BINARY)
    contours, _ = cv2.findContours(binary, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for contour in contours:
        if len(contour) < 3:
            continue
        coco["annotations"].append(
            {
                "id": len(coco["annotations"]) + 1,
                "image_id": image_id,
                "category_id": ids[defect],
                "bbox": list(cv2.boundingRect(contour)),
                "area": cv2.contourArea(contour),
                "segmentation": [contour.flatten().tolist()],
                "iscrowd": 0,
            }
        )
with out.open("w") as file:
    json.dump(coco, file)
