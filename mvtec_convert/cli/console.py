"""All that a person sees: tables, progress, errors. The only user of rich."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.align import Align, AlignMethod
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from mvtec_convert.errors import BadSourceError, MvtecConvertError, by_code, printable, size_in_words
from mvtec_convert.findings import Finding
from mvtec_convert.latex import PACKAGES, escape, latex
from mvtec_convert.tables import csv, markdown, shown, without

if TYPE_CHECKING:
    from rich.progress import TaskID

    from mvtec_convert.balance import Balance
    from mvtec_convert.downloads import Download, Plan
    from mvtec_convert.downloads.sources import Source
    from mvtec_convert.mask_tree import MaskTree
    from mvtec_convert.previews import Preview
    from mvtec_convert.repairs import Repair
    from mvtec_convert.reports import Report
    from mvtec_convert.source_checks import SourceCheck
    from mvtec_convert.statistics import ExportStatistics, ReportOptions, Statistics
    from mvtec_convert.summary import Fidelity, Summary
    from mvtec_convert.tables import Table
    from mvtec_convert.validation import Validation

MOST_NOTES = 10
REDRAWN_AFTER = 0.1  # s
WIDE = 120  # characters

out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar in a terminal, on standard error; nothing in a pipe. A total of 0 is one that is not known."""
    if not err.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Drawn by who counts, not by a thread: a process with a second thread cannot be forked, and works half as fast.
    with Progress(*columns, console=err, transient=True, auto_refresh=False) as bar:
        task = bar.add_task(what, total=None)
        drawn = 0.0

        def show(done: int, total: int) -> None:
            nonlocal drawn
            if done == total or time.monotonic() > drawn + REDRAWN_AFTER:
                bar.update(task, completed=done, total=total or None, refresh=True)
                drawn = time.monotonic()

        yield show


@contextmanager
def transfer() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """A progress bar for bytes, one for each thing that is done with them; see `progress`."""
    if not err.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=16), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what in tasks:
                bar.update(tasks[what], completed=done, total=total)
                return
            for task in tasks.values():
                bar.remove_task(task)
            # What is there at the start was not transferred now: it must not count for the speed.
            tasks.clear()
            tasks[what] = bar.add_task(what, completed=done, total=total)

        yield show


def agrees(question: str) -> bool:
    """Ask a person, if one sits at a terminal; else, and by default, the answer is no."""
    if not (sys.stdin.isatty() and err.is_terminal):
        return False
    from rich.prompt import Confirm

    try:
        return Confirm.ask(question, console=err, default=False)
    except EOFError:
        return False


def show_licence(source: Source) -> None:
    """What a dataset may be used for, and where that is written."""
    terms = f"is not part of this tool. It is under {source.licence.name}: {source.licence.meaning}."
    _line(err, (f"{source.title} ", "bold"), terms)
    _line(err, ("licence   ", "bold"), source.licence.url)
    _line(err, ("publisher ", "bold"), source.page)


def show_note(text: str) -> None:
    """One line on standard error."""
    _line(err, ("note: ", "bold"), text)


def show_plan(plan: Plan) -> None:
    """What is fetched, if that is more than what was asked for."""
    if plan.fetches_more:
        size = "" if plan.size is None else f", {size_in_words(plan.size)},"
        why = f"{plan.source.title} comes in one archive: all of it{size} is fetched for {', '.join(plan.missing)}"
        show_note(why)


def show_download(done: Download) -> None:
    """What came, where it is, and how to go on."""
    _line(out, ("folder    ", "bold"), shlex.quote(str(done.folder)))
    if done.added:
        _line(out, ("added     ", "bold"), ", ".join(map(printable, done.added)))
    if done.present:
        _line(out, ("present   ", "bold"), f"{', '.join(done.present)}; not fetched again")
    for archive in done.archives:
        kind = "as it should be" if archive.published else "unverified: no published checksum is known for this file"
        _line(out, ("checked   ", "bold"), f"{printable(archive.name)}: sha256 {archive.sha256}, {kind}")
    if done.junk:
        _line(out, ("left out  ", "bold"), f"{_count(done.junk, 'file')} of file managers")
    _line(out, ("licence   ", "bold"), f"{done.source.licence.name}, {done.source.licence.url}")
    _line(out, ("cite      ", "bold"), done.source.citation)
    if done.convertible:
        _line(out, ("layout    ", "bold"), done.layout)
        _line(out, ("next      ", "bold"), f"mvtec-convert stats {shlex.quote(str(done.folder))}")
    else:
        _line(out, ("layout    ", "bold"), f"{done.layout}, which this version does not convert yet")


