"""Where the images of an export go in MVTec AD's tree: folder, split and name, and what the masks' values stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mvtec_convert.dataset import GOOD
from mvtec_convert.errors import ExportError
from mvtec_convert.labelled import LabelledImage
from mvtec_convert.mask_painting import Stroke, refuse_large, region_of
from mvtec_convert.origins import COMBINED, NO_CATEGORY, FolderNames, Origin, Origins, safe_stem, unused
from mvtec_convert.splits import shuffle

WHITE = 255
DEFAULT_TRAIN_SHARE = 0.8
"""Of the good images of a category that has no train of its own."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image goes.

    Attributes:
        category: folder of the category.
        split: `train` or `test`.
        defect_type: folder of the defect type, or `good`.
        stem: name of the image without suffix; no other image of the folder has it.
    """

    category: str
    split: str
    defect_type: str
    stem: str


@dataclass(frozen=True, slots=True)
class Job:
    """One image to write, with its objects to paint; none for good images."""

    image: LabelledImage
    place: Place
    strokes: tuple[Stroke, ...] = ()


@dataclass(slots=True)
class Places:
    """Decides where images go.

    Attributes:
        origins: what the export says.
        train: share of a category's good images that goes to train; see `TreeOptions`.
        seed: of the draw of these.
        boxes: fill boxes where there is no mask.
        values: by category, the values of the masks in `combined` by defect type, once all jobs were taken.
    """

    origins: Origins
    train: float | None
    seed: int
    boxes: bool
    values: dict[str, dict[str, int]] = field(default_factory=dict)
    _categories: FolderNames = field(default_factory=lambda: FolderNames(NO_CATEGORY, "_parts"))
    _types: dict[str, FolderNames] = field(default_factory=dict)
    _taken: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)

    def jobs(self, images: Iterable[LabelledImage]) -> Iterator[Job]:
        """Defective images as they are read, then the good ones, which are shared out once all of them are known.

        Raises:
            ExportError: an image that is too large, an object without pixels, or more types than a mask has values.
        """
        good: dict[str, list[tuple[LabelledImage, Origin]]] = {}
        for image in images:
            refuse_large(image)
            origin = self.origins.of(image)
            if image.objects:
                yield self._defective(image, origin)
            else:
                good.setdefault(origin.category, []).append((image, origin))
        for of_category in good.values():
            in_train = self._chosen_for_train(of_category)
            for image, origin in of_category:
                split = "train" if image.key in in_train else "test"
                yield Job(image, self._place(image, origin, split, GOOD))

    def renamed(self) -> Mapping[str, str]:
        """Folders by the names of categories and classes that could not keep theirs."""
        changed: dict[str, str] = {}
        for names in (self._categories, *self._types.values()):
            changed |= names.changed
        return changed

    def _defective(self, image: LabelledImage, origin: Origin) -> Job:
        names = [self.origins.defect_type(item.class_name, origin) for item in image.objects]
        defect_type = names[0] if len(set(names)) == 1 else COMBINED
        regions = [region_of(item, image, self.boxes) for item in image.objects]
        place = self._place(image, origin, "test", defect_type)
        return Job(image, place, tuple(map(Stroke, regions, [self._value(place, name) for name in names])))

    def _value(self, place: Place, name: str) -> int:
        """White where the folder says what it is; in `combined` a value for each type, in the order of their coming."""
        if place.defect_type != COMBINED:
            return WHITE
        values = self.values.setdefault(place.category, {})
        value = values.setdefault(self._types[place.category].of(name), WHITE - len(values))
        if value == 0:
            message = f"{place.category} has more than {WHITE} types of defect in images with several"
            raise ExportError(message, hint="one mask cannot hold more: make them fewer classes")
        return value

    def _place(self, image: LabelledImage, origin: Origin, split: str, defect_type: str) -> Place:
        """Under the name that it has in its source, where it still shows what it showed there; else under its own."""
        category = self._categories.of(origin.category)
        folder = self._folder(category, defect_type) if image.objects else GOOD
        taken = self._taken.setdefault((category, split, folder), set())
        stem = safe_stem(origin.stem if defect_type == origin.defect_type else image.name)
        if stem.casefold() in taken:  # images of one name lie in several folders
            stem = unused(safe_stem("_".join(Path(image.key).with_suffix("").parts[-2:])), taken)
        taken.add(stem.casefold())
        return Place(category, split, folder, stem)

    def _folder(self, category: str, defect_type: str) -> str:
        if category not in self._types:
            self._types[category] = FolderNames([GOOD], "_defect")
            self._types[category].of(COMBINED)  # so that no `Combined` takes its folder
        return self._types[category].of(defect_type)

    def _chosen_for_train(self, good: list[tuple[LabelledImage, Origin]]) -> set[str]:
        """Keys of the good images of a category that go to train."""
        share = self.train
        if share is None:
            splits = {image.split for image, _ in good}
            if ("train" in splits and len(splits) > 1) or any(origin.is_train is not None for _, origin in good):
                return {image.key for image, origin in good if _was_in_train(image, origin)}
            share = DEFAULT_TRAIN_SHARE
        count = round(share * len(good))
        if 0 < share < 1 and len(good) > 1:
            count = min(max(count, 1), len(good) - 1)
        return set(shuffle((image.key for image, _ in good), self.seed)[:count])


def _was_in_train(image: LabelledImage, origin: Origin) -> bool:
    """Whether a good image was in train: of its source, where its name tells, else of the export."""
    return image.split == "train" if origin.is_train is None else origin.is_train
