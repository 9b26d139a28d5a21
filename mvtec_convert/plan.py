"""What an export will hold: which images, in which split, under which name and class. Still no pixels."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from mvtec_convert import splits
from mvtec_convert.dataset import Dataset, Sample, SplitName
from mvtec_convert.errors import ExportError, SelectionError
from mvtec_convert.jsonio import load_json, save_json
from mvtec_convert.labels import LabelMap, NameScheme, label_map
from mvtec_convert.phrases import Phrases, load_phrases
from mvtec_convert.schemas import problems

if TYPE_CHECKING:
    from mvtec_convert.geometry.regions import Region

Background = Literal["all", "none"] | float

CLASSES_FILE = "classes.json"


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What goes into an export.

    Attributes:
        names: what a class is: the defect type, the category, both, or one class for all.
        background: good images: `all`, `none`, or how many for each defective image of the same category and split.
        split: `supervised` shares defective images out, `official` keeps the dataset's own split; or a split itself.
        ratios: shares of train, val and, if there are three, test; for `supervised`.
        seed: of every draw.
        split_from: an earlier export, or its `splits.json`, whose split is used again instead.
        phrases: a file of phrases to put over the built-in ones; see `mvtec_convert.phrases`.
    """

    names: NameScheme = "defect"
    background: Background = "all"
    split: splits.Protocol | splits.Split = "supervised"
    ratios: tuple[float, ...] = splits.DEFAULT_RATIOS
    seed: int = 0
    split_from: Path | None = None
    phrases: Path | None = None


@dataclass(frozen=True, slots=True)
class RegionClass:
    """What regions of one defect type of one category are in an export.

    Attributes:
        id: class, 0-based.
        name: what the class is called.
        phrases: what to ask a model for ("hole in carpet"), then synonyms; at least one.
    """

    id: int
    name: str
    phrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One image of an export.

    Attributes:
        id: 1-based, in the order of the plan.
        sample: the image and its masks.
        name: file name without suffix, unique in the export, `<category>_<defect type>_<stem>`.
        split: where it goes.
        classes: what its regions may be, by their defect type; empty for good images.
    """

    id: int
    sample: Sample
    name: str
    split: SplitName
    classes: Mapping[str, RegionClass] = field(default_factory=dict)

    def class_of(self, region: Region) -> RegionClass:
        """What one of its regions is in this export."""
        return self.classes[region.defect_type]

    @property
    def file_name(self) -> str:
        """Name of the exported image file."""
        return self.name + os.path.splitext(self.sample.files[0])[1].lower()  # noqa: PTH122 - a Path takes ten times as long


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole export.

    Attributes:
        items: every image, in the order of the samples' keys.
        labels: the classes.
        split: where each image of the selection goes, background left out included, so that it can be used again.
        phrases: the vocabulary for prompts in words.
    """

    items: tuple[Item, ...]
    labels: LabelMap
    split: splits.Split
    phrases: Phrases

    @property
    def split_names(self) -> tuple[SplitName, ...]:
        """The splits of this export, in the order train, val, test."""
        return self.split.names


def make_plan(dataset: Dataset, options: PlanOptions) -> Plan:
    """Decide everything that can be decided without reading an image.

    Raises:
        SelectionError: nothing to label, a split that cannot be made, or background that makes no sense.
    """
    samples = dataset.samples
    labels = label_map(samples, options.names)
    if not labels.classes:
        raise SelectionError(
            "no defective image is selected, so there is nothing to label",
            path=dataset.root,
            hint="as MVTec AD has them, defective images lie in test/<defect>, their masks in ground_truth/<defect>; "
            "of own data, --masks must fit the images",
        )
    split = _split(samples, options)
    kept = _with_background(samples, split, options)
    phrases = load_phrases(options.phrases)
    known = _region_classes(labels, phrases)

    @cache  # one mapping for all images of a kind
    def classes(category: str, defect_types: tuple[str, ...]) -> dict[str, RegionClass]:
        return {each: known[category, each] for each in defect_types}

    items = tuple(
        Item(i, sample, name, split.assignments[sample.key], classes(sample.category, sample.defect_types))
        for i, (sample, name) in enumerate(zip(kept, _unique_names(kept), strict=True), start=1)
    )
    return Plan(items, labels, split, phrases)


