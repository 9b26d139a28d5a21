"""Exports that are cut off, each in a process of its own; run as a script by tests/test_interruptions.py.

A process that starts anew would spend nearly all its life on loading libraries. So this one loads them once, and forks
for each export. What it is asked to do comes as JSON in its one argument; what went wrong is what it prints.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mvtec_convert.cli.app import run
from mvtec_convert.runs import workers
from tests.test_pipeline import contents

Limit = Callable[[], object]

FORKED = 12
"""Images from which on there is a process for each job."""


def forked(arguments: list[str], limit: Limit = lambda: None) -> int:
    """Start an export in a process of its own; its id. What it prints goes to `told`."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        limit()
        with told.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            from mvtec_convert.cli import console

            console.out.file = console.err.file = file
            code = run(arguments)
    except KeyboardInterrupt:
        code = 130
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for it; its exit code, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


told = Path()


def main(folder: Path, count: int, with_signal: str, seed: int, jobs: int) -> None:
    """Cut `count` exports off at random moments; each time look at what is there, and let the next one succeed."""
    global told
    told = folder / "told.txt"
    place, source = folder / "place", folder / "source"
    place.mkdir()
    workers.WORTH_FORKING = FORKED  # else each run would be mostly about images that are all the same
    commands = {
        seed: ["yolo", str(source), "-o", str(place / "out"), "--seed", str(seed), "--place", "copy", "-j", str(jobs)]
        for seed in (1, 2)
    }
    with told.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        check(run(["yolo", str(source), "-o", str(folder / "elsewhere"), "-j", "1"]) == 0, "the first run fails")
    fresh = {}
    for split_seed, command in commands.items():
        started = time.monotonic()
        check(ended(forked([*command, "--fresh"])) == 0, "a fresh run fails")
        duration = time.monotonic() - started
        fresh[split_seed] = contents(place / "out")
    check(fresh[1] != fresh[2], "the two exports are the same")
    untouched = state(source)
    drawn = random.Random(seed)
    ends = []
    for turn in range(count):
        there, wanted = (2, 1) if turn % 2 == 0 else (1, 2)
        child = forked(commands[wanted])
        time.sleep(drawn.uniform(0, duration * 1.1))
        os.kill(child, getattr(signal, with_signal))
        code = ended(child)
        ends.append(code)
        found = contents(place / "out")
        check(found in (fresh[there], fresh[wanted]), f"turn {turn}: the target is neither the old nor the new export")
        if with_signal == "SIGINT":
            check(code in (0, 130), f"turn {turn}: exit code {code}: {told.read_text()}")
            check(names(place) == ["out"], f"turn {turn}: litter: {names(place)}")
            # Python itself tells of a Ctrl-C that falls into a callback, where nobody can answer it.
            text = told.read_text()
            check("Traceback" not in text or "Exception ignored in" in text, text)
        check(ended(forked(commands[wanted])) == 0, f"turn {turn}: the next run fails: {told.read_text()}")
        check(contents(place / "out") == fresh[wanted], f"turn {turn}: the next run is not as a fresh one")
        check(names(place) == ["out"], f"turn {turn}: the next run leaves {names(place)}")
    check(state(source) == untouched, "the source was written to")
    print(json.dumps({"cut off": sum(code != 0 for code in ends), "whole": sum(code == 0 for code in ends)}))


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file."""
    return {name: (text, (folder / name).stat().st_mtime_ns) for name, text in contents(folder).items()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def check(holds: bool, message: str) -> None:
    if not holds:
        print(message)
        sys.exit(1)


if __name__ == "__main__":
    main(**{name: Path(value) if name == "folder" else value for name, value in json.loads(sys.argv[1]).items()})
