"""From a dataset to an export: plan, annotate, write, check, publish. The only place with concurrency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import mvtec_convert
from mvtec_convert import splits
from mvtec_convert.balance import Balance, BalanceOptions, TrainImage, balance
from mvtec_convert.balance import save as save_balance
from mvtec_convert.dataset import GOOD, Dataset, Sample
from mvtec_convert.errors import BadSourceError, ExportError, MaskError, SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded, Format, good_is_a_class, takes_background, writes_repeats
from mvtec_convert.geometry.regions import RegionOptions, annotate, refuse_useless_threshold
from mvtec_convert.plan import Background, Item, Plan, PlanOptions, make_plan, save_classes
from mvtec_convert.runs.journal import Content, Journal, content_of_image, key_of
from mvtec_convert.runs.placing import Placement, Placing
from mvtec_convert.runs.publish import check_place, export_staging, publish, save_manifest
from mvtec_convert.runs.records import Run
from mvtec_convert.runs.skipping import refuse_emptied, save_skipped, without, without_errors
from mvtec_convert.runs.staging import JOURNAL, Staging
from mvtec_convert.runs.workers import at_most, in_order
from mvtec_convert.summary import Fidelity, SplitSummary, Summary

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

_Done: TypeAlias = tuple[bytes | None, Content | None, str | None, bool]
"""An image's mark, its content, the digest of the image file if one was made, and whether all that is in the journal
already. Paths take longer to hand over from process to process than all the rest, so the item is not among them."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What holds for an export in any format.

    Attributes:
        plan: which images, in which split, under which classes.
        regions: how masks are cut into regions.
        images: `link` (hard links where the file system allows, else copies) or `copy`.
        jobs: threads; 0 means one for each core.
        balance: how rare classes of `train` are made more frequent.
        skip_bad: go on without files that cannot be used, as if they were not there, instead of raising.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    regions: RegionOptions = field(default_factory=RegionOptions)
    images: Placement = "link"
    jobs: int = 0
    balance: BalanceOptions = field(default_factory=BalanceOptions)
    skip_bad: bool = False


def export(
    dataset: Dataset,
    target: Format,
    out: Path,
    options: ExportOptions = ExportOptions(),
    progress: Progress | None = None,
    run: Run | None = None,
) -> Summary:
    """Write the dataset in one format; `out` appears whole or not at all.

    What a run that was killed had done is not done again, if it is still what it was.

    Args:
        dataset: what to export; see `Dataset.filter`.
        target: the format, with its options.
        out: folder to create, or an earlier export to replace.
        options: what holds in any format.
        progress: told after each image.
        run: where it is remembered what was done, for runs to come.

    Raises:
        SelectionError: nothing to export, or options that make no sense.
        BadSourceError: files of the source that cannot be used; all of them are listed.
        OutputError: `out` cannot or must not be written.
    """
    if good_is_a_class(target):
        dataset = dataset.as_whole_images()
    refuse_useless_threshold(dataset, options.regions)
    if not takes_background(target):
        _refuse_background(options.plan.background, target)
        options = replace(options, plan=replace(options.plan, background="none"))
    if options.skip_bad:
        return _export_without_bad(dataset, target, out, options, progress, run)
    if dataset.errors:
        raise _all_bad(dataset, options, progress)
    return _export(dataset, target, out, options, progress, run)


def _all_bad(dataset: Dataset, options: ExportOptions, progress: Progress | None) -> BadSourceError:
    """What does not fit the layout, and what is found out by reading all the rest."""

    def read(sample: Sample) -> Finding | None:
        try:
            annotate(sample, options.regions)
        except MaskError as error:
            return _finding(error, sample)
        return None

    bad = list(dataset.errors)
    for done, finding in enumerate(in_order(read, dataset.samples, options.jobs), start=1):
        if finding is not None:
            bad.append(finding)
        if progress is not None:
            progress(done, len(dataset))
    return BadSourceError(bad)


