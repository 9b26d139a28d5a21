"""What the tests of traps share: which findings there are to prove, and how to break an export."""

from __future__ import annotations

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
