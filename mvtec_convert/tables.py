"""Tables as data, and as the text that one pastes elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings.

    Attributes:
        columns: headings.
        rows: one cell a column.
        numeric: names of the columns to align right.
        total: a last row that sums the others up, if there is one.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()
    total: tuple[str, ...] | None = None


def without(table: Table, column: str) -> Table:
    """The table without one column."""
    at = table.columns.index(column)
    rows = tuple(row[:at] + row[at + 1 :] for row in table.rows)
    total = table.total and table.total[:at] + table.total[at + 1 :]
    return Table(table.columns[:at] + table.columns[at + 1 :], rows, table.numeric, total)


def markdown(table: Table) -> str:
    """The table as GitHub-flavoured Markdown, its columns lined up so that it reads as plain text too."""
    body = [*table.rows, *([tuple(f"**{cell}**" if cell else "" for cell in table.total)] if table.total else [])]
    cells = [[_escaped(cell) for cell in row] for row in (table.columns, *body)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(table.columns))]
    right = [column in table.numeric for column in table.columns]
    rule = ["-" * (width - 1) + (":" if flush else "-") for width, flush in zip(widths, right, strict=True)]
    return "\n".join(_line(row, widths, right) for row in [cells[0], rule, *cells[1:]])


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(row, widths, right, strict=True)
    )
    return f"| {' | '.join(padded)} |"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("\n", " ")
