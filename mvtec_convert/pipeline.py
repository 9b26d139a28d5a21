"""From a dataset to an export: plan, annotate, write, check, publish. The only place with concurrency."""

from __future__ import annotations

import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import mvtec_convert
from mvtec_convert import splits
from mvtec_convert.dataset import Dataset, SplitName
from mvtec_convert.errors import BadSourceError, ExportError, MaskError, SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded, Format, takes_background
from mvtec_convert.images import is_jpeg, save_jpeg
from mvtec_convert.plan import Item, Plan, PlanOptions, make_plan, save_classes
from mvtec_convert.publish import check_target, publishing, save_manifest
from mvtec_convert.regions import RegionOptions, annotate

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

LOOK_AHEAD = 8  # images a worker may be ahead of the writer; bounds memory


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What holds for an export in any format.

    Attributes:
        plan: which images, in which split, under which classes.
        regions: how masks are cut into regions.
        images: `link` (hard links where the file system allows, else copies) or `copy`.
        jobs: threads; 0 means one for each core.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    regions: RegionOptions = field(default_factory=RegionOptions)
    images: Literal["link", "copy"] = "link"
    jobs: int = 0


@dataclass(slots=True)
class SplitSummary:
    """What one split holds.

    Attributes:
        images: all images, background included.
        background: images without a region.
        regions: number of regions by class name.
    """

    images: int = 0
    background: int = 0
    regions: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Fidelity:
    """What the target's own reader makes of the regions.

    Attributes:
        judge: who read them.
        regions: how many were compared.
        exact: how many came back exactly.
        total: sum of all IoUs.
        lowest: the lowest IoU.
        worst: name of the image with the lowest IoU; None while all are exact.
    """

    judge: str
    regions: int = 0
    exact: int = 0
    total: float = 0.0
    lowest: float = 1.0
    worst: str | None = None

    @property
    def mean(self) -> float:
        """Mean IoU; 1.0 where there is no region."""
        return self.total / self.regions if self.regions else 1.0

    def add(self, name: str, ious: tuple[float, ...]) -> None:
        """Count one image's regions in."""
        for iou in ious:
            self.regions += 1
            self.exact += iou == 1.0
            self.total += iou
            if iou < self.lowest:
                self.lowest, self.worst = iou, name


@dataclass(slots=True)
class Summary:
    """What an export holds and how faithful it is.

    Attributes:
        out: the folder.
        format: name of the format.
        splits: by name, in the order train, val, test.
        fidelity: how the regions came back; None where the format has no geometry.
        left_out: keys of defective images that a filter emptied.
        notes: what a person should know before training.
        next_step: the command that would train on it.
    """

    out: Path
    format: str
    splits: dict[SplitName, SplitSummary]
    fidelity: Fidelity | None
    left_out: list[str] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    next_step: str = ""


def export(
    dataset: Dataset,
    target: Format,
    out: Path,
    options: ExportOptions = ExportOptions(),
    progress: Progress | None = None,
) -> Summary:
    """Write the dataset in one format; `out` appears whole or not at all.

    Args:
        dataset: what to export; see `Dataset.filter`.
        target: the format, with its options.
        out: folder to create, or an earlier export to replace.
        options: what holds in any format.
        progress: told after each image.

    Raises:
        SelectionError: nothing to export, or options that make no sense.
        BadSourceError: files of the source that cannot be used; all of them are listed.
        OutputError: `out` cannot or must not be written.
    """
    if dataset.findings:
        raise BadSourceError(dataset.findings)
    if not takes_background(target):
        options = replace(options, plan=replace(options.plan, background="none"))
    plan = make_plan(dataset, options.plan)
    target.refuse(plan)
    check_target(out, dataset.root)
    summary = Summary(
        out=out,
        format=target.name,
        splits={split: SplitSummary() for split in plan.split_names},
        fidelity=Fidelity(target.judge) if target.judge else None,
        next_step=target.next_step(out),
    )
    with publishing(out, dataset.root) as folder:
        target.write(folder, plan, _encoded(plan, target, folder, options, summary, progress))
        if not any(split.regions.total() for split in summary.splits.values()):
            raise SelectionError(
                f"no region of {options.regions.min_area} px or more is left", hint="choose a smaller --min-area"
            )
        save_classes(plan.labels, folder)
        splits.save(plan.split, folder)
        summary.notes = _self_check(target, folder, out)
        save_manifest(folder, _facts(target, options))
    return summary


