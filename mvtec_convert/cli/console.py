"""All that a person sees: tables, progress, errors. The only user of rich."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table as RichTable
from rich.text import Text

from mvtec_convert.errors import MvtecConvertError, printable
from mvtec_convert.findings import Finding
from mvtec_convert.tables import markdown, without

if TYPE_CHECKING:
    from mvtec_convert.pipeline import Fidelity, Summary
    from mvtec_convert.statistics import Statistics
    from mvtec_convert.tables import Table
    from mvtec_convert.validation import Validation

MOST_NOTES = 10
WIDE = 120  # characters

out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar in a terminal, on standard error; nothing in a pipe."""
    if not err.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_error(error: MvtecConvertError) -> None:
    """The message in red, the hint below."""
    where = f"{printable(error.path)}: " if error.path else ""
    _line(err, ("error: ", "bold red"), where + error.reason)
    if error.hint:
        _line(err, (" hint: ", "bold cyan"), error.hint)


def show_summary(summary: Summary) -> None:
    """What an export holds, how faithful it is, and how to go on."""
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for split in summary.splits:
        table.add_column(split, justify="right")
    parts = list(summary.splits.values())
    table.add_row("images", *(str(part.images) for part in parts))
    table.add_row("  of them background", *(str(part.background) for part in parts))
    counted = "regions" if summary.fidelity is not None else "labelled images"
    table.add_row(counted, *(str(part.regions.total()) for part in parts))
    for name in sorted({name for part in parts for name in part.regions}):
        table.add_row(Text(f"  {printable(name)}"), *(str(part.regions[name]) for part in parts))
    out.print(table)
    out.print()
    if summary.fidelity is not None:
        _line(out, ("fidelity  ", "bold"), _fidelity(summary.fidelity))
    if summary.left_out:
        shown = ", ".join(summary.left_out[:3]) + (", ..." if len(summary.left_out) > 3 else "")
        _line(out, ("left out  ", "bold"), f"{len(summary.left_out)} defective images have no region left: {shown}")
    _line(out, ("folder    ", "bold"), shlex.quote(str(summary.out)))
    _line(out, ("next      ", "bold"), summary.next_step)
    show_findings(summary.notes)


def _fidelity(found: Fidelity) -> str:
    text = f"{found.exact} of {found.regions} regions exact, lowest IoU {found.lowest:.4f}"
    if found.worst:
        text += f" in {printable(found.worst)}, mean {found.mean:.4f}"
    return f"{text} ({found.judge})"


def show_statistics(found: Statistics) -> None:
    """Tables that fit the terminal: in a narrow one, the names of the defect classes are in the second table only."""
    overview = found.overview()
    out.print(_rich(overview if out.width >= WIDE else without(overview, "defect classes")))
    out.print(_rich(found.defects()))
    for sentence in found.comparison():
        out.print(sentence)


def print_markdown(found: Statistics) -> None:
    """The same tables as Markdown."""
    print(markdown(found.overview()), markdown(found.defects()), sep="\n\n", end="\n\n")
    for sentence in found.comparison():
        print(f"- {sentence}")


def show_validation(found: Validation) -> None:
    """One line a finding, as compilers print them, then a sentence."""
    for finding in found.findings:
        print(
            f"{finding}"
            if finding.severity == "error"
            else f"{finding.where}: warning {finding.code} {finding.message}"
        )
    counts = f"{_count(found.errors, 'error')}, {_count(found.warnings, 'warning')}"
    verdict = "not fit to train on" if found.errors else "fit to train on"
    _line(out, (found.format, "bold"), f" dataset, {verdict}: {counts}")


def show_findings(findings: Sequence[Finding]) -> None:
    """Findings on standard error, the first few."""
    for finding in findings[:MOST_NOTES]:
        _line(err, (f"{finding.severity}: ", "bold yellow"), f"{finding.where}: {finding.message}")
    if len(findings) > MOST_NOTES:
        _line(err, ("", ""), f"... and {len(findings) - MOST_NOTES} more")


def show_written(folder: Path) -> None:
    """One line."""
    _line(out, ("written to ", ""), str(folder))


def print_json(document: Any) -> None:
    """JSON on standard output."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _rich(table: Table) -> RichTable:
    rich = RichTable(
        box=box.SIMPLE, pad_edge=False, collapse_padding=True, padding=(0, 1),
        header_style="bold", footer_style="bold", show_footer=table.total is not None,
    )  # fmt: skip
    for i, column in enumerate(table.columns):
        footer = Text(table.total[i] if table.total else "")
        if column in table.numeric:
            rich.add_column(column, footer=footer, justify="right", no_wrap=True)
        else:
            rich.add_column(column, footer=footer, overflow="fold", min_width=len(column))
    for row in table.rows:
        rich.add_row(*(Text(printable(cell)) for cell in row))
    return rich


def _line(console: Console, lead: tuple[str, str], text: str) -> None:
    # Not wrapped: paths and commands are for copying.
    console.print(Text.assemble(lead, text), soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