def _export_without_bad(
    dataset: Dataset, target: Format, out: Path, options: ExportOptions, progress: Progress | None, run: Run | None
) -> Summary:
    """What cannot be used is known once all is read; the export is then made anew, as if that had never been there."""
    skipped = list(dataset.errors)
    left = whole = without_errors(dataset)
    while True:
        try:
            return _export(left, target, out, options, progress, run, skipped)
        except BadSourceError as error:
            skipped += error.findings
            left = without(left, error.keys)
            refuse_emptied(make_plan(whole, options.plan), make_plan(left, options.plan))


def _export(
    dataset: Dataset,
    target: Format,
    out: Path,
    options: ExportOptions,
    progress: Progress | None,
    run: Run | None,
    skipped: Sequence[Finding] = (),
) -> Summary:
    plan = make_plan(dataset, options.plan)
    target.refuse(plan)
    check_place(out, *dataset.guarded)
    summary = Summary(
        out=out,
        format=target.name,
        splits={split: SplitSummary() for split in plan.split_names},
        fidelity=Fidelity(target.judge) if target.judge else None,
        good_left_out=0 if takes_background(target) else sum(sample.is_good for sample in dataset),
        next_step=target.next_step(out),
        has_regions=not good_is_a_class(target),
        skipped=list(skipped),
    )
    with export_staging(out, *dataset.guarded) as stage:
        folder = stage.folder
        placing = Placing(folder, options.images, stage.leftovers)
        train: list[tuple[Item, TrainImage]] = []
        # Closed whatever happens: the workers must have stopped before what they write is put in place, or removed.
        with (
            _journal(stage, run, target, options, plan) as journal,
            closing(_encoded(plan, target, placing, journal, options, summary, progress)) as encoded,
        ):
            balanced = options.balance.method != "none"
            target.write(folder, plan, _remembered(encoded, target, train) if balanced else encoded)
        if not any(split.regions.total() for split in summary.splits.values()):
            raise SelectionError(
                f"no region of {options.regions.min_area} px or more is left", hint="choose a smaller --min-area"
            )
        if options.balance.method != "none":
            summary.balance = _balance(train, target, folder, options.balance, plan.split.seed)
        if skipped:
            save_skipped(skipped, dataset.root, folder)
        save_classes(plan.labels, folder)
        splits.save(plan.split, folder)
        del plan  # the check wants memory for each image, too
        summary.notes = [*dataset.findings, *_self_check(target, folder, out, options.jobs)]
        save_manifest(folder, _facts(target, options, summary.fidelity))
        if run is not None:
            run.look_at(folder)
        publish(stage)
    if run is not None:
        run.save(summary)
    return summary


def _journal(stage: Staging, run: Run | None, target: Format, options: ExportOptions, plan: Plan) -> Journal:
    """What was done so far: where runs are remembered; else beside what is written, where a kill leaves it."""
    key = key_of(target, options.regions, plan.labels)
    if run is None:
        return Journal(stage.room / JOURNAL, key)
    return Journal(run.journal, key, by_content=run.records.by_content, fresh=run.records.fresh)


def _refuse_background(background: Background, target: Format) -> None:
    """A share of good images was asked for, but the format's trainer takes none; `all` is what nobody asks for."""
    if background not in ("all", "none", 0):
        raise SelectionError(
            f"trainers that read {target.name} fail on good images, so --background {background} cannot be kept",
            hint="leave --background away; good images are then left out",
        )


