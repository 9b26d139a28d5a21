"""Formats and layouts of other packages: the example in `examples/plugin`, and packages that are broken."""

from __future__ import annotations

import importlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert import plugins
from mvtec_convert.cli.app import run
from mvtec_convert.errors import ExportError, PluginError, SelectionError
from mvtec_convert.formats import SimpleFormat, format_named, formats
from mvtec_convert.layouts import layouts, load

EXAMPLE = Path(__file__).parent.parent / "examples" / "plugin"
INSTALL = ["-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--target"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed as a user would, without network."""
    target = tmp_path_factory.mktemp("installed")
    done = subprocess.run([sys.executable, *INSTALL, str(target), str(EXAMPLE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Whatever is put on the path is looked up anew, and forgotten afterwards."""
    before = set(sys.path)
    plugins.plugins.cache_clear()
    yield monkeypatch
    plugins.plugins.cache_clear()
    # Only what came from there: libraries that were loaded meanwhile must not be loaded a second time.
    added = tuple(place for place in sys.path if place not in before)
    for name, module in list(sys.modules.items()):
        if added and str(getattr(module, "__file__", None)).startswith(added):
            del sys.modules[name]


@pytest.fixture
def example(installed: Path, on_path: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder to work in, with the example installed."""
    on_path.syspath_prepend(installed)
    on_path.chdir(tmp_path)
    return tmp_path


def package(folder: Path, code: str, *, group: str, name: str) -> None:
    """An installed package called `broken-one` whose module `broken_module` has this code."""
    (folder / "broken_one-1.0.dist-info").mkdir(parents=True)
    (folder / "broken_module.py").write_text(code)
    (folder / "broken_one-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: broken-one\nVersion: 1.0\n"
    )
    entry = f"[mvtec_convert.{group}]\n{name} = broken_module{':Broken' if group == 'formats' else ''}\n"
    (folder / "broken_one-1.0.dist-info" / "entry_points.txt").write_text(entry)
    importlib.invalidate_caches()


def photos(root: Path) -> Path:
    """What the example's layout reads."""
    mask = np.zeros((30, 40), np.uint8)
    mask[3:8, 4:9] = 255
    for defect in ("good", "dent"):
        (root / defect).mkdir(parents=True)
        for name in ("a", "b"):
            Image.new("RGB", (40, 30)).save(root / defect / f"{name}.jpg")
            if defect != "good":
                Image.fromarray(mask).save(root / defect / f"{name}.mask.png")
    return root


def test_the_example_is_small() -> None:
    for path in (EXAMPLE / "mvtec_convert_example").glob("[a-z]*.py"):
        body = path.read_text(encoding="utf-8").split('"""')[::2]  # without docstrings
        lines = [line for line in "".join(body).splitlines() if line.strip() and "import" not in line]
        assert len(lines) <= 20, path.name


def test_each_format_is_listed_on_one_line_with_its_command_and_who_reads_it(
    capsys: pytest.CaptureFixture[str], on_path: pytest.MonkeyPatch
) -> None:
    on_path.setattr("mvtec_convert.cli.console.out.width", 80, raising=False)
    assert run(["formats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, target in formats().items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.rstrip().endswith(importlib.import_module(target.__module__).READERS)
        command = line.removeprefix(name).split("  ")
        arguments = shlex.split(next(part for part in command if part.strip()))
        assert run([*arguments, "--help"]) == 0
        assert "Usage: mvtec-convert" in capsys.readouterr().out


def test_its_format_and_layout_are_listed(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats"]) == 0
    assert "export --format boxes-csv" in (listed := capsys.readouterr().out)
    assert "Boxes as CSV: spreadsheets, pandas" in listed
    assert run(["formats", "boxes-csv"]) == 0
    assert "true, false" in capsys.readouterr().out
    assert run(["layouts"]) == 0
    assert "a.mask.png beside a.jpg" in capsys.readouterr().out
    assert run(["layouts", "side_by_side"]) == 0
    assert "<defect>/a.mask.png" in capsys.readouterr().out


def test_its_layout_is_recognised_by_every_command(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = photos(example / "bracket")
    assert run(["stats", str(root), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["defective"] == 2
    assert run(["coco", str(root)]) == 0
    assert "2 of 2 regions exact" in capsys.readouterr().out
    (root / "dent" / "a.mask.png").unlink()
    assert run(["coco", str(root)]) == 2
    assert "no a.mask.png beside it" in capsys.readouterr().err
    assert load(root).layout == "side_by_side"


def test_its_format_is_written_by_command_and_by_function(
    example: Path, sample_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(sample_root), "-c", "carpet", "--format", "boxes-csv"]
    assert run([*arguments, "--set", "header=true"]) == 0
    lines = Path("carpet-boxes-csv/boxes.csv").read_text().splitlines()
    assert lines[0] == "split,image,class,x0,y0,x1,y1"
    dataset = mc.load(sample_root).filter(category="carpet")
    summary = mc.to_format(dataset, "again", "boxes-csv", {"header": True})
    assert Path("again/boxes.csv").read_text().splitlines() == lines
    regions = sum(len(sample.regions()) for sample in dataset)
    assert len(lines) - 1 == regions == sum(part.regions.total() for part in summary.splits.values())
    mc.to_coco(dataset, "coco")
    boxes = {
        (image["file_name"], *(int(edge) for edge in (x, y, x + width, y + height)))
        for split in ("train", "val")
        for document in [json.loads(Path(f"coco/annotations/instances_{split}.json").read_text())]
        for image in document["images"]
        for annotation in document["annotations"]
        if annotation["image_id"] == image["id"]
        for x, y, width, height in [annotation["bbox"]]
    }
    assert {(name, *map(int, edges)) for _, name, _, *edges in (line.split(",") for line in lines[1:])} == boxes
    assert {path.name for path in Path("again/images/train").iterdir()} == {
        path.name for path in Path("coco/images/train").iterdir()
    }
    capsys.readouterr()
    assert run([*arguments, "--set", "headr=true"]) == 2
    assert "its options are header" in capsys.readouterr().err
    assert run([*arguments, "--set", "header=maybe"]) == 2
    assert "header=maybe is no value of this option" in capsys.readouterr().err
    assert run([*arguments, "--set", "header"]) == 2
    assert "--set option=value" in capsys.readouterr().err


def test_an_export_of_it_says_what_it_is_and_that_nothing_checks_it(
    example: Path, installed: Path, sample_root: Path, on_path: pytest.MonkeyPatch
) -> None:
    mc.to_format(mc.load(sample_root).filter(category="carpet"), "out", "boxes-csv")
    found = mc.validate("out")
    assert (found.format, [each.code for each in found.findings]) == ("boxes-csv", ["not-checked"])
    with pytest.raises(ExportError, match="boxes-csv can be written, but not read back"):
        next(mc.read_export("out"))
    with pytest.raises(ExportError, match="not read back"):
        mc.class_names("out")
    on_path.setattr(sys, "path", [path for path in sys.path if path != str(installed)])
    plugins.plugins.cache_clear()
    with pytest.raises(ExportError, match="in the format boxes-csv, which nothing here knows"):
        mc.validate("out")


def test_a_format_of_ones_own_needs_no_package(sample_root: Path, tmp_path: Path) -> None:
    class Names(SimpleFormat):
        name = "names"

        def rows(self, item, image, labels):
            return [f"{item.name}\n"]

        def write(self, out, plan, encoded):
            (out / "names.txt").write_bytes(b"".join(row for image in encoded for row in image.rows))

    dataset = mc.load(sample_root).filter(category="grid")
    mc.to_format(dataset, tmp_path / "out", Names())
    assert len((tmp_path / "out" / "names.txt").read_text().splitlines()) == len(dataset)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import a_library_that_is_not_there", "ModuleNotFoundError: No module named 'a_library_that_is_not_there'"),
        ("raise SystemError", "SystemError"),
        ("class Other: pass", "AttributeError: module 'broken_module' has no attribute 'Broken'"),
        ("class Broken:\n    name = 'bad'", "it lacks judge, image_path, "),
    ],
    ids=["import", "raises", "absent", "incomplete"],
)
def test_a_broken_format_harms_nobody_and_is_named(
    code: str, told: str, sample_root: Path, tmp_path: Path, on_path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(tmp_path / "site", code, group="formats", name="bad")
    on_path.syspath_prepend(tmp_path / "site")
    assert "bad" not in formats()
    mc.to_coco(mc.load(sample_root).filter(category="grid"), tmp_path / "coco")
    assert run(["validate", str(tmp_path / "coco")]) == 0
    assert run(["formats"]) == 0
    captured = capsys.readouterr()
    assert "the format 'bad' of the package broken-one fails" in captured.err
    assert told in captured.err
    assert "pip uninstall broken-one" in captured.err
    assert run(["export", "--format", "bad", str(sample_root)]) == 2
    assert "broken-one" in capsys.readouterr().err


def test_a_broken_layout_harms_nobody_and_is_named(
    sample_root: Path, tmp_path: Path, on_path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(tmp_path / "site", "def matches(root): ...", group="layouts", name="bad")
    on_path.syspath_prepend(tmp_path / "site")
    assert "bad" not in layouts()
    assert load(sample_root).layout == "mvtec_ad"
    with pytest.raises(PluginError, match="package broken-one fails: it lacks scan"):
        load(sample_root, layout="bad")
    with pytest.raises(SelectionError, match="no layout 'worse'"):
        load(sample_root, layout="worse")
    with pytest.raises(mc.MvtecConvertError, match=r"no dataset here.*broken-one"):
        load(tmp_path / "site")
    assert run(["layouts"]) == 0
    assert "the layout 'bad' of the package broken-one fails" in capsys.readouterr().err


FAILS = "def matches(root): return 1 / 0\ndef scan(root, report): return 1 / 0\n"


def test_a_layout_that_fails_at_work_is_passed_over_and_blamed_where_it_was_asked_for(
    sample_root: Path, tmp_path: Path, on_path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(tmp_path / "site", FAILS, group="layouts", name="bad")
    on_path.syspath_prepend(tmp_path / "site")
    assert load(sample_root).layout == "mvtec_ad"
    with pytest.raises(mc.MvtecConvertError, match=r"no dataset here.*broken-one fails: ZeroDivisionError"):
        load(tmp_path / "site")
    assert run(["stats", str(sample_root), "--source-layout", "bad"]) == 2
    error = capsys.readouterr().err
    assert "the installed package broken-one fails: ZeroDivisionError" in error
    assert "bug in mvtec-convert" not in error


def test_a_format_that_fails_at_work_is_blamed_and_leaves_nothing(
    sample_root: Path, tmp_path: Path, on_path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "from mvtec_convert.formats import SimpleFormat\n"
        "class Broken(SimpleFormat):\n"
        "    name = 'bad'\n"
        "    @classmethod\n"
        "    def recognises(cls, folder): return {}[folder]\n"
        "    def rows(self, item, image, labels): return [str(1 / 0)]\n"
        "    def write(self, out, plan, encoded): list(encoded)\n"
    )
    package(tmp_path / "site", code, group="formats", name="bad")
    on_path.syspath_prepend(tmp_path / "site")
    on_path.chdir(tmp_path)
    assert run(["stats", str(sample_root), "-c", "grid"]) == 0  # asks every format whether this is an export
    assert run(["export", str(sample_root), "--format", "bad", "-o", "out"]) == 2
    assert "the installed package broken-one fails: ZeroDivisionError" in capsys.readouterr().err
    assert not Path("out").exists()


def test_every_format_of_this_package_says_who_reads_it() -> None:
    for name in formats():
        module = sys.modules[format_named(name).__module__]
        assert getattr(module, "READERS", None), f"{name}: give the file of the format a READERS, one line"