def show_error(error: MvtecConvertError) -> None:
    """The message in red, the hint below."""
    where = f"{printable(error.path)}: " if error.path else ""
    if isinstance(error, BadSourceError):
        _line(err, ("error: ", "bold red"), where + error.listed)
        _line(err, (" hint: ", "bold cyan"), "--skip-bad leaves them out and goes on")
    else:
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
    counted = "regions" if summary.has_regions else "labelled images"
    table.add_row(counted, *(str(part.regions.total()) for part in parts))
    for name in sorted({name for part in parts for name in part.regions}):
        table.add_row(Text(f"  {printable(name)}"), *(str(part.regions[name]) for part in parts))
    out.print(table)
    out.print()
    if summary.fidelity is not None:
        _line(out, ("fidelity  ", "bold"), _fidelity(summary.fidelity))
    if summary.balance is not None:
        _show_balance(summary.balance, with_regions=summary.has_regions)
    if summary.good_left_out:
        _line(out, ("left out  ", "bold"), f"{summary.good_left_out} good images, which the trainer cannot use")
    if summary.left_out:
        shown = ", ".join(summary.left_out[:3]) + (", ..." if len(summary.left_out) > 3 else "")
        _line(out, ("left out  ", "bold"), f"{len(summary.left_out)} defective images have no region left: {shown}")
    if summary.skipped:
        listed = f"{_count(len(summary.skipped), 'file')} that cannot be used ({by_code(summary.skipped)})"
        _line(out, ("skipped   ", "bold yellow"), f"{listed}; skipped.json lists all")
    _line(out, ("folder    ", "bold"), shlex.quote(str(summary.out)))
    _line(out, ("next      ", "bold"), summary.next_step)
    if summary.is_up_to_date:
        show_note("nothing has changed since this was written, so nothing was done; --fresh writes it anew")
    elif summary.reused:
        show_note(f"{_count(summary.reused, 'image')} of an earlier run were taken over; --fresh does all of it again")
    for finding in summary.skipped[:MOST_NOTES]:
        _line(err, ("skipped: ", "bold yellow"), f"{finding.where}: {finding.message}")
    if len(summary.skipped) > MOST_NOTES:
        _line(err, ("", ""), f"... and {len(summary.skipped) - MOST_NOTES} more")
    show_findings(summary.notes)


def show_tree(found: MaskTree) -> None:
    """What a tree of masks holds, how faithful it is, and how to go on."""
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for heading in ("category", "defect type", "train", "test"):
        table.add_column(heading, justify="right" if heading in ("train", "test") else "left")
    for category, defect in sorted({(category, defect) for category, _, defect in found.images}):
        counts = (found.images[category, split, defect] for split in ("train", "test"))
        table.add_row(Text(printable(category)), Text(printable(defect)), *(str(count or "") for count in counts))
    out.print(table)
    out.print()
    _line(out, ("masks     ", "bold"), f"{found.exact} of {found.masks} read back as the labels say, pixel for pixel")
    _line(out, ("objects   ", "bold"), _as_regions(found))
    for name, folder in found.renamed.items():
        _line(out, ("renamed   ", "bold"), f"{name!r} is in the folder {folder}")
    _line(out, ("folder    ", "bold"), shlex.quote(str(found.out)))
    _line(out, ("next      ", "bold"), found.next_step)
    for note in found.notes:
        _line(err, ("note: ", "bold yellow"), note)


def _as_regions(found: MaskTree) -> str:
    """How many objects there were, and what one mask an image cannot keep of them."""
    text = f"{found.objects}, read back as {_count(found.regions, 'region')}"
    if found.united:
        text += f"; {_count(found.united, 'pixel')} of overlapping objects of one type united"
    if found.covered:
        text += f"; {_count(found.covered, 'pixel')} of overlapping types given to the smaller object"
    return text