def _region_classes(labels: LabelMap, phrases: Phrases) -> dict[tuple[str, str], RegionClass]:
    """By category and defect type."""
    return {
        member: RegionClass(label.id, label.name, phrases.of(*member))
        for label in labels.classes
        for member in label.members
    }


def _split(samples: Sequence[Sample], options: PlanOptions) -> splits.Split:
    if not isinstance(options.split, splits.Split):
        return splits.made(samples, options.split, options.ratios, options.seed, options.split_from)
    if options.split_from is not None:
        raise SelectionError("the split is given and asked for of an earlier export", hint="leave one of them away")
    return splits.reuse(samples, options.split)


def _with_background(samples: Sequence[Sample], split: splits.Split, options: PlanOptions) -> list[Sample]:
    if options.background == "all":
        return list(samples)
    ratio = 0.0 if options.background == "none" else options.background
    if not isinstance(ratio, (int, float)) or not 0 <= ratio < float("inf"):
        raise SelectionError(f"background is all, none, or a number from 0, not {options.background}")
    places = {sample.key: (sample.category, split.assignments[sample.key]) for sample in samples}
    defective = Counter(places[sample.key] for sample in samples if not sample.is_good)
    room = {place: round(min(ratio * count, len(samples))) for place, count in defective.items()}
    chosen = set()
    for key in splits.shuffle((sample.key for sample in samples if sample.is_good), split.seed):
        if room.get(places[key], 0) > 0:
            room[places[key]] -= 1
            chosen.add(key)
    return [sample for sample in samples if not sample.is_good or sample.key in chosen]


def _unique_names(samples: Sequence[Sample]) -> list[str]:
    """`<category>_<defect type>_<stem>`; MVTec repeats `000.png` in every folder, and `good` in train and test."""
    plain = [file_safe(_base_name(sample)) for sample in samples]
    # Some file systems do not tell A from a.
    seen: Counter[str] = Counter()
    taken = Counter(name.casefold() for name in plain)
    names = []
    for name in plain:
        folded = name.casefold()
        if taken[folded] > 1:
            while True:
                seen[folded] += 1
                numbered = f"{name}-{seen[folded]}"
                if taken[numbered.casefold()] == 0:
                    break
            taken[numbered.casefold()] += 1
            name = numbered
        names.append(name)
    return names


def _base_name(sample: Sample) -> str:
    origin = "train_" if sample.is_good and sample.split == "train" else ""
    return f"{sample.category}_{sample.defect_type}_{origin}{sample.stem}"


def file_safe(name: str) -> str:
    """A name without the characters that Windows forbids in file names."""
    return re.sub(r'[<>:"/\\|?*]', "_", name)


def load_class_names(folder: Path) -> tuple[str, ...] | None:
    """The names in `classes.json`, by class id; None where there is no such file.

    Raises:
        ExportError: the file is damaged.
    """
    from mvtec_convert.schemas.export import ClassesFile  # building its models takes a while

    path = folder / CLASSES_FILE
    if not path.is_file():
        return None
    try:
        classes = ClassesFile.model_validate(load_json(path)).classes
    except ValidationError as error:
        raise ExportError(problems(error)[0], path=path) from None
    return tuple(entry.name for entry in sorted(classes, key=lambda entry: entry.id))


def save_classes(labels: LabelMap, folder: Path) -> None:
    """Write `classes.json`: the label map, the same in every format."""
    document = {
        "names": labels.scheme,
        "classes": [
            {
                "id": label.id,
                "name": label.name,
                "members": [f"{category}/{defect}" for category, defect in label.members],
            }
            for label in labels.classes
        ],
    }
    save_json(document, folder / CLASSES_FILE)
