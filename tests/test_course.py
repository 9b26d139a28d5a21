"""The guide for a course: its commands are run here in order, and must print what it shows."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mvtec_convert.cli.app import run
from mvtec_convert.published import mvtec_ad

HOME = Path(__file__).parent.parent
COURSE = (HOME / "docs" / "course.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", COURSE, flags=re.DOTALL | re.MULTILINE)


def steps() -> list[tuple[str, str, str]]:
    """(language, code, the output shown after it or nothing) of every command and every piece of Python, in order."""
    following = [*BLOCKS[1:], ("", "")]
    return [
        (language, code, after if kind == "text" else "")
        for (language, code), (kind, after) in zip(BLOCKS, following, strict=True)
        if language != "text"
    ]


@pytest.fixture
def workplace(sample_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, where `--sample` is the sample that the other tests read too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MVTEC_ROOT", str(sample_root))
    monkeypatch.setattr("mvtec_convert.cli.options.sample_root", lambda: sample_root)
    return tmp_path


def test_every_command_runs_and_prints_what_is_shown(workplace: Path, capsys: pytest.CaptureFixture[str]):
    compared = 0
    for language, code, shown in steps():
        if language == "python":
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            printed = done.stdout
        elif code.startswith("mvtec-convert "):
            for command in code.splitlines():
                assert run(shlex.split(command)[1:]) == 0, command
            printed = capsys.readouterr().out
        else:
            continue
        if shown:
            assert printed.strip("\n") == shown.strip("\n"), code
            compared += 1
    assert compared == 7
    assert {path.name for path in workplace.iterdir()} == {
        "carpet-yolo",
        "carpet-yolo-classify",
        "carpet-yolo-world",
        "carpet-sam",
        "carpet.html",
        "sheet.png",
    }


def test_its_steps_are_those_of_the_course():
    commands = [line for language, code, _ in steps() if language == "bash" for line in code.splitlines()]
    assert len(commands) == 17
    assert all(line.startswith(("mvtec-convert ", "python examples/")) for line in commands)
    assert [title[0] for title in re.findall(r"^## (.+)$", COURSE, flags=re.MULTILINE)] == list("12345")


def test_every_example_it_names_has_the_options_it_gives():
    for _, code, _ in steps():
        for line in code.splitlines():
            if line.startswith("python "):
                _, path, *arguments = shlex.split(line)
                example = (HOME / path).read_text(encoding="utf-8")
                for argument in arguments:
                    assert not argument.startswith("--") or f'"{argument}"' in example, line


def test_the_published_figures_are_those_of_mvtec_ad():
    published = mvtec_ad()
    carpet = published["carpet"]
    counts = {"good": carpet.images["train/good"] + carpet.images["test/good"]}
    counts |= {name.removeprefix("test/"): n for name, n in carpet.images.items() if "/good" not in name}
    (written,) = re.findall(r"^published = (\{.+\})$", COURSE, flags=re.MULTILINE)
    assert ast.literal_eval(written) == counts
    everyone = sum(counts.values())
    assert f"{100 * counts['good'] / everyone:.0f} % on the published carpet" in COURSE
    defects = [n for category in published.values() for name, n in category.images.items() if "/good" not in name]
    assert f"Over all {len(defects)} defect classes" in COURSE
    assert f"run from {min(defects)} to {max(defects)}" in COURSE
