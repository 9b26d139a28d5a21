"""The same hostile files for this tool and for Datumaro: what each says, how long it takes, and how much memory.

    python benchmarks/hostile.py DATUMARO_PYTHON

DATUMARO_PYTHON is the interpreter of an environment with Datumaro in it. Each file is read in a process of its own, as
users of the Python API read it: the dataset, its labels, its pixels. A process is ended when it has taken a minute of
processor time, or has done nothing for a minute, and gets 6 GiB at most. Times are of the processor, without imports.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUSY, WAITING = 60, 60  # s
MEMORY = 6 << 30  # bytes of address space

SECRET = Path(tempfile.gettempdir()) / "secret.png"
"""An image outside of every dataset."""

Break = Callable[[Path], object]


@dataclass(frozen=True)
class Attack:
    """A hostile dataset: what it is, the sound one that it was, and what is done to that."""

    name: str
    base: str
    breaks: Break


FORMATS = {"coco": "coco_instances", "yolo": "yolo", "source": "mvtec_segmentation"}
"""Datumaro's names."""


# --- reading, in a process of its own --------------------------------------------------------------------------------


def read_here(folder: str) -> dict[str, Any]:
    """With this tool: findings by code, else the number of objects."""
    import mvtec_convert as mc
    from mvtec_convert.exports import is_export
    from mvtec_convert.labelled import read_picture

    if not is_export(Path(folder)):
        found = mc.check(mc.load(folder))
        return {"codes": sorted({finding.code for finding in found.findings}), "objects": found.images}
    found = mc.validate(folder)
    wrong = sorted({finding.code for finding in found.findings if finding.severity == "error"})
    objects = 0
    if not wrong:
        for image in mc.read_export(folder):
            read_picture(image)
            objects += len(image.objects)
    return {"codes": wrong, "objects": objects}


def read_with_datumaro(folder: str, format: str) -> dict[str, Any]:
    """With Datumaro: the number of objects, their masks decoded, and the pixels of their images."""
    from datumaro.components.annotation import AnnotationType
    from datumaro.components.dataset import Dataset

    objects = 0
    outside = False
    for item in Dataset.import_from(folder, format=format):
        for annotation in item.annotations:
            if annotation.type == AnnotationType.mask:
                annotation.image.sum()
            objects += annotation.type != AnnotationType.label
        path = getattr(item.media, "path", None)
        if item.media is not None and item.media.data is not None and path:
            outside |= not Path(path).resolve().is_relative_to(Path(folder).resolve())
    return {"codes": ["read a file outside of the folder"] if outside else [], "objects": objects}


def probe(tool: str, folder: str, format: str) -> dict[str, Any]:
    """What one tool makes of one folder."""
    try:
        return read_here(folder) if tool == "mvtec-convert" else read_with_datumaro(folder, format)
    except BaseException as error:
        while error.__cause__ or error.__context__:
            error = error.__cause__ or error.__context__ or error  # Datumaro wraps what went wrong
        expected = any(kind.__name__ == "MvtecConvertError" for kind in type(error).__mro__)
        message = " ".join(str(error).split())[:60]
        return {"error": f"{type(error).__name__}: {message}", "message": message, "expected": expected}


def serve(tool: str) -> None:
    """Read folder and format from each line, and print what becomes of a process that reads them."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.disable()
    if tool == "mvtec-convert":
        import mvtec_convert.formats

        mvtec_convert.formats.formats()
    else:
        import datumaro  # noqa: F401
    for line in sys.stdin:
        sys.stdout.write(json.dumps(forked(tool, *json.loads(line))) + "\n")
        sys.stdout.flush()


def forked(tool: str, folder: str, format: str) -> dict[str, Any]:
    """What one tool makes of one folder, in a process of its own."""
    end, begin = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (BUSY, BUSY))
        os.write(begin, json.dumps(probe(tool, folder, format)).encode())
        os._exit(0)
    os.close(begin)
    began = time.monotonic()
    while not (ended := os.wait4(child, os.WNOHANG))[0]:
        if time.monotonic() - began > WAITING and busy(child) < 0.5:
            os.kill(child, signal.SIGALRM)
        time.sleep(0.02)
    _, status, usage = ended
    said = json.loads(os.read(end, 1 << 16) or b"{}")
    os.close(end)
    seconds = usage.ru_utime + usage.ru_stime
    return {**said, "signal": os.WTERMSIG(status), "seconds": seconds, "memory": usage.ru_maxrss // 1024}


def busy(process: int) -> float:
    """Seconds of processor time that a process has taken, as Linux tells."""
    numbers = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


class Tool:
    """One tool, ready to read."""

    def __init__(self, python: str, name: str) -> None:
        command = [python, str(Path(__file__).resolve()), "--serve", name]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self, folder: Path, format: str) -> tuple[str, str]:
        """(what happened, seconds and memory)."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([str(folder), format]) + "\n")
        self._server.stdin.flush()
        said = json.loads(self._server.stdout.readline())
        return told(said), f"{said['seconds']:.1f} s, {said['memory']} MiB"


