"""What the tests of traps share: which findings there are to prove, and how to break an export."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mvtec_convert as mc
from tests.broken import DOCS

Breaks = Callable[[Path], Any]
Suffers = Callable[[Path], None]


def codes(folder: Path, format: str | None = None) -> set[str]:
    """The codes that `validate` finds."""
    return {finding.code for finding in mc.validate(folder, format=format).findings}


def codes_in(section: str) -> set[str]:
    """The codes of one section of docs/findings.md."""
    text = DOCS.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE))


def change(file: str, *place: str | int, **values: Any) -> Breaks:
    """Set values at a place of a JSON file; None removes a key."""

    def breaks(folder: Path) -> None:
        document = json.loads((folder / file).read_text())
        record = document
        for key in place:
            record = record[key]
        record.update(values)
        for gone in [key for key, value in values.items() if value is None]:
            del record[gone]
        (folder / file).write_text(json.dumps(document))

    return breaks
