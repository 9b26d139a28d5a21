"""Own data: images and masks in any two folders, described in `mvtec-convert.toml` or by flags.

    images = "parts/*.jpg"                              patterns are relative to the file's folder
    masks = "masks/{stem}.png"
    good_when_no_mask = true

There is no licence and nothing to cite: the data is yours. `OwnData` lists what can be said, docs/layouts.md how.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mvtec_convert.dataset import GOOD, Dataset, PixelNames, Sample, SplitName
from mvtec_convert.errors import DatasetNotFoundError, SelectionError, is_name, is_text
from mvtec_convert.findings import Finding
from mvtec_convert.source_tree import IMAGE_SUFFIXES, MASK_ENDING, Report, of_category, real_name, well_named

TITLE = "Own data: images and masks in any folders"
KNOWN_BY = "mvtec-convert.toml"
LICENCE = "your own"

NAME = "own"
DESCRIPTION = "mvtec-convert.toml"
EXPORT = "mvtec-convert.json"
"""What every export holds: its images are not the data's own."""

SPLITS: Mapping[str, SplitName] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
PLACEHOLDERS = ("category", "defect", "split", "stem")
DEFECT = "defect"
IN_IMAGES = PLACEHOLDERS[:-1]
MOST_PATTERNS, MOST_PARTS, MOST_DEEP, MOST_WILD = 100, 50, 2, 4
"""Of a description, names in a pattern, `**` among them, and wildcards and placeholders in a name: matching takes time
that grows with the powers of these."""


@dataclass(frozen=True, slots=True)
class OwnData:
    """Where images and masks are, and what the masks say.

    Attributes:
        images: patterns of image files, relative to the dataset's folder, with `*`, `?` and `**`; or folders. Where
            names of folders or files say it, `{category}`, `{defect}` (`good` for none) and `{split}` stand for them.
        masks: patterns of the masks of one image: `{stem}` is the image's name without suffix, the others are what
            they were in `images`; every file that fits is a mask. In a folder: `{stem}_mask.*`, else `{stem}.*`.
        category: what is shown; None: the name of the dataset's folder.
        defect: what is wrong with it where nothing says more.
        good_when_no_mask: an image without a mask has no defect; otherwise that is an error.
        good_when_black_mask: an image whose masks are all black has no defect; otherwise that is an error.
        pixel_names: what pixel values or colours mean.
    """

    images: tuple[str, ...]
    masks: tuple[str, ...]
    category: str | None = None
    defect: str = DEFECT
    good_when_no_mask: bool = False
    good_when_black_mask: bool = False
    pixel_names: PixelNames | None = None

    def __post_init__(self) -> None:
        """Refuse patterns that cannot be followed."""
        for patterns, allowed in ((self.images, IN_IMAGES), (self.masks, PLACEHOLDERS)):
            for name in re.findall(r"\{(.*?)\}", " ".join(patterns)):
                if name not in allowed:
                    known = ", ".join(f"{{{each}}}" for each in allowed)
                    raise SelectionError(f"{{{name}}} means nothing here", hint=f"there are: {known}")
            if len(patterns) > MOST_PATTERNS:
                raise SelectionError(f"{len(patterns)} patterns, of {MOST_PATTERNS} at most")
            for pattern in patterns:
                _refuse_unsound(pattern)
        for name in (self.category, self.defect):
            if name is not None and not is_name(name):
                raise SelectionError(f"{name!r} cannot name a category or a defect", hint="use letters, and no / or \\")
        if not self.images:
            raise SelectionError("no pattern says where the images are", hint='for example images = "parts/*.jpg"')


def _refuse_unsound(pattern: str) -> None:
    """Raise SelectionError for a pattern that nothing can fit, or that would take too long to match."""
    parts = pattern.split("/")
    most = max(len(re.findall(r"\*|\{", part)) for part in parts if part != "**") if set(parts) != {"**"} else 0
    if len(parts) > MOST_PARTS or parts.count("**") > MOST_DEEP or most > MOST_WILD:
        limits = f"{MOST_PARTS} names, {MOST_DEEP} **, and {MOST_WILD} * and placeholders in a name"
        raise SelectionError(f"the pattern {pattern[:80]!r} is too long to match: it may have {limits}")
    try:
        re.compile(_regex(pattern))
    except (re.error, OverflowError):
        raise SelectionError(f"{pattern!r} is no pattern", hint="mend what stands in [ ]") from None
    if not is_text(pattern):
        raise SelectionError(f"no file name can fit {pattern!r}", hint="write it without control characters")


