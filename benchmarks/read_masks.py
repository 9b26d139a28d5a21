"""The floor: read every mask of a dataset once with the fastest reader, and do nothing else.

python benchmarks/read_masks.py ROOT [JOBS]
"""

import os
import struct
import sys
from glob import glob
from pathlib import Path

from kornia_rs.io import decode_image_png_u8


def read(paths: list[str]) -> None:
    for path in paths:
        data = Path(path).read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        decode_image_png_u8(data, (height, width), "mono")


masks = glob(f"{sys.argv[1]}/*/ground_truth/*/*.png")  # noqa: PTH207, which takes longer
jobs = int(sys.argv[2]) if len(sys.argv) > 2 else os.cpu_count() or 1
for job in range(1, jobs):
    if os.fork() == 0:
        read(masks[job::jobs])
        os._exit(0)
read(masks[::jobs])
for _ in range(1, jobs):
    os.wait()