def _encoded(
    plan: Plan, target: Format, folder: Path, options: ExportOptions, summary: Summary, progress: Progress | None
) -> Iterator[Encoded]:
    """Every image of the plan, encoded and with its image file in place; raises at the end if any was bad."""

    def work(item: Item) -> Encoded | Finding | None:
        try:
            image = annotate(item.sample, options.regions)
            if item.class_id is not None and not image.regions:
                return None
            encoded = target.encode(item, image, plan.labels)
            path = target.image_path(item)
            if path is not None:
                _place_image(item.sample.image, folder / path, options.images)
        except MaskError as error:
            return Finding("bad-source", error.reason, str(error.path or item.sample.image), hint=error.hint)
        return encoded

    bad: list[Finding] = []
    for done, (item, result) in enumerate(_in_order(plan.items, work, options.jobs), start=1):
        if isinstance(result, Finding):
            bad.append(result)
        elif result is None:
            summary.left_out.append(item.sample.key)
        else:
            _count(summary, plan, result)
            yield result
        if progress is not None:
            progress(done, len(plan.items))
    if bad:
        raise BadSourceError(bad)


def _in_order(
    items: tuple[Item, ...], work: Callable[[Item], Encoded | Finding | None], jobs: int
) -> Iterator[tuple[Item, Encoded | Finding | None]]:
    """(item, work(item)) in the order of the items, computed by threads that stay a bounded way ahead.

    Threads, because OpenCV, the PNG decoder and file calls free the interpreter lock.
    """
    workers = jobs if jobs > 0 else os.cpu_count() or 1
    waiting: deque[tuple[Item, Future[Encoded | Finding | None]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) >= workers * LOOK_AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _place_image(source: Path, target: Path, how: Literal["link", "copy"]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".jpg" and not is_jpeg(source):
        save_jpeg(source, target)
        return
    # Ultralytics "restores" a JPEG without an end marker in place; through a hard link that would change the source.
    if how == "link" and not _has_no_end_marker(source):
        try:
            os.link(os.path.realpath(source), target)
            return
        except OSError:
            pass  # another device, a file system without links, too many links, a file that is not ours
    shutil.copyfile(source, target)


def _has_no_end_marker(path: Path) -> bool:
    if path.suffix.lower() not in {".jpg", ".jpeg"}:
        return False
    with path.open("rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() != b"\xff\xd9"


def _count(summary: Summary, plan: Plan, encoded: Encoded) -> None:
    split = summary.splits[encoded.item.split]
    split.images += 1
    if encoded.item.class_id is None:
        split.background += 1
    else:
        split.regions[plan.labels.names[encoded.item.class_id]] += encoded.regions
    if summary.fidelity is not None:
        summary.fidelity.add(encoded.item.name, encoded.ious)


def _self_check(target: Format, folder: Path, out: Path) -> list[Finding]:
    """What the format's own check says of what was just written. Leaks are the source's: told, not refused."""
    notes = [_moved(finding, folder, out) for finding in target.check(folder)]
    errors = [note for note in notes if note.severity == "error" and note.code != "split-leak"]
    if errors:
        listed = "\n  ".join(str(error) for error in errors[:10])
        raise ExportError(
            f"what was written would not be read back well, so it was not published:\n  {listed}", path=out
        )
    return notes


def _moved(finding: Finding, folder: Path, out: Path) -> Finding:
    path = Path(finding.path)
    moved = str(out / path.relative_to(folder)) if path.is_relative_to(folder) else finding.path
    return Finding(finding.code, finding.message, moved, finding.line, finding.severity, finding.hint)


def _facts(target: Format, options: ExportOptions) -> dict[str, Any]:
    """What made the export, without anything that differs from machine to machine."""
    plan = asdict(options.plan)
    given = {f"{name}_given": plan.pop(name) is not None for name in ("split_from", "phrases")}
    chosen = {**plan, **given, "regions": asdict(options.regions), "images": options.images}
    return {
        "tool": "mvtec-convert",
        "version": mvtec_convert.__version__,
        "format": target.name,
        "options": {**asdict(target), **chosen},  # type: ignore[call-overload]
    }