def matches(root: Path) -> bool:
    """Whether `root` holds a description."""
    return (root / DESCRIPTION).is_file()


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image that the description of `root` names.

    Reports `missing-mask`, `orphan-mask` (a warning: `images` may name a part of them), `ambiguous-image` and
    `bad-name`.

    Raises:
        SelectionError: the description cannot be read, or no file fits what it says of masks.
    """
    from mvtec_convert.own_data import read_description

    yield from scan_described(root, read_description(root / DESCRIPTION), report)


def load_own(root: str | Path, description: OwnData) -> Dataset:
    """Read own data as described, in place of what a file in `root` says.

    Raises:
        DatasetNotFoundError: no such folder, or no image in it fits a pattern.
    """
    root = Path(root).expanduser()
    if root.is_file():
        hint = "where a shell fills patterns in, write them in quotes: --images 'parts/*.jpg'"
        raise DatasetNotFoundError("a file, where the dataset's folder should be", path=root, hint=hint)
    if not root.is_dir():
        raise DatasetNotFoundError("no such folder", path=root, hint="patterns are relative to the dataset's folder")
    findings: dict[str, list[Finding]] = {}
    samples = list(
        scan_described(root, description, lambda name, finding: findings.setdefault(name, []).append(finding))
    )
    return described_dataset(root, samples, findings)


def described_dataset(root: Path, samples: list[Sample], findings: Mapping[str, list[Finding]]) -> Dataset:
    """A dataset of own data, which fills no folder of its own: results may be written beside its images.

    Raises:
        DatasetNotFoundError: there is nothing in it.
    """
    if not samples and all(each.severity == "warning" for listed in findings.values() for each in listed):
        raise DatasetNotFoundError(
            "no image fits the pattern", path=root, hint="patterns are relative to this folder; quote them in a shell"
        )
    files = [path for sample in samples for path in (sample.image, *sample.masks)]
    found = {name: tuple(listed) for name, listed in findings.items()}
    ordered = tuple(sorted(samples, key=lambda sample: sample.key))
    return Dataset(root, NAME, ordered, found, tuple(sorted({path.parent for path in files})))


def scan_described(root: Path, own: OwnData, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image of `root` that fits, good or with its masks; see `scan` for what is reported."""
    found = _without_exports(root, {image: said for pattern in own.images for image, said in _find(root, pattern)})
    if found and own.masks and not _all_masks(root, own.masks):
        hint = "patterns are relative to the dataset's folder; where no image has a defect, leave the masks away"
        raise SelectionError(f"no file fits {' or '.join(own.masks)}, where the masks should be", path=root, hint=hint)
    masks_of = {image: _masks(root, own.masks, image, said) for image, said in found.items()}
    owners: dict[Path, list[Path]] = {}
    for image, masks in masks_of.items():
        for mask in masks:
            owners.setdefault(mask, []).append(image)
    # Where masks lie beside the images, a pattern of images finds them too.
    images = [image for image in sorted(found) if image not in owners]
    name = own.category or real_name(root)
    for image in well_named(images, of_category(report, name)):
        said = found[image]
        reporting = of_category(report, said.get("category", name))
        rivals = sorted({rival for mask in masks_of[image] for rival in owners[mask]} - {image})
        if rivals:
            message = f"{image.name} and {rivals[0].name} claim one mask"
            reporting(Finding("ambiguous-image", message, str(image), hint="keep one of them"))
            continue
        sample = _sample(root, own, image, said, masks_of[image], reporting)
        if sample is not None:
            yield sample
    for mask in sorted(_all_masks(root, own.masks) - owners.keys() - set(images)):
        finding = Finding("orphan-mask", "mask without an image", str(mask), severity="warning", hint="add the image")
        report(name, finding)


def _without_exports(root: Path, found: dict[Path, dict[str, str]]) -> dict[Path, dict[str, str]]:
    """Without the images of exports, which may lie beside the data, where a pattern like `**/*.jpg` finds them too."""
    parents = {image.parent for image in found}
    above = {
        parent: [folder for folder in (parent, *parent.parents) if folder.is_relative_to(root)] for parent in parents
    }
    exported = {parent for parent in parents if any((folder / EXPORT).is_file() for folder in above[parent])}
    return {image: said for image, said in found.items() if image.parent not in exported} if exported else found


def _sample(
    root: Path, own: OwnData, image: Path, said: Mapping[str, str], masks: tuple[Path, ...], report: Report
) -> Sample | None:
    category = said.get("category") or own.category or real_name(root)
    split = SPLITS.get(said.get("split", "train").lower(), "train")
    key = f"{category}/{_relative(image, root)}"
    if said.get("defect", "").lower() == GOOD or _is_good(own, masks):
        return Sample(category, GOOD, split, image, (), key)
    if not masks:
        hint = "add its mask; or, if nothing is wrong with such images, say --good-when-no-mask"
        report(Finding("missing-mask", "no mask fits this image", str(image), hint=hint))
        return None
    return Sample(category, said.get("defect", own.defect), split, image, masks, key, own.pixel_names)


