"""Runs inputs of one reader in this process, and says on standard output how each one ended that should not have."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from mvtec_convert.errors import MvtecConvertError
from tests.fuzz.readers import readers, surroundings

HANGS = 180
"""Seconds after which an input is said to hang; the process ends."""

REARMED = 5.0
"""Seconds between two starts of that watch, which is a thread."""

SLOW = 5.0
"""Seconds of processor time that no small file may take."""

MEMORY = 3 << 30
"""Bytes of address space that reading may take above what it takes to start."""

WRITTEN = 1 << 28
"""Bytes that any file may have which is written because of a small one: holes must not be filled."""

PEAK = 1 << 30
"""Bytes of memory that reading a small file may take; an image of 2**27 px fits in, as RGB."""


FONTS = re.compile(r"[/.](matplotlib|fonts)", re.IGNORECASE)
"""Where Matplotlib looks for fonts, and keeps a list of them."""


class Watch:
    """Which files were opened or listed that do not lie in the folder, or opened for writing in the dataset."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._source = str(folder / "set") + os.sep
        known = {sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "/usr"}
        self._known = (*known, *filter(None, sys.path))  # modules are imported when they are first needed
        self.seen: list[str] = []
        self.is_on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or event not in {"open", "os.listdir", "os.scandir"} or not arguments:
            return
        if not isinstance(arguments[0], str | bytes):
            return
        path = os.path.normpath(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100 - links are not followed
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        outside = not path.startswith((self._folder, *self._known)) and not FONTS.search(path)
        if outside or path.startswith(self._folder + "/outside") or (writes and self._is_source(path)):
            self.seen.append(f"{event} {path}")

    def _is_source(self, path: str) -> bool:
        return path.startswith(self._source) and Path(path).name != "saved" and "/unpacked" not in path

    def take(self) -> list[str]:
        """What was seen since the last time."""
        seen, self.seen = self.seen, []
        return seen


class Ended:
    """How inputs ended.

    Attributes:
        counts: by outcome.
        slowest: seconds of processor time that one of them took.
        peak: bytes of memory.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.peak = 0


def run(name: str, folder: Path, seed: int, numbers: range, status: int | None = None) -> Iterator[dict[str, object]]:
    """Run inputs; yields what should not have happened, at the end a summary.

    Args:
        name: of the reader.
        folder: an empty one to work in.
        seed: of the inputs.
        numbers: of the inputs.
        status: file descriptor to write to: the number of the input at work, and how those before it ended.
    """
    watch, ended = Watch(folder), Ended()
    filled: list[int] = []
    for _ in surroundings(folder):
        pass
    reader = readers()[name](folder)
    reader.prepare()
    if status is not None:
        _limit_memory()
        signal.signal(signal.SIGXFSZ, lambda number, _: filled.append(number))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    armed = float("-inf")
    for number in numbers:
        if status is not None:
            os.pwrite(status, json.dumps([number, ended.counts]).ljust(200).encode(), 0)
            if time.monotonic() - armed > REARMED:
                armed = time.monotonic()
                faulthandler.dump_traceback_later(HANGS, exit=True)
        random = Random(f"{name}/{seed}/{number}")
        what = reader.damage(random)
        began = time.process_time()
        failure = None
        watch.is_on = True
        _limit_files(WRITTEN if status is not None else resource.RLIM_INFINITY)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                outcome = reader.read(random)
        except MvtecConvertError as error:
            outcome = "refused"
            if not error.reason.strip():
                failure = f"a refusal without a reason: {error!r}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            outcome, failure = "failed", "".join(traceback.format_exception(error)[-14:])
        _limit_files(resource.RLIM_INFINITY)
        watch.is_on = False
        if filled:
            failure = failure or f"wrote a file of more than {WRITTEN >> 20} MiB"
            filled.clear()
        took = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if opened := watch.take():
            failure = f"opened {opened[:3]}"
        elif took > SLOW:
            failure = failure or f"took {took:.1f} s of processor time"
        elif (peak - before) * 1024 > max(PEAK, ended.peak):
            failure = failure or f"took {(peak - before) // 1024} MiB"
        ended.counts["failed" if failure else outcome] += 1
        ended.slowest = max(ended.slowest, took)
        ended.peak = max(ended.peak, (peak - before) * 1024)
        if failure:
            yield {"reader": name, "number": number, "damage": what, "failure": failure}
        reader.restore()
    faulthandler.cancel_dump_traceback_later()
    yield {"reader": name, "counts": ended.counts, "slowest": ended.slowest, "peak": ended.peak}


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def main() -> None:
    """See `run`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("first", type=int)
    parser.add_argument("stop", type=int)
    parser.add_argument("status", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    status = os.open(given.status, os.O_WRONLY | os.O_CREAT)
    numbers = range(given.first, given.stop)
    for line in run(given.name, given.folder, given.seed, numbers, status):
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    os.close(status)
    shutil.rmtree(given.folder)


if __name__ == "__main__":
    main()
