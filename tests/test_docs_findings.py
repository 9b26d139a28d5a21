"""docs/findings.md has a row for every code, and no other."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.broken import documented

PACKAGE = Path(__file__).parent.parent / "mvtec_convert"


def codes_in(path: Path) -> set[str]:
    """The codes of a file's findings: the first argument of what makes one, an error's `code`, a tuple's head."""
    found = set()
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    choices = [node.slice for node in nodes if isinstance(node, ast.Subscript)]  # Literal["repeat-factor", ...]
    for node in nodes:
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            named = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            first = next(iter(node.args if name.lower().endswith("finding") else named), None)
        else:
            first = node.elts[0] if isinstance(node, ast.Tuple) and len(node.elts) > 1 and node not in choices else None
        if isinstance(first, ast.Constant) and isinstance(first.value, str) and is_code(first.value):
            found.add(first.value)
    return found


def is_code(text: str) -> bool:
    return text == "schema" or text in ONE_WORD or ("-" in text[1:] and text.replace("-", "").isalpha())


ONE_WORD = {"area", "crowd", "unlabelled"}


def documented_codes(*sections: str) -> set[str]:
    return {code for section in sections for code, _ in documented().get(section, ())}


def test_every_code_of_a_format_is_explained_in_its_table():
    for path in (PACKAGE / "formats").glob("[a-z]*.py"):
        missing = codes_in(path) - documented_codes(path.stem)
        assert not missing, f"docs/findings.md lacks rows under the heading of {path.stem!r}"


def test_every_code_of_the_package_is_explained():
    codes = {code for path in PACKAGE.rglob("*.py") for code in codes_in(path)}
    assert {"split-leak", "missing-mask", "area", "schema"} <= codes
    assert codes - documented_codes(*documented()) == set()


def test_no_code_is_explained_that_does_not_exist():
    codes = {code for path in PACKAGE.rglob("*.py") for code in codes_in(path)}
    assert documented_codes(*documented()) - codes == set()
