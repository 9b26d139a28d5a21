"""How long conversions take, beside what else one would run, and beside what nobody can do without.

    python benchmarks/speed.py [--masks 1000 ...] [--rounds 5] [--datum /path/to/datum] [--only coco sam ...]

Makes the data (`make_data.py`), runs every contender in turn, round by round, each as a whole process with its default
options, and prints the medians and one table of ratios beside their targets. With several numbers of masks the last
rows say how the cost of a mask grows. Datumaro (`pip install 'datumaro[cli]'`, best in an environment of its own) takes
part where `datum` is found. For systems with `fork`, and a machine that does nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from mvtec_convert.tables import Table, markdown

HERE = Path(__file__).parent
PYTHON = sys.executable
AD_MASKS, AD_GOOD = 1250, 4100
"""About as many as in MVTec AD: 1,258 masks, 5,354 images."""

OUR = (
    [str(script)] if (script := Path(PYTHON).with_name("mvtec-convert")).is_file() else [PYTHON, "-m", "mvtec_convert"]
)


@dataclass(frozen=True)
class Contender:
    """What is timed.

    Attributes:
        name: of its row.
        commands: run one after the other.
        keeps: whether what the last contender wrote stays where it is.
    """

    name: str
    commands: Sequence[Sequence[str]]
    keeps: bool = False


@dataclass(frozen=True)
class Ratio:
    """What is compared; `at_most` is the target, `cost` whether it is CPU time (else wall time)."""

    name: str
    to: str
    at_most: float


RATIOS = (
    Ratio("coco", "plain script", 0.33),
    Ratio("coco", "Datumaro", 0.12),
    Ratio("yolo", "coco", 1.3),
    Ratio("yolo segment", "coco", 1.3),
    Ratio("sam", "coco", 1.3),
    Ratio("coco again, nothing changed", "coco", 0.3),
    Ratio("stats of 5,350 images", "reading their 1,250 masks", 1.3),
    Ratio("stats, one job", "reading them, one job", 1.3),
    Ratio("help", "bare interpreter", 15),
    Ratio("help", "datum help", 0.4),
)
AT_10_000 = 0.25
"""Target of coco against the plain script from 10,000 masks on."""

GROWTH, MOST_MEMORY = 1.1, 300
"""Of the cost of a mask against the first number of masks; peak memory, MiB."""


@dataclass(frozen=True)
class Measured:
    """Medians: wall and CPU time of all its processes, s, and the peak of the largest of them, MiB."""

    wall: float
    cpu: float
    peak: float


def contenders(data: Path, ad: Path, out: Path, datum: str | None) -> list[Contender]:
    """All of them; those that share data stand together."""
    parts = sorted(data.iterdir())
    convert = [[*OUR, name, str(data), "--out", str(out)] for name in ("coco", "yolo", "sam")]
    coco, yolo, sam = convert
    found = [
        Contender("bare interpreter", [[PYTHON, "-c", "pass"]]),
        Contender("help", [[*OUR, "--help"]]),
        Contender("plain script", [[PYTHON, str(HERE / "plain_script.py"), str(data), str(out.with_suffix(".json"))]]),
        Contender("reading the masks", [[PYTHON, str(HERE / "read_masks.py"), str(data)]]),
        Contender("coco", [coco]),
        Contender("coco again, nothing changed", [coco], keeps=True),
        Contender("yolo", [yolo]),
        Contender("yolo segment", [[*yolo, "--task", "segment"]]),
        Contender("sam", [sam]),
        Contender("reading their 1,250 masks", [[PYTHON, str(HERE / "read_masks.py"), str(ad)]]),
        Contender("stats of 5,350 images", [[*OUR, "stats", str(ad)]]),
        Contender("reading them, one job", [[PYTHON, str(HERE / "read_masks.py"), str(ad), "1"]]),
        Contender("stats, one job", [[*OUR, "stats", str(ad), "--jobs", "1"]]),
    ]
    if datum:
        each = [
            [datum, "convert", "-if", "mvtec_segmentation", "-i", str(part), "-f", "coco_instances"]
            + ["-o", str(out / part.name)]
            for part in parts
        ]
        found += [Contender("datum help", [[datum, "--help"]]), Contender("Datumaro", each)]
    return found


def make_data(folder: Path, masks: int, good: int) -> None:
    """In another process: memory that this one takes would count as the contenders', which begin as copies of it."""
    script = str(HERE / "make_data.py")
    subprocess.run([PYTHON, script, str(folder), "--masks", str(masks), "--good", str(good)], check=True)


def run(contender: Contender, out: Path) -> Measured:
    """Run it once."""
    memory = out.with_name("cache")  # where earlier runs are remembered
    if not contender.keeps:
        for folder in (out, memory):
            _put_away(folder)
    environment = {**os.environ, "XDG_CACHE_HOME": str(memory)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled; a checkout has to be let
    wall = cpu = peak = 0.0
    for command in contender.commands:
        start = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                said.seek(0)
                sys.exit(f"{' '.join(command)} failed:\n{said.read().decode(errors='replace')}")
        wall += time.perf_counter() - start
        cpu += used.ru_utime + used.ru_stime
        peak = max(peak, used.ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20))
    return Measured(wall, cpu, peak)


