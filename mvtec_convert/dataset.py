"""An inspection dataset as it lies on disk: which images there are, and where their masks are. No pixels."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mvtec_convert.errors import SelectionError
from mvtec_convert.findings import Finding

if TYPE_CHECKING:
    from mvtec_convert.geometry.regions import Region, RegionRule
    from mvtec_convert.splits import Parts, Protocol

GOOD = "good"
"""The defect type of images without a defect, as MVTec names its folder."""

SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")

T = TypeVar("T")


_texts: dict[str, Callable[[object], Any]] = {}
"""What gives the paths of a sample as they are kept."""


def _as_text(cls: type[T]) -> type[T]:
    """Keep the paths of samples as text: a `Path` takes three times the memory, and there are hundreds of thousands."""

    def kept(name: str, keep: Callable[[Any], object], give: Callable[[Any], object]) -> property:
        slot = getattr(cls, name)
        _texts[name] = slot.__get__
        return property(lambda self: give(slot.__get__(self)), lambda self, value: slot.__set__(self, keep(value)))

    image = kept("image", str, Path)
    masks = kept("masks", lambda paths: tuple(map(str, paths)), lambda texts: tuple(map(Path, texts)))
    for name, found in (("image", image), ("masks", masks)):
        setattr(cls, name, found)
    return cls


@dataclass(frozen=True, slots=True)
class PixelNames:
    """How the pixels of a mask name the defect they show. A black pixel is never a defect.

    Attributes:
        by: what names it: the pixel's `value` (its brightest channel, as stored), or its `colour`.
        names: (value, defect type), or (colour as 0xRRGGBB, defect type).
        otherwise: defect type of any other pixel; None: such a pixel is an error.
    """

    by: Literal["value", "colour"]
    names: tuple[tuple[int, str], ...]
    otherwise: str | None = None

    @property
    def defect_types(self) -> tuple[str, ...]:
        """Every defect type that a mask may show, sorted."""
        return tuple(sorted({name for _, name in self.names} | ({self.otherwise} if self.otherwise else set())))


@_as_text
@dataclass(frozen=True, slots=True)
class Sample:
    """One image on disk.

    Attributes:
        category: the object or texture shown (`carpet`).
        defect_type: MVTec's name of the defect (`hole`), or `good`.
        split: the split that the dataset itself puts the image in.
        image: path of the image file.
        masks: paths of its mask files; empty for good images.
        key: POSIX path inside the dataset, beginning with the category (`carpet/test/hole/000.png`).
            Unique, and the same wherever the dataset lies, so splits are saved by it.
        pixel_names: how pixels of the masks name the defect; None: every pixel shows `defect_type`.
    """

    category: str
    defect_type: str
    split: SplitName
    image: Path
    masks: tuple[Path, ...]
    key: str
    pixel_names: PixelNames | None = None

    @property
    def is_good(self) -> bool:
        """True where nothing is wrong with the part shown."""
        return self.defect_type == GOOD

    @property
    def defect_types(self) -> tuple[str, ...]:
        """What its regions may be, sorted: the one defect type, or those that the pixels can name; none for good."""
        if self.is_good:
            return ()
        return (self.defect_type,) if self.pixel_names is None else self.pixel_names.defect_types

    @property
    def stem(self) -> str:
        """File name of the image without its suffix."""
        return posixpath.splitext(posixpath.basename(self.key))[0]

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the image and of its masks as text: where each is asked about, making a `Path` takes longest."""
        image: str = _texts["image"](self)
        masks: tuple[str, ...] = _texts["masks"](self)
        return image, *masks

    def size(self) -> tuple[int, int]:
        """(width, height) of the image, px, from the file's header.

        Raises:
            MaskError: the image cannot be read.
        """
        from mvtec_convert.geometry.images import image_size

        return image_size(self.image)

    def regions(
        self, rule: RegionRule = "component", *, merge_distance: float = 0.0, min_area: int = 0, threshold: int = 0
    ) -> tuple[Region, ...]:
        """Its defects, cut out of the masks: exact, and sorted by top edge, then left edge. None for a good image.

        Args:
            rule: `component`: each 8-connected piece is a region; `image`: all of the masks is one.
            merge_distance: pieces at most this far apart, px, are one region.
            min_area: leave out regions of fewer pixels.
            threshold: mask pixels above it are defect, 255 being white; for masks with smoothed edges.

        Raises:
            MaskError: image or mask cannot be read, differ in size, or the mask of a defective image is empty.

        >>> dataset = mc.load("mvtec_anomaly_detection").filter(category="carpet", defect_type="hole")
        >>> region, *others = dataset.samples[0].regions()
        >>> region.bbox, region.area
        ((82, 240, 58, 61), 1384)
        """
        from mvtec_convert.geometry.regions import RegionOptions, annotate

        return annotate(self, RegionOptions(rule, merge_distance, min_area, threshold)).regions

    def _repr_html_(self) -> str:
        from mvtec_convert.notebook import sample_html

        return sample_html(self)


