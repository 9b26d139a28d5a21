"""The command line as a person uses it: what it prints, what it exits with, and what it must not import."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import mvtec_convert
from mvtec_convert.cli.app import BUG, make_app, run
from mvtec_convert.schemas import names


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MVTEC_ROOT", raising=False)
    monkeypatch.delenv("MVTEC_CONVERT_DEBUG", raising=False)


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["yolo", "--category", "carpet"], "carpet-yolo"),
        (["yolo", "--category", "carpet", "--task", "segment"], "carpet-yolo-segment"),
        (["yolo", "--task", "obb"], "{root}-yolo-obb"),
        (["coco"], "{root}-coco"),
        (["coco", "--category", "grid", "--category", "carpet"], "{root}-coco"),
        (["sam", "--category", "carpet"], "carpet-sam"),
        (["coco", "-o", "elsewhere/deep"], "elsewhere/deep"),
    ],
)
def test_an_export_lands_where_it_says_and_validates(sample_root, monkeypatch, capsys, arguments, folder):
    monkeypatch.setenv("MVTEC_ROOT", str(sample_root))
    folder = folder.format(root=sample_root.name)
    assert run(arguments) == 0
    out = capsys.readouterr().out
    assert "regions exact, lowest IoU 1.0000" in out
    assert f"folder    {shlex.quote(folder)}" in out
    assert "next      " in out
    assert run(["validate", folder]) == 0
    assert "fit to train on: 0 errors" in capsys.readouterr().out


def test_a_summary_counts_images_background_and_regions_by_split(sample_root, capsys):
    assert run(["yolo", str(sample_root), "-c", "carpet", "--background", "none"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train", "val"] in rows
    assert ["images", "17", "6"] in rows
    assert ["of", "them", "background", "0", "0"] in rows


def test_root_comes_from_argument_then_environment_then_usual_names(sample_root, monkeypatch, capsys, tmp_path):
    assert run(["stats", "--json"]) == 2
    Path("mvtec_anomaly_detection").symlink_to(sample_root)
    assert run(["stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["root"] == "mvtec_anomaly_detection"
    monkeypatch.setenv("MVTEC_ROOT", str(sample_root))
    assert run(["stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["root"] == str(sample_root)
    assert run(["stats", "--json", str(sample_root / "grid")]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["defective"] == 19


def test_without_a_dataset_the_error_names_the_ways_on(capsys):
    assert run(["coco"]) == 2
    error = capsys.readouterr().err
    assert "$MVTEC_ROOT" in error
    assert "--sample" in error
    assert "mvtec-convert download" in error
    assert "/data/mvtec_anomaly_detection" in error


@pytest.mark.usefixtures("_drawn_before")
def test_the_sample_is_drawn_once_into_the_cache_and_used_by_any_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    assert run(["stats", "--sample", "-c", "carpet"]) == 0
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.png")}
    assert drawn
    assert run(["coco", "--sample", "-c", "hazelnut"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.png")} == drawn
    assert "hazelnut-coco" in capsys.readouterr().out


@pytest.mark.usefixtures("_drawn_before")
def test_the_sample_can_be_written_anywhere_but_over_something(capsys):
    assert run(["sample", "here"]) == 0
    assert Path("here/carpet/ground_truth/hole/000_mask.png").is_file()
    assert run(["sample", "here"]) == 2
    assert "already there" in capsys.readouterr().err


def test_ratios_take_two_or_three_numbers(sample_root, capsys):
    assert run(["yolo", "--ratios", "0.6", "0.2", "0.2", str(sample_root), "-c", "grid"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["train", "val", "test"]
    assert run(["yolo", str(sample_root), "-c", "grid", "--ratios", "0.5", "0.5"]) == 0
    assert capsys.readouterr().out.split()[:3] == ["train", "val", "images"]
    assert run(["yolo", str(sample_root), "--ratios", "0.5"]) == 2
    assert "--ratios 0.8 0.2" in capsys.readouterr().err


def test_three_formats_share_one_split(sample_root):
    assert run(["yolo", str(sample_root), "-o", "a", "--seed", "7"]) == 0
    for command in ("coco", "sam"):
        assert run([command, str(sample_root), "-o", command, "--split-from", "a"]) == 0
        assert Path(command, "splits.json").read_bytes() == Path("a/splits.json").read_bytes()
        assert Path(command, "classes.json").read_bytes() == Path("a/classes.json").read_bytes()
    in_yolo = {path.name for path in Path("a/images/val").iterdir()}
    assert in_yolo == {path.name for path in Path("coco/images/val").iterdir()}
    assert in_yolo == {path.name for path in Path("sam/val").glob("*.png")}


def test_an_unknown_category_offers_the_nearest(sample_root, capsys):
    assert run(["yolo", str(sample_root), "-c", "carpt"]) == 2
    error = capsys.readouterr().err
    assert "carpet, grid, hazelnut" in error
    assert "did you mean 'carpet'?" in error


def test_markdown_is_a_table_and_nothing_else_surprises_a_report(sample_root, capsys):
    assert run(["stats", str(sample_root), "--markdown", "--table", "overview"]) == 0
    captured = capsys.readouterr()
    title, _, *lines = captured.out.splitlines()
    assert captured.err == ""
    assert title == "**What the dataset holds**"
    assert lines[0].startswith("| category  | classes | defect classes ")
    cells = [cell.strip() for cell in lines[2].split("|")]
    assert cells[1:4] == ["carpet", "5", "color, cut, hole, metal_contamination, thread"]
    assert lines[5].startswith("| **total** |")
    assert len({line.count("|") for line in lines[:6]}) == 1


@pytest.mark.usefixtures("_drawn_before")
def test_stats_go_on_past_a_bad_file_and_say_so(sample_root, tmp_path, capsys):
    assert run(["sample", "copy"]) == 0
    capsys.readouterr()
    Path("copy/carpet/ground_truth/hole/000_mask.png").write_bytes(b"no image")
    assert run(["stats", "copy", "-c", "carpet", "--json"]) == 0
    captured = capsys.readouterr()
    (finding,) = json.loads(captured.out)["findings"]
    assert finding["path"].endswith("000_mask.png")
    assert "000_mask.png" in captured.err


def test_validate_prints_path_line_code_message_and_exits_1(sample_root, capsys):
    assert run(["yolo", str(sample_root), "-o", "out"]) == 0
    label = next(path for path in sorted(Path("out/labels/train").iterdir()) if path.stat().st_size)
    label.write_text(label.read_text() + "99 0.5 0.5 0.1 0.1\n")
    capsys.readouterr()
    assert run(["validate", "out"]) == 1
    line = len(label.read_text().splitlines())
    assert f"{label}:{line}: unknown-class class 99" in capsys.readouterr().out
    assert run(["validate", "out", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["errors"] == 1


def test_schema_prints_a_schema_and_lists_them_when_asked_for_another(capsys):
    assert run(["schema", "coco"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "CocoFile"
    assert run(["schema", "nonsense"]) == 2
    assert ", ".join(names()) in capsys.readouterr().err


def test_wrong_usage_exits_2_and_names_the_option(capsys):
    assert run(["yolo", "--rato"]) == 2
    assert "--ratios" in capsys.readouterr().err
    assert run(["yolo", "--task", "detekt"]) == 2
    assert "segment" in capsys.readouterr().err


def test_a_bug_is_called_a_bug_and_shows_no_traceback(monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("boom")

    monkeypatch.setattr("mvtec_convert.layouts.load", broken)
    assert run(["stats", "anywhere"]) == BUG
    error = capsys.readouterr().err
    assert "bug in mvtec-convert: RuntimeError: boom" in error
    assert "Traceback" not in error


def test_names_of_files_cannot_write_to_the_terminal(tmp_path, capsys):
    folder = tmp_path / "evil" / "cat[red]" / "test" / "x\x1b[2Jy"
    folder.mkdir(parents=True)
    Image.new("RGB", (20, 20)).save(folder / "000.png")
    assert run(["coco", str(tmp_path / "evil")]) == 2
    error = capsys.readouterr().err
    assert "\x1b[2J" not in error
    assert "cat[red]" in error


def test_interruption_leaves_nothing_behind(sample_root, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mvtec_convert.formats.coco.CocoWriter.add", interrupted)
    assert run(["coco", str(sample_root), "-o", "out"]) == 130
    assert list(Path().iterdir()) == []
    assert "nothing was changed" in capsys.readouterr().err


def test_progress_shows_in_a_terminal_only(sample_root, capsys):
    assert run(["coco", str(sample_root)]) == 0
    assert capsys.readouterr().err == ""


HEAVY = (
    "numpy",
    "cv2",
    "shapely",
    "pycocotools",
    "mvtec_convert.schemas",
    "PIL",
    "kornia_rs",
    "orjson",
    "yaml",
    "pooch",
    "requests",
)


@pytest.mark.parametrize("arguments", [["--help"], ["yolo", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; from mvtec_convert.cli.app import run\n"
        f"assert run({arguments!r}) == 0\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("name", ["stats", "coco", "layouts"])
def test_a_command_loads_no_other(name):
    code = (
        "import sys; from mvtec_convert.cli.app import PANELS, run\n"
        f"assert run([{name!r}, '--help']) == 0\n"
        "every = [name for names in PANELS.values() for name in names]\n"
        "print([name for name in every if f'mvtec_convert.cli.{name}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str([name])


def test_formats_without_yaml_do_not_load_it():
    code = "import sys; from mvtec_convert.formats import coco, sam; print('yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_usual_png_is_converted_without_pillow(sample_root, tmp_path):
    code = (
        "import sys; from mvtec_convert.cli.app import run\n"
        f"assert run(['coco', {str(sample_root)!r}]) == 0\n"
        "print('PIL' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_list_of_commands_tells_of_each_what_its_own_help_begins_with(arguments, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    run(arguments)
    listed = capsys.readouterr().out
    for command in make_app().registered_commands:
        assert command.name in listed
        first = inspect.cleandoc(command.callback.__doc__).split("\n\n")[0].replace("\n", " ")
        assert re.sub(r"[`*]", "", first) in re.sub(r"\s+", " ", listed), command.name


def test_importing_the_package_imports_nothing_heavy():
    code = f"import sys, mvtec_convert; dir(mvtec_convert); print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_had():
    for name in mvtec_convert.__all__:
        assert getattr(mvtec_convert, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mvtec_convert.nonsense


@pytest.mark.parametrize("width", [80, 160])
def test_help_of_every_command_fits_the_terminal_and_shows_an_example(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")

    def help_of(*command: str) -> str:
        assert run([*command, "--help"]) == 0
        return capsys.readouterr().out

    top = help_of()
    for command in (each.name or each.callback.__name__ for each in make_app().registered_commands):
        assert command in top
        text = help_of(command)
        assert f"Example: mvtec-convert {command}" in text
        assert max(map(len, text.splitlines())) <= width
