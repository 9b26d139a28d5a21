"""Tables as data, and as the text that one pastes elsewhere."""

from __future__ import annotations

import csv as csv_files
import html as html_text
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from mvtec_convert.errors import printable


class Share(float):
    """A number from 0 to 1 that people read as per cent."""

    __slots__ = ()


Cell: TypeAlias = "str | int | float | None"
"""A `Share` where it is one, None where there is no value."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headings.

    Attributes:
        columns: headings, no two alike.
        rows: one cell a column.
        numeric: columns of text to align right; columns of numbers are in any case.
        total: a last row that sums the others up, if there is one.
        name: one word to choose it by.
        title: what it shows.
        note: how that is counted.
        keys: how many of the first columns say what a row is about.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[str] = frozenset()
    total: tuple[Cell, ...] | None = None
    name: str = ""
    title: str = ""
    note: str = ""
    keys: int = 1

    @property
    def lines(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows, and the total where there is one."""
        return self.rows if self.total is None else (*self.rows, self.total)

    @property
    def flush_right(self) -> tuple[bool, ...]:
        """Of each column, whether it is aligned right."""
        return tuple(
            column in self.numeric or not any(isinstance(row[i], str) for row in self.rows)
            for i, column in enumerate(self.columns)
        )

    def selected(self, columns: Iterable[str]) -> Table:
        """The same table with these columns only, in the order they have here."""
        wanted = set(columns)
        kept = [i for i, column in enumerate(self.columns) if column in wanted]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
            total=self.total and tuple(self.total[i] for i in kept),
            keys=sum(i < self.keys for i in kept),
        )

    def without_constant_key(self) -> Table:
        """Without the first column where it says the same in all rows, and others tell them apart."""
        is_constant = self.keys > 1 and len({row[0] for row in self.rows}) == 1
        return without(self, self.columns[0]) if is_constant else self

    def pieces(self, fits: Callable[[Table], bool]) -> Iterator[Table]:
        """The table a few columns at a time, each piece with the keys and as many others as fit, at least one.

        Where the last one would stand alone, they are shared out evenly.
        """
        filled = list(self._filled(fits))
        if len(filled) > 1 and len(filled[-1].columns) == self.keys + 1:
            shared = list(self._shared_out(len(filled)))
            filled = shared if all(map(fits, shared)) else filled
        yield from filled

    def _filled(self, fits: Callable[[Table], bool]) -> Iterator[Table]:
        """Pieces that hold as much as fits, from the first on."""
        keys, others = self.columns[: self.keys], list(self.columns[self.keys :])
        while others:
            taken = len(others)
            while taken > 1 and not fits(self.selected([*keys, *others[:taken]])):
                taken -= 1
            yield self.selected([*keys, *others[:taken]])
            others = others[taken:]

    def _shared_out(self, pieces: int) -> Iterator[Table]:
        """So many pieces, which differ by one column at most, the wider ones first."""
        keys, others = self.columns[: self.keys], list(self.columns[self.keys :])
        for left in range(pieces, 0, -1):
            taken = -(-len(others) // left)
            yield self.selected([*keys, *others[:taken]])
            others = others[taken:]


def without(table: Table, column: str) -> Table:
    """The table without one column."""
    return table.selected(name for name in table.columns if name != column)


def shown(cell: Cell) -> str:
    """A cell as people read it: `1,204`, `17.2`, `4.3 %`, `-` where there is no value."""
    if cell is None:
        return "-"
    if isinstance(cell, Share):
        return f"{_rounded(100 * cell, 1) if cell else 0} %"
    if isinstance(cell, float):
        return _rounded(cell, 2)
    return f"{cell:,}" if isinstance(cell, int) else printable(cell)


def unbroken(text: str) -> str:
    """The same where a browser must keep `512 x 522 (1)` on one line."""
    space = "\N{NO-BREAK SPACE}"
    return text.replace(" x ", f"{space}x{space}").replace(" (", f"{space}(")


def _rounded(number: float, decimals: int) -> str:
    """Fewer decimals where the number is large, more where nothing would be left of it."""
    size = abs(number)
    if size >= 10:
        decimals = min(decimals, 1 if size < 100 else 0)
    elif 0 < size < 1:
        decimals = max(decimals, 1 - math.floor(math.log10(size)))
    return f"{number:,.{decimals}f}"


def markdown(table: Table) -> str:
    """The table as GitHub-flavoured Markdown, its columns lined up so that it reads as plain text too."""
    head = [_in_markdown(column) for column in table.columns]
    body = [[_in_markdown(cell) for cell in row] for row in table.rows]
    if table.total:
        body.append([f"**{_in_markdown(cell)}**" if cell not in ("", None) else "" for cell in table.total])
    right = table.flush_right
    widths = [max(3, *(len(row[i]) for row in (head, *body))) for i in range(len(head))]
    rule = ["-" * (width - 1) + (":" if flush else "-") for width, flush in zip(widths, right, strict=True)]
    return "\n".join(_line(row, widths, right) for row in (head, rule, *body))


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (
        cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(row, widths, right, strict=True)
    )
    return f"| {' | '.join(padded)} |"


def _in_markdown(cell: Cell) -> str:
    return shown(cell).replace("|", "\\|")


def csv(tables: Sequence[Table]) -> str:
    """One table as CSV; several with an empty line between, each line beginning with its table's name.

    Numbers are plain: no thousands separators, shares from 0 to 1, six significant digits.
    """
    stream = io.StringIO()
    writer = csv_files.writer(stream, lineterminator="\n")
    for number, table in enumerate(tables):
        lead = [] if len(tables) == 1 else [table.name]
        stream.write("\n" if number else "")
        writer.writerow([*(["table"] if lead else []), *table.columns])
        writer.writerows([*lead, *map(_plain, line)] for line in table.lines)
    return stream.getvalue()


def _plain(cell: Cell) -> str | int:
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return printable(cell) if isinstance(cell, str) else "" if cell is None else cell


def html(table: Table) -> str:
    """The table as HTML, without style but the alignment and the distance of its columns."""
    title = html_text.escape(table.title)
    caption = f'<caption style="text-align: left; font-weight: bold">{title}</caption>' if title else ""
    right = table.flush_right  # it looks at every row
    parts = [f"<table>{caption}"]
    parts.append(f"<thead>{_html_row(right, table.columns, 'th')}</thead>")
    parts.append(f"<tbody>{''.join(_html_row(right, row, 'td') for row in table.rows)}</tbody>")
    if table.total:
        parts.append(f"<tfoot>{_html_row(right, table.total, 'th')}</tfoot>")
    return "".join(parts) + "</table>"


def _html_row(right: Sequence[bool], cells: Sequence[Cell], tag: str) -> str:
    written = (
        f'<{tag} style="text-align: {"right" if flush else "left"}; vertical-align: top; padding: 0 0.5em">'
        f"{html_text.escape(unbroken(shown(cell)))}</{tag}>"
        for cell, flush in zip(cells, right, strict=True)
    )
    return f"<tr>{''.join(written)}</tr>"