def told(said: dict[str, Any]) -> str:
    """What happened, in words."""
    if said["signal"] == signal.SIGALRM:
        return f"waits for ever (ended after {WAITING} s)"
    if said["signal"] in (signal.SIGXCPU, signal.SIGKILL):
        return f"does not end (ended after {BUSY} s of processor time)"
    if said["signal"]:
        return f"crashes: {signal.Signals(said['signal']).name}"
    if "error" in said:
        return f"refuses: {said['message']}" if said["expected"] else f"`{said['error']}`"
    if said["codes"]:
        return ", ".join(said["codes"])
    return f"reads {said['objects']} objects, says nothing"


# --- the attacks -----------------------------------------------------------------------------------------------------


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A sound grey PNG of black pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def annotations(change: Callable[[dict[str, Any]], object]) -> Break:
    """Change a COCO file."""

    def breaks(folder: Path) -> None:
        path = folder / "annotations" / "instances_train.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")

    return breaks


def first(**values: Any) -> Break:
    """Change the first annotation of a COCO file."""
    return annotations(lambda document: document["annotations"][0].update(values))


def write(name: str, content: str | bytes) -> Break:
    """Replace the first file that a pattern finds."""

    def breaks(folder: Path) -> None:
        path = min(folder.glob(name), key=lambda path: (not path.stat().st_size, path))
        path.unlink()  # it may be a hard link
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return breaks


def replace(name: str, make: Callable[[Path], object]) -> Break:
    """Put something in the place of the first file that a pattern finds."""

    def breaks(folder: Path) -> None:
        path = min(folder.glob(name))
        path.unlink()
        make(path)

    return breaks


def hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def laughs() -> str:
    """Thirteen lines of YAML that stand for 9 ** 10 texts."""
    lines = ["a: &a [x]"]
    lines += [
        f"{new}: &{new} [{', '.join(['*' + old] * 9)}]" for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
    ]
    return "\n".join([*lines, "train: *k", "val: *j", "names: *k", ""])


def loop(folder: Path) -> None:
    for place in [path for path in folder.rglob("*") if path.is_dir()]:
        (place / "up").symlink_to("..")


def circle(points: int) -> list[float]:
    import math

    angles = [2 * math.pi * i / points for i in range(points)]
    return [round(value, 3) for angle in angles for value in (100 + 50 * math.cos(angle), 100 + 50 * math.sin(angle))]


def names(count: int) -> str:
    listed = "".join(f"  {i}: class {i}\n" for i in range(count))
    return f"path: .\ntrain: images/train\nval: images/val\nnames:\n{listed}"