@dataclass(frozen=True, slots=True, repr=False)
class Dataset:
    """The samples of one dataset, in the order of their keys.

    Attributes:
        root: the folder it was read from.
        layout: name of the layout it is in.
        samples: every image, sorted by key.
        findings_by_category: what does not fit the layout (a defective image without a mask, a mask without an image).
        folders: the folders of its files, where it has no folder to itself; empty: all of `root` is the dataset.
    """

    root: Path
    layout: str
    samples: tuple[Sample, ...]
    findings_by_category: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    folders: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    def __repr__(self) -> str:
        defective = sum(not sample.is_good for sample in self.samples)
        counted = len(self.categories)
        return (
            f"Dataset({str(self.root)!r}, {counted} categor{'y' if counted == 1 else 'ies'}, "
            f"{len(self) - defective} good and {defective} defective images)"
        )

    def _repr_html_(self) -> str:
        from mvtec_convert.notebook import dataset_html

        return dataset_html(self)

    @property
    def guarded(self) -> tuple[Path, ...]:
        """The folders that nothing may be written into: at least one."""
        return self.folders or (self.root,)

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the categories, sorted."""
        return tuple(sorted({sample.category for sample in self.samples} | self.findings_by_category.keys()))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What does not fit the layout, in all categories; warnings too."""
        return tuple(
            finding for category in sorted(self.findings_by_category) for finding in self.findings_by_category[category]
        )

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those findings with which nothing can be converted."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    @property
    def defect_types(self) -> tuple[str, ...]:
        """Names of the defect types over all categories, sorted, without `good`."""
        return tuple(sorted({sample.defect_type for sample in self.samples if not sample.is_good}))

    def split(
        self,
        protocol: Protocol = "supervised",
        *,
        ratios: Sequence[float] = (0.8, 0.2),
        seed: int = 0,
        split_from: str | Path | None = None,
    ) -> Parts:
        """The same images by split, for your own code, and for every `to_*` as its `split`.

        Args:
            protocol: `supervised` shares the images of each category and defect type out by `ratios`; `official` keeps
                the dataset's own split, in which train mostly has good images only.
            ratios: shares of train, val and, if there are three, test; for `supervised`.
            seed: another seed, another split.
            split_from: an earlier export, or its `splits.json`, whose split is used again instead.

        Raises:
            SelectionError: ratios that are none, or a saved split that cannot be read or does not know every image.

        >>> parts = mc.load("mvtec_anomaly_detection").split(ratios=(0.7, 0.2, 0.1), seed=1)
        >>> {name: len(part) for name, part in parts.items()}
        {'train': 65, 'val': 24, 'test': 13}
        """
        from mvtec_convert import splits

        return splits.parts(self, protocol, ratios, seed, split_from)

    def as_whole_images(self) -> Dataset:
        """The same images, their masks read as showing the image's own defect type, whatever pixels name."""
        return replace(self, samples=tuple(replace(sample, pixel_names=None) for sample in self.samples))

    def filter(
        self,
        *,
        category: str | Iterable[str] | None = None,
        defect_type: str | Iterable[str] | None = None,
        split: str | Iterable[str] | None = None,
    ) -> Dataset:
        """The part of the dataset with the given categories, defect types (`good` included) and splits.

        Where pixels name the defects, an image's defect type is what its folder says, not what its regions are called.

        Raises:
            SelectionError: a name is not in the dataset; the message says which there are, and the nearest.

        >>> mc.load("mvtec_anomaly_detection").filter(category="carpet", defect_type=["hole", "cut"])
        Dataset('mvtec_anomaly_detection', 1 category, 0 good and 12 defective images)
        """
        categories = _chosen("category", category, self.categories)
        types = _chosen("defect type", defect_type, (GOOD, *self.defect_types))
        splits = _chosen("split", split, SPLIT_NAMES)
        kept = tuple(
            s for s in self.samples if s.category in categories and s.defect_type in types and s.split in splits
        )
        # What is wrong with other categories must not stop these.
        findings = {name: found for name, found in self.findings_by_category.items() if name in categories}
        return replace(self, samples=kept, findings_by_category=findings)


def _chosen(what: str, wanted: str | Iterable[str] | None, present: tuple[str, ...]) -> set[str]:
    if wanted is None:
        return set(present)
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1, cutoff=0.5)
            raise SelectionError(
                f"no {what} {name!r} in this dataset; it has: {', '.join(present) or 'none'}",
                hint=f"did you mean {near[0]!r}?" if near else None,
            )
    return set(names)
