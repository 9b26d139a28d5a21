"""Tables in every form, read back by those forms' own readers where there is one."""

from __future__ import annotations

import csv as csv_files
import io
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvtec_convert.errors import printable
from mvtec_convert.latex import MOST_ROWS, PACKAGES, escape, latex
from mvtec_convert.tables import Share, Table, csv, html, markdown, shown, without

EVERY_COMMAND = "\\{}$&%#_~^<>|[]*`'\"--- ?`!`"
TEXT = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]) | st.sampled_from(EVERY_COMMAND), min_size=1)

TABLE = Table(
    ("category", "class", "images", "share"),
    (("carpet", "hole", 1204, Share(0.25)), ("carpet", "metal_contamination", 3, None)),
    total=("total", "", 1207, Share(1)),
    name="classes",
    title="All classes",
    note="Counted by hand.",
    keys=2,
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        ("hole", "hole"),
        ("a\nb", "a\\nb"),
        (1204, "1,204"),
        (0.0, "0.00"),
        (0.9999, "1.00"),
        (17.23, "17.2"),
        (0.0456, "0.046"),
        (2370982.4, "2,370,982"),
        (Share(0), "0 %"),
        (Share(0.378), "37.8 %"),
        (Share(1), "100 %"),
        (Share(0.00853), "0.85 %"),
        (Share(1 / 2**20), "0.000095 %"),
        (Share(0.051), "5.1 %"),
    ],
)
def test_cells_as_people_read_them(cell, text: str):
    assert shown(cell) == text


def test_numbers_are_flush_right_and_text_only_on_request():
    assert TABLE.flush_right == (False, False, True, True)
    assert Table(("a", "b"), (("1 of 2", "x"),), frozenset({"a"})).flush_right == (True, False)


def test_columns_can_be_chosen_and_left_out():
    assert TABLE.selected(["images", "class"]).columns == ("class", "images")
    assert TABLE.selected(["images", "class"]).keys == 1
    assert without(TABLE, "share").total == ("total", "", 1207)
    assert TABLE.without_constant_key().columns == ("class", "images", "share")
    assert without(TABLE, "class").without_constant_key().columns == ("category", "images", "share")


def test_pieces_hold_every_column_once_beside_the_keys():
    pieces = list(TABLE.pieces(lambda table: len(table.columns) <= 3))
    assert [piece.columns for piece in pieces] == [("category", "class", "images"), ("category", "class", "share")]
    assert list(TABLE.pieces(lambda table: True)) == [TABLE]
    assert len(list(TABLE.pieces(lambda table: False))) == 2


def test_no_column_stands_alone_where_it_can_have_company():
    wide = Table(("class", *"abcdef"), (("hole", *range(6)),))
    pieces = [piece.columns[1:] for piece in wide.pieces(lambda table: len(table.columns) <= 6)]
    assert pieces == [("a", "b", "c"), ("d", "e", "f")]
    pieces = [piece.columns[1:] for piece in wide.pieces(lambda table: len(table.columns) <= 5)]
    assert pieces == [("a", "b", "c", "d"), ("e", "f")]
    one_is_wide = list(wide.pieces(lambda table: len(table.columns) <= 2 or table.columns[1] == "a"))
    assert [piece.columns[1:] for piece in one_is_wide] == [("a", "b", "c", "d", "e", "f")]


def test_markdown():
    assert markdown(TABLE).splitlines() == [
        "| category  | class               |    images |     share |",
        "| --------- | ------------------- | --------: | --------: |",
        "| carpet    | hole                |     1,204 |    25.0 % |",
        "| carpet    | metal_contamination |         3 |         - |",
        "| **total** |                     | **1,207** | **100 %** |",
    ]


@given(TEXT)
def test_a_cell_stays_one_cell_in_markdown(text: str):
    lines = markdown(Table(("name", "n"), ((text, 1),))).splitlines()
    assert len(lines) == 3
    assert len(re.findall(r"(?<!\\)\|", lines[2].replace("\\\\", ""))) == 3 or "\\" in text