def _show_balance(found: Balance, with_regions: bool) -> None:
    """Train's images, and each class, before and after."""
    images = f"train's {len(found.repeats)} images are seen {sum(found.repeats.values())} times"
    if all(entry.factor == 1 for entry in found.classes):
        nothing = "nothing changes, since no class of train is rarer than another"
        _line(out, ("balance   ", "bold"), f"{found.options.method}: {nothing}")
        return
    below = "" if found.threshold is None else f"; classes below {100 * found.threshold:.1f} % of them gain"
    _line(out, ("balance   ", "bold"), f"{found.options.method}: {images}{below}")
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    headings = ["", "weight", "images", "balanced", *(["regions", "balanced"] if with_regions else [])]
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    for entry in found.classes:
        numbers = (entry.images, entry.images_after, entry.regions, entry.regions_after)
        cells = [f"{entry.factor:.2f}", *map(str, numbers)]
        table.add_row(Text(f"  {printable(entry.name)}"), *cells[: len(headings) - 1])
    out.print(table)
    out.print()


def _fidelity(found: Fidelity) -> str:
    text = f"{found.exact} of {found.regions} regions exact, lowest IoU {found.lowest:.4f}"
    if found.worst:
        text += f" in {printable(found.worst)}, mean {found.mean:.4f}"
    return f"{text} ({found.judge})"


def show_statistics(found: Statistics | ExportStatistics, options: ReportOptions) -> None:
    """Overview, what it means, then the tables of each class; of many classes a summary, lest it be too much."""
    overview, *others = found.tables(options)
    names_fit = out.width >= WIDE or "defect classes" not in overview.columns
    show_table(overview if names_fit else without(overview, "defect classes"))
    for sentence in found.sentences(options):
        out.print(sentence)
    out.print()
    for table in others:
        if _is_of_interest(table, found.is_brief):
            show_table(table)
    if found.is_brief:
        _line(
            out, ("hint: ", "bold cyan"), "--table NAME shows each class; --markdown, --latex, --csv, --json show all"
        )


def _is_of_interest(table: Table, is_brief: bool) -> bool:
    if table.name == "images":  # the overview has the sizes where there is one
        return not is_brief and len(table.rows) > len({row[0] for row in table.rows})
    if is_brief:
        return table.name == "summary"
    return table.name not in {"summary", "copy"}  # sentences tell how the copy differs


def show_text(text: str) -> None:
    """Lines as they are."""
    out.print(Text(text), soft_wrap=True)


def show_table(table: Table) -> None:
    """Title, table and note; where the terminal is too narrow, a few columns at a time."""
    _line(out, (table.title, "bold underline"), "")
    for piece in table.without_constant_key().pieces(_fits):
        out.print(_rich(piece))
        out.print()
    if table.note:
        out.print(Text(table.note, "dim"))
        out.print()


def _fits(table: Table) -> bool:
    without_limit = out.options.update(max_width=sys.maxsize)
    return Measurement.get(out, without_limit, _rich(table)).maximum <= out.width


def print_markdown(tables: Sequence[Table], sentences: Sequence[str]) -> None:
    """Tables under their titles, each followed by its note; sentences as a list."""
    blocks = [
        block
        for table in tables
        for block in (f"**{table.title}**", markdown(table), f"*{table.note}*" if table.note else "")
        if block
    ]
    told = "\n".join(f"- {printable(sentence)}" for sentence in sentences)
    sys.stdout.write("\n\n".join([*blocks, *([told] if told else [])]) + "\n")


def print_latex(tables: Sequence[Table], sentences: Sequence[str]) -> None:
    """Tables, and sentences as paragraphs, to put into a document with the packages that the first line names."""
    packages = "".join(rf"\usepackage{{{package}}}" for package in PACKAGES)
    paragraphs = [rf"{{\sloppy {escape(sentence)}\par}}" for sentence in sentences]
    sys.stdout.write("\n\n".join([f"% {packages}", *map(latex, tables), *paragraphs]) + "\n")


def print_csv(tables: Sequence[Table]) -> None:
    """One table, or several with an empty line between."""
    sys.stdout.write(csv(tables))


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


def show_check(found: SourceCheck) -> None:
    """Findings by code, errors first, each with its remedy; how the copy compares; then a sentence."""
    groups: dict[tuple[str, str, str | None], list[Finding]] = {}
    for finding in found.findings:
        groups.setdefault((finding.severity, finding.code, finding.hint), []).append(finding)
    for (severity, code, hint), alike in sorted(groups.items(), key=lambda group: (group[0][0], group[0][1])):
        _line(out, (severity, "bold red" if severity == "error" else "bold yellow"), f" {code}, {len(alike)}")
        for finding in alike[:MOST_NOTES]:
            _line(out, ("", ""), f"  {finding.where}: {finding.message}")
        if len(alike) > MOST_NOTES:
            _line(out, ("", ""), f"  ... and {len(alike) - MOST_NOTES} more; --json lists all")
        if hint:
            _line(out, ("  hint: ", "bold cyan"), hint)
    if groups:
        out.print()
    for sentence in found.comparison():
        out.print(sentence)
    counts = f"{_count(found.errors, 'error')}, {_count(found.warnings, 'warning')}"
    _line(out, (str(found.root), "bold"), f", {_count(found.images, 'image')} in the layout {found.layout}: {counts}")


