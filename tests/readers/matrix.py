"""docs/trainers.md, made from what the proofs in this folder say they proved.

Written by `python -m tests.readers.matrix`.
"""

from __future__ import annotations

import importlib
import re
from importlib.metadata import version
from pathlib import Path

from mvtec_convert.tables import Table, markdown

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "trainers.md"
COLUMNS = ("target", "command", "read by", "version", "loses", "proof")

HEAD = """# Which trainer reads what

Each row is proven by a test that drives the real reader over the built-in sample, and takes at least one optimisation
step where there is something to train: `pip install -e '.[dev,examples]' && pytest tests/readers`. The page is made by
`python -m tests.readers.matrix`; a test fails when it says something else than the proofs. The
versions are those of the last proof.

Some trainers are in no package that could be installed beside the others. Where a repository and a commit are named,
its own reader was run by hand on that day: it read the whole sample, and each broken dataset of
`tests/readers/test_traps_*.py` did to it what is said there. `tests/readers/originals.py` says how to repeat it.
"""


def rows() -> list[tuple[str, ...]]:
    """One row for each proof, in the order of the modules' names."""
    found = []
    for path in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(f"tests.readers.{path.stem}")
        proofs = getattr(module, "PROOFS", [])
        for proof in [module.PROOF] if hasattr(module, "PROOF") else proofs:
            name = proof["package"]
            link = f"[{path.stem.removeprefix('test_')}](../tests/readers/{path.name})"
            command = f"`{proof['command']}`" if proof["command"].startswith("mvtec-convert") else proof["command"]
            reader = proof["reader"] + (f"; by hand: {proof['also']}" if "also" in proof else "")
            found.append((proof["target"], command, reader, f"{name} {version(name)}", proof["loses"], link))
    return found


def page() -> str:
    """The whole page."""
    return f"{HEAD}\n{markdown(Table(COLUMNS, tuple(rows())))}\n"


def without_versions(text: str) -> list[str]:
    """The page's lines as words, without what changes with every release of a trainer and with the padding."""
    cells = (re.sub(r"\| (\S+) [\d.][\w.+]* +\|", r"| \1 |", line) for line in text.splitlines())
    return [" ".join(re.sub(r"-{3,}:?", "---", line).split()) for line in cells]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
