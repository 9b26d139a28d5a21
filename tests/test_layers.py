"""The rules that keep the package easy to change: who may import whom, and who may print."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mvtec_convert"
FILES = sorted(PACKAGE.rglob("*.py"))
BARE = {"dataset", "errors", "findings", "opening", "tables", "latex", "plugins", "published", "source_tree"}
WHEN_ASKED = {"dataset": {"notebook", "geometry.images", "geometry.regions", "splits"}}
"""What the ground floor imports once an object is asked to show itself, for its regions or for a split, not before."""
READS_MORE = {
    "kolektor": {"geometry.images"}, "own": {"geometry.images", "own_data"}, "__init__": {"own_data"},
    "mvtec_ad": {"own_data"},
}  # fmt: skip
"""Layouts where a black mask is all that says an image is good; and descriptions of what masks mean."""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """Names of the modules that a file imports, `mvtec_convert.x.y` in full; without those for type checking only."""
    found = set()
    tree = parsed(path)
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def own(path: Path) -> set[str]:
    """The package's own modules that a file imports: `formats.coco`, `errors`."""
    names = {name.removeprefix("mvtec_convert.") for name in imported(path) if name.startswith("mvtec_convert")}
    return {".".join(name.split(".")[:2]) if name.split(".")[0] in FOLDERS else name.split(".")[0] for name in names}


FOLDERS = {path.parent.name for path in FILES if path.parent != PACKAGE}


@pytest.mark.parametrize("name", sorted(BARE))
def test_the_ground_floor_imports_the_standard_library_alone(name):
    modules = {module.split(".")[0] for module in imported(PACKAGE / f"{name}.py")}
    assert modules - {"mvtec_convert"} <= sys.stdlib_module_names
    assert own(PACKAGE / f"{name}.py") <= BARE | WHEN_ASKED.get(name, set())


@pytest.mark.parametrize("path", sorted((PACKAGE / "layouts").glob("*.py")), ids=lambda path: path.stem)
def test_layouts_know_the_ground_floor_alone(path):
    others = {name for name in own(path) if name.split(".")[0] != "layouts"}
    assert others <= BARE | READS_MORE.get(path.stem, set())
    assert {module.split(".")[0] for module in imported(path)} - {"mvtec_convert"} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", sorted((PACKAGE / "geometry").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_geometry_knows_the_ground_floor_and_itself_alone(path):
    assert {name for name in own(path) if not name.startswith("geometry.")} <= BARE


@pytest.mark.parametrize("path", sorted((PACKAGE / "runs").glob("*.py")), ids=lambda path: path.stem)
def test_how_a_run_is_carried_out_knows_no_single_format_no_layout_and_no_statistics(path):
    found = own(path)
    assert not found & {f"formats.{each.stem}" for each in (PACKAGE / "formats").glob("[a-z]*.py")}
    assert not {name for name in found if name.startswith(("layouts", "cli", "statistics", "pipeline"))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_images_and_pillow_decode_pixels(path):
    if path.parent.name != "geometry" or path.name not in {"images.py", "pillow.py"}:
        decoders = {"Image.open", "cv2.imread", "cv2.imdecode"}
        calls = {ast.unparse(node) for node in ast.walk(parsed(path)) if isinstance(node, ast.Attribute)}
        assert not calls & decoders


@pytest.mark.parametrize("path", sorted((PACKAGE / "formats").glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_formats_import_neither_layouts_nor_each_other(path):
    others = {f"formats.{other.stem}" for other in (PACKAGE / "formats").glob("[a-z]*.py") if other != path}
    found = own(path)
    assert not found & others
    assert not {name for name in found if name.startswith(("layouts", "cli", "statistics")) or name == "pipeline"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "source_checks").glob("*.py")), ids=lambda path: path.stem)
def test_checks_of_a_source_know_no_format_no_layout_and_no_export(path):
    assert not {name for name in own(path) if name.startswith(("formats", "layouts", "cli", "pipeline", "plan"))}


@pytest.mark.parametrize(
    "path", [PACKAGE / "pipeline.py", *sorted((PACKAGE / "statistics").glob("*.py"))], ids=lambda path: path.stem
)
def test_pipeline_and_statistics_name_no_single_format_or_layout(path):
    assert not {found for found in own(path) if found.split(".")[-1] in {"yolo", "coco", "sam", "mvtec_ad"}}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_command_line_prints_exits_reads_the_environment_or_knows_rich(path):
    if "cli" in path.parts or path.name == "__main__.py":
        return
    names = {node.id for node in ast.walk(parsed(path)) if isinstance(node, ast.Name)}
    assert not names & {"print", "exit", "input"}
    assert not {module for module in imported(path) if module.split(".")[0] in {"rich", "typer", "click"}}
    assert not re.search(r"\bos\.(environ|getenv)", path.read_text(encoding="utf-8"))
    assert "sys.exit" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_console_uses_rich(path):
    if path.name != "console.py":
        assert not {module for module in imported(path) if module.split(".")[0] == "rich"}