def _encoded(
    plan: Plan,
    target: Format,
    placing: Placing,
    journal: Journal,
    options: ExportOptions,
    summary: Summary,
    progress: Progress | None,
) -> Generator[Encoded, None, None]:
    """Every image of the plan, encoded and with its image file in place; raises at the end if any was bad."""

    def work(item: Item) -> _Done | Finding:
        mark = journal.mark(item)
        try:
            if mark in journal:
                if not journal.is_emptied(mark):
                    place(item, again=True, made=journal.placed(mark))
                return mark, None, None, True
            image = annotate(item.sample, options.regions)
            if not item.sample.is_good and not image.regions:
                return mark, None, None, False
            encoded = target.encode(item, image, plan.labels)
            placed = place(item)
        except MaskError as error:
            return _finding(error, item.sample)
        return mark, content_of_image(encoded), placed, False

    def place(item: Item, *, again: bool = False, made: str | None = None) -> str | None:
        path = target.image_path(item)
        return None if path is None else placing.place(item.sample.files[0], path, again=again, made=made)

    bad: dict[str, Finding] = {}
    with closing(in_order(work, plan.items, options.jobs)) as results:
        for done, (item, result) in enumerate(zip(plan.items, results, strict=True), start=1):
            if isinstance(result, Finding):
                bad[item.sample.key] = result
            else:
                image = _known(item, result, journal, summary)
                if image is None:
                    summary.left_out.append(item.sample.key)
                else:
                    _count(summary, image)
                    yield image
            if progress is not None:
                progress(done, len(plan.items))
    if bad:
        raise BadSourceError(list(bad.values()), list(bad))


def _known(item: Item, done: _Done, journal: Journal, summary: Summary) -> Encoded | None:
    """An image that was done, now or by an earlier run; None where a filter emptied it."""
    mark, content, placed, is_in_journal = done
    if is_in_journal:
        content = journal.read(mark)
        summary.reused += 1
    else:
        journal.add(mark, content, placed)
    return None if content is None else Encoded(item, *content)


def _finding(error: MaskError, sample: Sample) -> Finding:
    return Finding(error.code, error.reason, str(error.path or sample.image), hint=error.hint)


def _remembered(encoded: Iterator[Encoded], target: Format, train: list[tuple[Item, TrainImage]]) -> Iterator[Encoded]:
    """The same images; what balancing needs of those in `train` is added to `train`."""
    for image in encoded:
        item = image.item
        if item.split == "train":
            is_of_class_good = item.sample.is_good and good_is_a_class(target)
            regions = {GOOD: 0} if is_of_class_good else Counter(image.class_names)
            train.append((item, TrainImage(_stem(item, target), regions)))
        yield image


def _stem(item: Item, target: Format) -> str:
    path = target.image_path(item)
    return item.name if path is None else PurePosixPath(path).stem


def _balance(
    train: list[tuple[Item, TrainImage]], target: Format, folder: Path, options: BalanceOptions, seed: int
) -> Balance:
    """Weights for all, and for trainers that take none, the images repeated in a form they read."""
    found = balance([image for _, image in train], options, seed)
    save_balance(found, folder)
    if writes_repeats(target):
        target.repeat(folder, [(item, found.repeats[image.name]) for item, image in train])
    return found


def _count(summary: Summary, encoded: Encoded) -> None:
    split = summary.splits[encoded.item.split]
    split.images += 1
    split.background += encoded.item.sample.is_good
    split.regions.update(encoded.class_names)
    if summary.fidelity is not None:
        summary.fidelity.add(encoded.item.name, encoded.ious)


def _self_check(target: Format, folder: Path, out: Path, jobs: int) -> list[Finding]:
    """What the format's own check says of what was just written. Leaks are the source's: told, not refused."""
    with at_most(jobs):
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


def _facts(target: Format, options: ExportOptions, fidelity: Fidelity | None) -> dict[str, Any]:
    """What made the export, without anything that differs from machine to machine."""
    split = options.plan.split
    plan = {**asdict(options.plan), "split": split.protocol if isinstance(split, splits.Split) else split}
    given = {f"{name}_given": plan.pop(name) is not None for name in ("split_from", "phrases")}
    chosen = {**plan, **given, "regions": asdict(options.regions), "images": options.images}
    return {
        "tool": "mvtec-convert",
        "version": mvtec_convert.__version__,
        "format": target.name,
        "options": {**asdict(target), **chosen},  # type: ignore[call-overload]
        "fidelity": None if fidelity is None else fidelity.document(),
    }
