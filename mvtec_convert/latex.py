"""Tables as LaTeX, for a report or a paper."""

from __future__ import annotations

import re

from mvtec_convert.errors import printable
from mvtec_convert.tables import Cell, Table, shown

PACKAGES = ("array", "booktabs", "longtable")

MOST_ROWS = 25
"""On a page; longer tables run over several, by the package `longtable`."""

MOST_CHARACTERS = 84
"""In a line of 345 pt, the narrowest that is usual (`article` on A4), at the size `footnotesize`."""

GAP = 2  # characters, between two columns
LONG_TEXT, LONG_TEXT_WIDTH = 30, "12em"
"""Columns of longer text, in characters, are set as paragraphs of this width."""

ESCAPED = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "[": "{[}", "*": "{*}",
}  # fmt: skip
"""The ten characters that are commands, three that old fonts set as others, two that a line break before them takes."""


def escape(text: str) -> str:
    """Text that LaTeX sets as it is here, given an engine and fonts that have its letters."""
    escaped = "".join(ESCAPED.get(character, character) for character in printable(text))
    return re.sub("-(?=-)", "-{}", escaped)  # two would become a dash


def latex(table: Table) -> str:
    """The table with rules of `booktabs`: title as caption, `tab:<name>` as label, note below.

    Up to `MOST_ROWS` rows it is a float, else a `longtable`. What is too wide for a page comes in pieces, one below the
    other.
    """
    pieces = list(table.without_constant_key().pieces(_fits))
    caption = rf"\caption{{{escape(table.title)}}}\label{{tab:{table.name}}}"
    note = [rf"\par\smallskip{{{escape(table.note)}\par}}"] if table.note else []
    if len(table.rows) * len(pieces) > MOST_ROWS:
        first, *others = pieces
        longtables = [_longtable(first, caption), *(_longtable(piece) for piece in others)]
        return "\n".join([r"\begingroup\footnotesize\setlength{\tabcolsep}{4pt}", *longtables, *note, r"\endgroup"])
    tabulars = "\n\\par\\medskip\n".join(_tabular(piece) for piece in pieces)
    opening = [r"\begin{table}[htbp]", r"\centering\footnotesize\setlength{\tabcolsep}{4pt}", caption]
    return "\n".join([*opening, tabulars, *note, r"\end{table}"])


def _tabular(table: Table) -> str:
    opening = [rf"\begin{{tabular}}{{{_alignment(table)}}}", r"\toprule", _head(table), r"\midrule"]
    return "\n".join([*opening, *_body(table), r"\bottomrule", r"\end{tabular}"])


def _longtable(table: Table, caption: str = "") -> str:
    """With its head on every page, and the caption on the first; without a caption it takes no number."""
    head = [r"\toprule", _head(table), r"\midrule"]
    first = [caption + r"\\", *head, r"\endfirsthead"] if caption else []
    number = [] if caption else [r"\addtocounter{table}{-1}"]
    opening = [*number, rf"\begin{{longtable}}{{{_alignment(table)}}}", *first, *head, r"\endhead"]
    return "\n".join([*opening, *_body(table), r"\bottomrule", r"\end{longtable}"])


def _body(table: Table) -> list[str]:
    rows = [_row(row) for row in table.rows]
    return (
        [*rows, r"\midrule", _row(tuple("" if cell is None else cell for cell in table.total))] if table.total else rows
    )


def _head(table: Table) -> str:
    """Headings of several words stand on as many lines: numbers below them are short."""
    headings = (
        rf"\shortstack[r]{{{escape(column).replace(' ', chr(92) * 2)}}}" if right and " " in column else escape(column)
        for column, right in zip(table.columns, table.flush_right, strict=True)
    )
    return " & ".join(headings) + r" \\"


def _row(cells: tuple[Cell, ...]) -> str:
    return " & ".join(escape(shown(cell)) for cell in cells) + r" \\"


def _alignment(table: Table) -> str:
    return "".join(
        "r"
        if right
        else rf">{{\raggedright\arraybackslash}}p{{{LONG_TEXT_WIDTH}}}"
        if _longest(table, i) > LONG_TEXT
        else "l"
        for i, right in enumerate(table.flush_right)
    )


def _fits(table: Table) -> bool:
    widths = (min(_longest(table, i), LONG_TEXT) for i in range(len(table.columns)))
    return sum(widths) + GAP * (len(table.columns) - 1) <= MOST_CHARACTERS


def _longest(table: Table, index: int) -> int:
    heading = table.columns[index]
    words = heading.split() if table.flush_right[index] else [heading]
    return max(len(text) for text in (*words, *(shown(line[index]) for line in table.lines)))
