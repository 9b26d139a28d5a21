"""Which files are opened, in whatever way Python opens them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_watchers: list[set[Path]] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if _watchers and event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        name = Path(os.fsdecode(arguments[0]))
        for heard in _watchers:
            heard.add(name.absolute())


sys.addaudithook(_hear)  # cannot be removed again; docs.python.org, sys, Audit events


@contextmanager
def opened_files() -> Iterator[set[Path]]:
    """Those that are opened within the block, by this process: absolute, but not resolved."""
    heard: set[Path] = set()
    _watchers.append(heard)
    try:
        yield heard
    finally:
        _watchers.remove(heard)