def test_csv_has_plain_numbers():
    (*read,) = csv_files.reader(io.StringIO(csv([TABLE])))
    assert read == [
        ["category", "class", "images", "share"],
        ["carpet", "hole", "1204", "0.25"],
        ["carpet", "metal_contamination", "3", ""],
        ["total", "", "1207", "1"],
    ]


@given(st.lists(st.text(), min_size=2, max_size=2), st.floats(allow_nan=False, allow_infinity=False))
def test_csv_gives_back_any_text_and_six_digits(names: list[str], number: float):
    printed = csv([Table(("a", "b", "n"), ((*names, number),))])
    (_, row) = csv_files.reader(io.StringIO(printed, newline=""))
    assert row[:2] == [printable(name) for name in names]
    assert float(row[2]) == pytest.approx(number, rel=1e-5)


def test_several_tables_in_csv_name_themselves():
    assert csv([TABLE, without(TABLE, "class")]).split("\n\n")[1].splitlines()[:2] == [
        "table,category,images,share",
        "classes,carpet,1204,0.25",
    ]


@given(TEXT)
def test_html_is_well_formed_and_holds_the_text(text: str):
    root = ElementTree.fromstring(html(Table(("name",), ((text,),), total=(text,), title=text)))
    assert [cell.text for cell in root.iter("td")] == [shown(text)]
    assert root.find("caption").text == text
    assert root.find("tfoot/tr/th").text == shown(text)


def test_latex_of_a_table():
    printed = latex(TABLE)
    assert r"\caption{All classes}\label{tab:classes}" in printed
    assert r"\begin{tabular}{lrr}" in printed  # one category, which need not be repeated
    assert r"metal\_contamination & 3 & - \\" in printed
    assert r"hole & 1,204 & 25.0 \% \\" in printed
    assert [printed.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 2, 1]
    assert "Counted by hand." in printed


def test_long_tables_run_over_pages_and_wide_ones_come_in_pieces():
    rows = tuple((f"class {number}", number) for number in range(MOST_ROWS + 1))
    assert r"\begin{longtable}" in latex(Table(("class", "images"), rows))
    assert r"\begin{longtable}" not in latex(Table(("class", "images"), rows[:-1]))
    wide = Table(("class", *(f"column{number}" for number in range(12))), (("hole", *range(12)),))
    assert latex(wide).count(r"\begin{tabular}") == 2
    long = Table(wide.columns, wide.rows * (MOST_ROWS + 1))
    assert latex(long).count(r"\begin{longtable}") == 2
    # `longtable` counts every one as a table; the second piece is none of its own.
    assert latex(long).count(r"\addtocounter{table}{-1}") == 1


@given(TEXT)
def test_nothing_in_a_cell_is_a_command_for_latex(text: str):
    escaped = escape(text)
    # What is left once every known escape is taken away must be harmless.
    known = r"\\(?:text(?:backslash|asciitilde|asciicircum|less|greater|bar)\{\}|[{}$&%#_])|\{[\[*]\}|-\{\}"
    assert not set(re.sub(known, "", escaped)) & set("\\{}$&%#_~^<>|[*")
    assert "--" not in escaped


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
def test_latex_compiles_and_fits_the_page(tmp_path: Path):
    rows = tuple((f"{EVERY_COMMAND}{number}", "metal_contamination", number, Share(0.5)) for number in range(30))
    tables = [Table(TABLE.columns, rows[:count], TABLE.numeric, ("[total]", "*", 1, None), f"t{count}", EVERY_COMMAND,
                    EVERY_COMMAND, 2) for count in (2, 30)]  # fmt: skip
    wide = Table(("class", *(f"lower quartile {n}" for n in range(14))), (("hole", *range(14)),), name="wide")
    packages = "".join(rf"\usepackage{{{package}}}" for package in PACKAGES)
    body = "\n\n".join([*map(latex, [*tables, wide]), escape(EVERY_COMMAND)])
    source = rf"\documentclass[a4paper]{{article}}{packages}\begin{{document}}{body}\end{{document}}"
    (tmp_path / "tables.tex").write_text(source)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