def _put_away(folder: Path) -> None:
    """Out of the way, not removed: ext4 without a journal looks at each inode that was freed in the last minutes before
    it makes a file, which then takes several times as long.
    """
    if folder.exists():
        away = folder.with_name("away")
        away.mkdir(exist_ok=True)
        folder.rename(away / f"{folder.name}-{len(list(away.iterdir()))}")


def measure(found: Sequence[Contender], out: Path, rounds: int) -> dict[str, Measured]:
    """Medians of all rounds. Each contender runs in each round, so that what slows the machine slows all of them."""
    runs: dict[str, list[Measured]] = {contender.name: [] for contender in found}
    for number in range(1, rounds + 1):
        for contender in found:
            print(f"\rround {number} of {rounds}: {contender.name:30}", end="", file=sys.stderr, flush=True)
            runs[contender.name].append(run(contender, out))
    print(file=sys.stderr)
    return {
        name: Measured(*(median(getattr(one, field) for one in each) for field in ("wall", "cpu", "peak")))
        for name, each in runs.items()
    }


def ratio_rows(found: dict[str, Measured], masks: int) -> list[tuple[str, str, str, str, str]]:
    """One row for each ratio whose two sides were measured."""
    rows = []
    for ratio in RATIOS:
        if ratio.name in found and ratio.to in found:
            mine, other = found[ratio.name], found[ratio.to]
            at_most = AT_10_000 if ratio.to == "plain script" and masks >= 10_000 else ratio.at_most
            rows.append(
                (ratio.name, ratio.to, f"{mine.wall / other.wall:.2f}", f"{mine.cpu / other.cpu:.2f}", f"{at_most:g}")
            )
    return rows


def growth_rows(by_size: dict[int, dict[str, Measured]]) -> list[tuple[str, str, str, str, str]]:
    """What a mask costs at each size against the first, and what memory is taken."""
    first, *others = by_size
    rows = []
    for size in others:
        for name in ("coco", "yolo", "sam"):
            if name in by_size[size] and name in by_size[first]:
                mine, other = by_size[size][name], by_size[first][name]
                wall, cpu = (mine.wall / size) / (other.wall / first), (mine.cpu / size) / (other.cpu / first)
                rows.append((f"{name}, a mask of {size:,}", f"of {first:,}", f"{wall:.2f}", f"{cpu:.2f}", f"{GROWTH}"))
                rows.append((f"{name}, peak MiB at {size:,}", "-", f"{mine.peak:.0f}", "-", f"{MOST_MEMORY}"))
    return rows


def show(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """One table, in Markdown."""
    print(f"\n{title}\n\n{markdown(Table(columns, tuple(rows), numeric=frozenset(columns[-3:])))}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, nargs="+", default=[1000], metavar="N", help="multiples of 100")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--datum", default=shutil.which("datum"), help="Datumaro's command; without it: that on PATH")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="names as in the table")
    parser.add_argument("--work", type=Path, help="a folder for data and output, which is kept; else a temporary one")
    arguments = parser.parse_args()
    if arguments.datum is None:
        print("Datumaro is left out: no `datum` on PATH; pip install 'datumaro[cli]', or give --datum", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="mvtec-convert-speed-") as temporary:
        work = arguments.work or Path(temporary)
        ad = work / "like-mvtec-ad"
        if not ad.exists():
            make_data(ad, AD_MASKS, AD_GOOD)
        print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
        by_size: dict[int, dict[str, Measured]] = {}
        for masks in arguments.masks:
            data, out = work / f"masks-{masks}", work / "out"
            if not data.exists():
                make_data(data, masks, masks * 3 // 10)
            chosen = [
                each
                for each in contenders(data, ad, out, arguments.datum)
                if not arguments.only or each.name in arguments.only
            ]
            found = by_size[masks] = measure(chosen, out, arguments.rounds)
            _put_away(out)
            title = f"{masks:,} masks of 1024 x 1024 px, medians of {arguments.rounds} rounds:"
            seconds = [(name, f"{one.wall:.3f}", f"{one.cpu:.3f}", f"{one.peak:.0f}") for name, one in found.items()]
            show(title, ("work", "wall s", "CPU s", "peak MiB"), seconds)
            show("Ratios:", ("work", "against", "wall", "CPU", "at most"), ratio_rows(found, masks))
        shutil.rmtree(work / "away", ignore_errors=True)
        if len(by_size) > 1:
            show("Growth:", ("work", "against", "wall", "CPU", "at most"), growth_rows(by_size))


if __name__ == "__main__":
    main()