def show_repairs(folder: Path, repairs: Sequence[Repair]) -> None:
    """What was done, the first few of a kind, and where the copy is."""
    groups: dict[str, list[Repair]] = {}
    for repair in repairs:
        groups.setdefault(repair.code, []).append(repair)
    for code, alike in sorted(groups.items()):
        _line(out, ("repaired", "bold green"), f" {code}, {len(alike)}")
        for repair in alike[:MOST_NOTES]:
            _line(out, ("", ""), f"  {printable(repair.path)}: {repair.action}")
        if len(alike) > MOST_NOTES:
            _line(out, ("", ""), f"  ... and {len(alike) - MOST_NOTES} more; repairs.json lists all")
    done = _count(len(repairs), "repair") if repairs else "nothing to repair"
    _line(out, (shlex.quote(str(folder)), "bold"), f": a copy, {done}; what is left in it:")
    out.print()


def show_findings(findings: Sequence[Finding]) -> None:
    """Findings on standard error, the first few."""
    for finding in findings[:MOST_NOTES]:
        _line(err, (f"{finding.severity}: ", "bold yellow"), f"{finding.where}: {finding.message}")
    if len(findings) > MOST_NOTES:
        _line(err, ("", ""), f"... and {len(findings) - MOST_NOTES} more")


def show_written(folder: Path) -> None:
    """One line."""
    _line(out, ("written to ", ""), str(folder))


def show_report(written: Report) -> None:
    """What is on the page, and where it is."""
    shown = str(written.shown) if written.shown == written.images else f"{written.shown} of {written.images}"
    _line(out, ("images    ", "bold"), shown)
    _line(out, ("page      ", "bold"), f"{shlex.quote(str(written.out))}, {size_in_words(written.size)}")
    _line(out, ("next      ", "bold"), "open it in a browser")
    if written.unreadable:
        first = ", ".join(map(printable, written.unreadable[:3])) + (", ..." if written.unreadable[3:] else "")
        what = f"{_count(len(written.unreadable), 'image')} without pixels, which cannot be read: {first}"
        _line(err, ("warning: ", "bold yellow"), what)


def show_preview(found: Preview) -> None:
    """What is on the sheet, and where it is."""
    _line(out, (found.format, "bold"), f" dataset: {len(found.shown)} of {_count(found.images, 'image')} drawn")
    show_written(found.out)


def print_json(document: Any) -> None:
    """JSON on standard output."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # Of file names that are no UTF-8, Python keeps the bytes as halves of surrogate pairs; JSON can only escape them.
    sys.stdout.write(re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text) + "\n")


def _rich(table: Table) -> RichTable:
    rich = RichTable(
        box=box.SIMPLE, pad_edge=False, collapse_padding=True, padding=(0, 1),
        header_style="bold", footer_style="bold", show_footer=table.total is not None, show_edge=False,
    )  # fmt: skip
    for i, (column, right) in enumerate(zip(table.columns, table.flush_right, strict=True)):
        footer = Text(shown(table.total[i]) if table.total else "")
        if right:
            heading = column.replace(" ", "\n")  # numbers are short
            rich.add_column(heading, footer=footer, justify="right", vertical="bottom", no_wrap=True)
        else:
            rich.add_column(column, footer=footer, vertical="bottom", overflow="fold")
    sides: list[AlignMethod] = ["right" if right else "left" for right in table.flush_right]
    for row in table.rows:  # headings stand on their columns, cells hang from the top of their row
        rich.add_row(*(Align(Text(shown(cell)), side, vertical="top") for cell, side in zip(row, sides, strict=True)))
    return rich


def _line(console: Console, lead: tuple[str, str], text: str) -> None:
    # Not wrapped: paths and commands are for copying. What a file says may hold what commands a terminal.
    safe = "\n".join(map(printable, text.split("\n")))
    console.print(Text.assemble(lead, safe), soft_wrap=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