LABELS = "labels/train/*bent*.txt"
TRAIN = "annotations/instances_train.json"
BOX = "0 0.5 0.5 0.2 0.3\n1 0.5 0.5 0.4 0.2\n"
ATTACKS = [
    Attack("nothing is wrong", "source", lambda folder: None),
    Attack("mask: PNG of 30,000 x 30,000 px", "source", write("grid/ground_truth/bent/*.png", bomb())),
    Attack("mask: cut short", "source", write("grid/ground_truth/bent/*.png", bomb(288, 288)[:60])),
    Attack("mask: a pipe", "source", replace("grid/ground_truth/bent/*.png", os.mkfifo)),
    Attack("folders: links in circles", "source", loop),
    Attack("nothing is wrong", "coco", lambda folder: None),
    Attack("100,000 brackets", "coco", write(TRAIN, "[" * 100_000)),
    Attack("a file of holes, 1 TB", "coco", replace(TRAIN, hole)),
    Attack("a pipe", "coco", replace(TRAIN, os.mkfifo)),
    Attack("UTF-16", "coco", write(TRAIN, "{}".encode("utf-16"))),
    Attack("file_name ../../../secret.png", "coco",
           annotations(lambda d: d["images"][0].update(file_name="../../../secret.png", width=288, height=288))),
    Attack("file_name absolute", "coco",
           annotations(lambda d: d["images"][0].update(file_name=str(SECRET), width=288, height=288))),
    Attack("run lengths: 0, 2^31", "coco", first(segmentation={"size": [288, 288], "counts": [0, 2**31]})),
    Attack("run lengths: twice too long", "coco", first(segmentation={"size": [288, 288], "counts": [0, 2 * 288**2]})),
    Attack("run lengths: packed, too long", "coco", first(segmentation={"size": [288, 288], "counts": "oooooo0"})),
    Attack("run lengths: 40,000 x 40,000", "coco",
           annotations(lambda d: (d["images"][0].update(width=40_000, height=40_000), d["annotations"][0].update(
               image_id=d["images"][0]["id"], segmentation={"size": [40_000] * 2, "counts": [0, 40_000**2]})))),
    Attack("polygon: 1e308", "coco", first(segmentation=[[1e308, 4, 50, 4, 50, 50]])),
    Attack("polygon: NaN", "coco", first(segmentation=[[float("nan"), 4, 50, 4, 50, 50]])),
    Attack("polygon: 500,000 points", "coco", first(segmentation=[circle(500_000)])),
    Attack("category that is not there", "coco", first(category_id=999)),
    Attack("10,000 categories", "coco",
           annotations(lambda d: d.update(categories=[{"id": i, "name": f"c{i}"} for i in range(1, 10_001)]))),
    Attack("nothing is wrong", "yolo", lambda folder: None),
    Attack("data.yaml: aliases of aliases", "yolo", write("data.yaml", laughs())),
    Attack("data.yaml: 5,000 brackets", "yolo", write("data.yaml", "names: " + "[" * 5_000)),
    Attack("data.yaml: 10,000 names", "yolo", write("data.yaml", names(10_000))),
    Attack("data.yaml: train is ../..", "yolo", write("data.yaml", "train: ../..\nval: images/val\nnames: [a, b]\n")),
    Attack("labels: CR alone", "yolo", write(LABELS, BOX.replace("\n", "\r"))),
    Attack("labels: UTF-16", "yolo", write(LABELS, BOX.encode("utf-16"))),
    Attack("labels: class 999", "yolo", write(LABELS, "999 0.5 0.5 0.2 0.3\n")),
    Attack("labels: nan", "yolo", write(LABELS, "0 nan 0.5 0.2 0.3\n")),
    Attack("labels: 1e308", "yolo", write(LABELS, "0 1e308 0.5 0.2 0.3\n")),
    Attack("labels: a pipe", "yolo", replace(LABELS, os.mkfifo)),
    Attack("image: PNG of 30,000 x 30,000 px", "yolo", write("images/train/*bent*", bomb())),
]  # fmt: skip


def main(datumaro: str) -> None:
    """Measure and print."""
    import mvtec_convert as mc
    from mvtec_convert.tables import Table, markdown

    place = Path(tempfile.mkdtemp())
    mc.write_sample(place / "sample")
    grid = mc.load(place / "sample" / "grid")
    shutil.copy(grid.samples[0].image, SECRET)
    (place / "source").mkdir()
    shutil.copytree(place / "sample" / "grid", place / "source" / "grid")
    mc.to_coco(grid, place / "coco", images="copy")
    mc.to_yolo(grid, place / "yolo", images="copy")
    ours, theirs = Tool(sys.executable, "mvtec-convert"), Tool(datumaro, "datumaro")
    rows = []
    for attack in ATTACKS:
        work = place / "work" / "set"
        shutil.rmtree(work.parent, ignore_errors=True)
        shutil.copytree(place / attack.base, work)
        shutil.copy(SECRET, place / "secret.png")
        attack.breaks(work)
        (work / "mvtec-convert.json").unlink(missing_ok=True)
        format = FORMATS[attack.base]
        # Datumaro looks for MVTec's folders in the category itself.
        place_of_theirs = work / "grid" if attack.base == "source" else work
        row = (*ours.read(work, format), *theirs.read(place_of_theirs, format))
        rows.append((f"{attack.base}: {attack.name}", *row))
        print(rows[-1], file=sys.stderr, flush=True)
    columns = ("what", "mvtec-convert", "cost", "Datumaro", "its cost")
    print(markdown(Table(columns, tuple(rows), name="hostile", title="Hostile files")))
    shutil.rmtree(place)
    SECRET.unlink()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        main(sys.argv[1])
