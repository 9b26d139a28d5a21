"""Fuzz every reader, and print how its inputs ended; see the package."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.readers import readers

IN_ONE_PROCESS = 3000
"""Inputs; then a new process begins, so that none grows old."""

SHARES = {
    "image header": 70, "mask": 115, "image": 35, "archive": 26, "saved split": 11, "phrases": 11,
    "values and colours": 11, "own-data description": 6, "journal": 10, "record": 10, "left by a killed run": 10,
    "former export": 5, "left by a download": 5, "masks": 10,
}  # fmt: skip
"""How many inputs a reader gets for each that others get: those that are quick, or read most, get more."""


@dataclass
class Row:
    """How the inputs of one reader ended."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    peak: int = 0


def fuzz(name: str, seed: int, numbers: range, row: Row, place: Path) -> list[dict[str, object]]:
    """Run inputs of one reader in processes of their own; returns what should not have happened."""
    failures: list[dict[str, object]] = []
    first, stood_still = numbers.start, -1
    while first < numbers.stop:
        stop = min(first + IN_ONE_PROCESS, numbers.stop)
        folder, status = place / "work", place / "status"
        shutil.rmtree(folder, ignore_errors=True)
        status.write_bytes(b"")
        command = [sys.executable, "-m", "tests.fuzz.worker", name, *map(str, (folder, seed, first, stop, status))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        failures += [line for line in said if "failure" in line]
        summaries = [line for line in said if "counts" in line]
        for summary in summaries:
            row.counts.update(summary["counts"])
            row.slowest, row.peak = max(row.slowest, summary["slowest"]), max(row.peak, summary["peak"])
        if summaries:
            first = stop
            continue
        at, counts = json.loads(status.read_bytes() or json.dumps([first, {}]))
        if (
            done.stderr.startswith("Timeout") and at != stood_still
        ):  # the watch goes by the clock: perhaps all stood still
            row.counts.update(counts)
            first = stood_still = at
            continue
        failures.append(
            {"reader": name, "number": at, "failure": f"ended with {done.returncode}: {done.stderr[-3000:]}"}
        )
        row.counts.update(Counter(counts) + Counter(failed=1))
        first = at + 1
    return failures


def main() -> int:
    """The command; 1 where something failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=5_000, help="in all; each reader gets its share")
    parser.add_argument("--reader", help="this one alone, or those whose names begin so")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--place", type=Path, help="folder to work in, best in memory")
    given = parser.parse_args()
    begin = given.reader or ""
    names = [begin] if begin in readers() else [name for name in readers() if name.startswith(begin)]
    shares = {name: SHARES.get(name, 1) for name in names}
    rows: dict[str, Row] = {}
    failed = 0
    with tempfile.TemporaryDirectory(dir=given.place) as place:
        for name in names:
            count = max(1, round(given.inputs * shares[name] / sum(shares.values())))
            row = rows.setdefault(name, Row())
            numbers = range(given.first, given.first + count)
            for failure in fuzz(name, given.seed, numbers, row, Path(place)):
                failed += 1
                where = f"{name}, input {failure['number']}: {failure.get('damage', '')}"
                print(f"\n{where}\n{failure['failure']}", flush=True)
            print(line(name, row), flush=True)
    total = Row(sum((row.counts for row in rows.values()), Counter()))
    total.slowest, total.peak = max(row.slowest for row in rows.values()), max(row.peak for row in rows.values())
    print(line("all", total))
    return int(failed > 0)


def line(name: str, row: Row) -> str:
    """A row of the table, as Markdown."""
    numbers = [f"{row.counts[key]:,}" for key in ("read", "findings", "refused", "failed")]
    cells = [name, f"{row.counts.total():,}", *numbers, f"{row.slowest:.2f} s", f"{row.peak >> 20} MiB"]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