def _is_good(own: OwnData, masks: tuple[Path, ...]) -> bool:
    if not masks:
        return own.good_when_no_mask
    if not own.good_when_black_mask:
        return False
    from mvtec_convert.geometry.images import is_black

    return all(map(is_black, masks))


def _relative(path: Path, root: Path) -> str:
    """Where a file lies below the dataset's folder, POSIX; outside of it, from the file system's root."""
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.resolve().as_posix().lstrip("/")


def _find(root: Path, pattern: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """(file, what its path says of it) of each image that fits a pattern."""
    if (root / pattern).is_dir():
        pattern = f"{pattern.rstrip('/')}/*"
    matching = re.compile(_regex(pattern), re.IGNORECASE)
    for name in _glob(root, re.sub(r"\{\w+\}", "*", pattern)):
        match = matching.fullmatch(name)
        if match is not None:
            yield root / name, match.groupdict()


def _masks(root: Path, patterns: tuple[str, ...], image: Path, said: Mapping[str, str]) -> tuple[Path, ...]:
    """The masks of one image, sorted."""
    values = {name: glob.escape(text) for name, text in {**said, "stem": image.stem}.items()}
    found: set[Path] = set()
    for pattern in patterns:
        for choice in _choices(root, pattern):
            filled = re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "*"), choice)
            here = {root / name for name in _glob(root, filled)} - {image}
            found |= here
            if here:
                break
    return tuple(sorted(found))


def _all_masks(root: Path, patterns: tuple[str, ...]) -> set[Path]:
    """Every file that could be the mask of an image."""
    choices = [choice for pattern in patterns for choice in _choices(root, pattern)]
    return {root / name for choice in choices for name in _glob(root, re.sub(r"\{\w+\}", "*", choice))}


def _choices(root: Path, pattern: str) -> tuple[str, ...]:
    """A pattern itself; for a folder, how its masks may be called, the surer way first."""
    if "{stem}" in pattern or not (root / pattern).is_dir():
        return (pattern,)
    folder = pattern.rstrip("/")
    return f"{folder}/{{stem}}{MASK_ENDING}.*", f"{folder}/{{stem}}.*"


def _glob(root: Path, pattern: str) -> Iterator[str]:
    """Image files that fit, POSIX, relative to `root` where the pattern is; `*.jpg` finds `A.JPG` as well."""
    suffix = PurePosixPath(pattern).suffix
    any_case = re.sub(r"[a-zA-Z]", lambda match: f"[{match[0].lower()}{match[0].upper()}]", suffix)
    if "[" not in suffix:
        pattern = pattern.removesuffix(suffix) + any_case
    for name in _fitting(root, pattern):
        path = Path(name)
        if path.suffix.lower() in IMAGE_SUFFIXES and (root / path).is_file():
            yield path.as_posix()


def _fitting(root: Path, pattern: str) -> Iterator[str]:
    """Names that fit, relative to `root` where the pattern is; no hidden ones."""
    parts = pattern.split("/")
    if "**" not in parts:
        # Path.glob takes no absolute pattern, and finds hidden files.
        yield from glob.iglob(pattern, root_dir=root)  # noqa: PTH207
        return
    at = parts.index("**")
    above = "/".join(parts[:at]) or ("/" if pattern.startswith("/") else "")
    for folder in glob.iglob(above, root_dir=root) if above else [""]:  # noqa: PTH207
        yield from (str(Path(folder, path)) for path in _below(root / folder) if _fits(path.parts, parts[at:]))


def _below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, relative to it: each folder once, however many links lead to it, round in circles."""
    seen: set[str] = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from (Path(place, name).relative_to(folder) for name in sorted(names) if not name.startswith("."))


def _fits(names: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether each name fits its pattern; `**` stands for any number of names, none too."""
    if not wanted:
        return not names
    if wanted[0] == "**":
        return any(_fits(names[i:], wanted[1:]) for i in range(len(names) + 1))
    return bool(names) and fnmatch.fnmatchcase(names[0], wanted[0]) and _fits(names[1:], wanted[1:])


def _regex(pattern: str) -> str:
    """What a pattern matches, with a group for each placeholder; one that comes again must match the same."""
    parts = re.split(r"(\{\w+\}|\*\*/|\*|\?|\[.*?\])", pattern.removeprefix("./"))
    seen: set[str] = set()
    regex = ""
    for part in parts:
        if part.startswith("{"):
            name = part[1:-1]
            regex += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
            seen.add(name)
        else:
            simple = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
            regex += simple.get(part) or (_range(part) if part.startswith("[") else re.escape(part))
    return regex


def _range(part: str) -> str:
    """What `[a-f]` matches, or `[!a-f]`; `[]` is no range."""
    inner = part[1:-1]
    signs = re.escape(inner.removeprefix("!")).replace(r"\-", "-")
    if not signs:
        return re.escape(part)
    return f"[^/{signs}]" if inner.startswith("!") else f"[{signs}]"
