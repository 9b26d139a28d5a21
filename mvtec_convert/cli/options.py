"""Flags that several commands share, each declared once, and what they mean together."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

import typer

from mvtec_convert.cli import commands
from mvtec_convert.errors import DatasetNotFoundError, SelectionError

if TYPE_CHECKING:
    from mvtec_convert.api import ExportKeywords
    from mvtec_convert.dataset import Dataset
    from mvtec_convert.geometry.regions import RegionOptions

ROOT_VARIABLE = "MVTEC_ROOT"
USUAL_NAMES = (
    "mvtec_anomaly_detection", "mvtec-anomaly-detection", "mvtec_ad", "mvtec-ad", "mvtec", "MVTec", "MVTecAD",
    "MVTec-AD", "MVTec_AD",
)  # fmt: skip
USUAL_PARENTS = (".", "data", "datasets", "..")

DATASET, LABELS, SPLIT, OUTPUT = "Which data", "Regions and classes", "Split and background", "Output"
OWN = "Own data, in any folders"
PLACES = ("link", "copy")

Simplify: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="IOU", min=0.5, max=1, show_default=False,
        help="Polygons of as few points as keep at least this IoU with the mask. Without it they are exact.",
    ),
]  # fmt: skip

ExportFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", show_default=False, rich_help_panel=DATASET,
        help="ROOT is an exported dataset in this format. Without it: recognised.",
    ),
]  # fmt: skip

Command = TypeVar("Command", bound=Callable[..., Any])

_flags_of: dict[Callable[..., Any], type[Any]] = {}
"""The shared flags that a command takes."""


@dataclass(frozen=True)
class DatasetFlags:
    """Which dataset, and what of it."""

    root: Annotated[
        Path | None,
        typer.Argument(
            metavar="ROOT",
            show_default=False,
            help="Folder of categories, or one category, or a TOML file about own data. Without it: $MVTEC_ROOT, else "
            "a folder called mvtec_anomaly_detection, mvtec_ad, ... here, in data or in datasets.",
        ),
    ] = None
    sample: Annotated[
        bool, typer.Option("--sample", help="Use the built-in sample dataset.", rich_help_panel=DATASET)
    ] = False
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category", "-c", metavar="NAME", show_default=False, rich_help_panel=DATASET,
            help="Only this category; repeat it for more. Without it: all.",
        ),
    ] = None  # fmt: skip
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", metavar="N", min=0, help="Threads; 0: one for each core.", rich_help_panel=DATASET
        ),
    ] = 0
    source_layout: Annotated[
        str | None,
        typer.Option(
            "--source-layout",
            "--layout",
            metavar="NAME",
            show_default="recognised",
            rich_help_panel=DATASET,
            help="How the dataset lies on disk; `mvtec-convert layouts` lists the names.",
        ),
    ] = None
    image_files: Annotated[
        list[str] | None,
        typer.Option(
            "--image-files",
            "--images",
            metavar="PATTERN",
            show_default=False,
            rich_help_panel=OWN,
            help="Images, relative to ROOT, else to this folder: 'parts/*.jpg', or a folder. {category}, {defect} and "
            "{split} in it stand for what names of folders say. Repeat it for more.",
        ),
    ] = None
    masks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            show_default=False,
            rich_help_panel=OWN,
            help="Masks of an image: 'masks/{stem}.png', where {stem} is its name without suffix; or a folder.",
        ),
    ] = None
    good_when_no_mask: Annotated[
        bool, typer.Option("--good-when-no-mask", rich_help_panel=OWN, help="Images without a mask have no defect.")
    ] = False
    good_when_black_mask: Annotated[
        bool, typer.Option("--good-when-black-mask", rich_help_panel=OWN, help="Images with a black mask have none.")
    ] = False
    values: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel=OWN,
            help='What pixel values of masks are called: {"1": "scratch", "2": "dent"}, JSON or TOML.',
        ),
    ] = None
    colors: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, rich_help_panel=OWN,
            help='The same for colours of masks: {"#ff0000": "scratch"}.',
        ),
    ] = None  # fmt: skip

    def load(self) -> Dataset:
        """The dataset that these flags select."""
        from mvtec_convert.layouts import load

        if self.image_patterns():
            return self._load_own().filter(category=self.category or None)
        self._refuse_own_flags()
        return load(self.find_root(), layout=self.source_layout).filter(category=self.category or None)

    def image_patterns(self) -> list[str]:
        """Where own images are; empty where these flags describe no own data."""
        return list(self.image_files or ())

    def means_source(self) -> bool:
        """Whether these flags can only be about a source, and about no export."""
        return bool(self.source_layout or self.image_patterns())

    def _load_own(self) -> Dataset:
        from mvtec_convert.layouts.own import OwnData, load_own
        from mvtec_convert.own_data import pixel_names

        if self.sample or self.source_layout not in (None, "own"):
            other = "--sample" if self.sample else "--source-layout"
            raise SelectionError(f"--images describes own data, {other} asks for other", hint="leave one of them away")
        if not self.masks and not self.good_when_no_mask:
            hint = "for example --masks 'masks/{stem}.png'; or --good-when-no-mask where none has a defect"
            raise SelectionError("--images needs --masks", hint=hint)
        own = OwnData(
            images=tuple(self.image_patterns()),
            masks=tuple(self.masks or ()),
            good_when_no_mask=self.good_when_no_mask,
            good_when_black_mask=self.good_when_black_mask,
            pixel_names=pixel_names(self.values, self.colors),
        )
        return load_own(self.find_root(), own)

    def _refuse_own_flags(self) -> None:
        names = ("masks", "good_when_no_mask", "good_when_black_mask", "values", "colors")
        given = ["--" + name.replace("_", "-") for name in names if getattr(self, name)]
        if given:
            hint = "add --images 'parts/*.jpg'; or put all of it into a TOML file, see docs/layouts.md"
            raise SelectionError(f"{' and '.join(given)} says nothing without --images", hint=hint)

    def stem(self, dataset: Dataset) -> str:
        """What files and folders about the dataset are called after: the category if it is one, else the folder."""
        if len(dataset.categories) == 1:
            return dataset.categories[0]
        return "sample" if self.sample else dataset.root.resolve().name

    def find_root(self) -> Path:
        """Where the dataset lies, by the flags, the environment, and the usual folder names, in this order."""
        if self.sample:
            if self.root is not None:
                raise SelectionError("ROOT and --sample exclude each other", hint="leave one of them away")
            return sample_root()
        if self.root is not None:
            return self.root
        if self.image_patterns():
            return Path()
        if os.environ.get(ROOT_VARIABLE):
            return Path(os.environ[ROOT_VARIABLE])
        candidates = (Path(parent) / name for parent in USUAL_PARENTS for name in USUAL_NAMES)
        found = next((candidate for candidate in candidates if candidate.is_dir()), None)
        if found is None:
            raise DatasetNotFoundError(
                f"no dataset given, ${ROOT_VARIABLE} is not set, and no folder {USUAL_NAMES[0]} is here",
                hint="give its folder: mvtec-convert COMMAND /data/mvtec_anomaly_detection; or fetch MVTec AD: "
                "mvtec-convert download; or try the built-in sample: --sample",
            )
        return found


@dataclass(frozen=True)
class RegionFlags(DatasetFlags):
    """Which dataset, and how its masks are cut into regions."""

    regions: Annotated[
        Literal["component", "image"],
        typer.Option(
            help="component: each 8-connected piece of a mask is one region; image: all of a mask is one.",
            rich_help_panel=LABELS,
        ),
    ] = "component"
    merge_distance: Annotated[
        float,
        typer.Option(
            metavar="PX", min=0, help="Pieces at most this far apart are one region (defects drawn in pieces).",
            rich_help_panel=LABELS,
        ),
    ] = 0.0  # fmt: skip
    min_area: Annotated[
        int,
        typer.Option(
            metavar="PX", min=0, rich_help_panel=LABELS,
            help="Leave regions of fewer pixels out; a defective image left without any goes too. 0 drops nothing.",
        ),
    ] = 0  # fmt: skip
    threshold: Annotated[
        int,
        typer.Option(
            metavar="VALUE", min=0, max=254, rich_help_panel=LABELS,
            help="Mask pixels above this are defect, white being 255. 0: any that is not black. `check` tells where "
            "smoothed masks need another, mostly 127.",
        ),
    ] = 0  # fmt: skip

    def region_options(self) -> RegionOptions:
        """The flags as `regions` takes them."""
        from mvtec_convert.geometry.regions import RegionOptions

        return RegionOptions(self.regions, self.merge_distance, self.min_area, self.threshold)

    def load_or_export(self, format: str | None) -> Dataset | Path:
        """The dataset that these flags select; where ROOT is an export, or in this format, its path."""
        root = self.find_root().expanduser()
        if format is None:
            if self.means_source():
                return self.load()
            # Asked first: to know the formats takes as long as to read hundreds of masks.
            if (found := _source_with_masks(root)) is not None:
                return found.filter(category=self.category or None)
            from mvtec_convert.exports import is_export

            if not is_export(root):
                return self.load()
        self._refuse_for_exports()
        return root

    def _refuse_for_exports(self) -> None:
        """Refuse what only makes sense for a source: an export has its regions, and no categories."""
        source_only = ("category", "source_layout", "image_files", "regions", "merge_distance", "min_area", "threshold")
        given = [
            "--" + field.name.replace("_", "-")
            for field in dataclasses.fields(self)
            if field.name in source_only and getattr(self, field.name) not in (field.default, [])
        ]
        if given:
            raise SelectionError(
                f"this is an exported dataset, for which {' and '.join(given)} would do nothing",
                path=self.root,
                hint="leave it away, or give the dataset that was exported",
            )


def _source_with_masks(root: Path) -> Dataset | None:
    """The dataset in `root`, if a layout finds masks there, as in no export; else None, which says nothing."""
    from mvtec_convert.layouts import load
    from mvtec_convert.runs.publish import MANIFEST

    if (root / MANIFEST).is_file():
        return None
    try:
        found = load(root)
    except DatasetNotFoundError:
        return None
    return found if any(sample.masks for sample in found) else None


@dataclass(frozen=True)
class ExportFlags(RegionFlags):
    """What holds for an export in any format."""

    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Leave files out that cannot be used, as if they were not there, and list them in skipped.json. "
            "Without it, they stop the export.",
            rich_help_panel=DATASET,
        ),
    ] = False
    names: Annotated[
        Literal["defect", "category", "category-defect", "single"],
        typer.Option(
            help="What a class is: the defect type (hole), the category (carpet), both (carpet-hole), or one for all.",
            rich_help_panel=LABELS,
        ),
    ] = "defect"
    phrases: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            rich_help_panel=LABELS,
            help="JSON file of your own phrases for prompts in words, by category and defect type.",
        ),
    ] = None
    split: Annotated[
        Literal["supervised", "official"],
        typer.Option(
            help="supervised: defective images are shared out, stratified by category and defect type; official: "
            "MVTec's own, whose train has good images only, so that a detector learns nothing from it.",
            rich_help_panel=SPLIT,
        ),
    ] = "supervised"
    ratios: Annotated[
        list[float] | None,
        typer.Option(
            metavar="TRAIN VAL [TEST]", show_default="0.8 0.2", rich_help_panel=SPLIT,
            help="Shares of the supervised split; a third number adds a test split.",
        ),
    ] = None  # fmt: skip
    seed: Annotated[int, typer.Option(help="Of the split and of every other draw.", rich_help_panel=SPLIT)] = 0
    split_from: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", show_default=False, rich_help_panel=SPLIT,
            help="Use the split of this earlier export, so that several formats share it.",
        ),
    ] = None  # fmt: skip
    background: Annotated[
        str,
        typer.Option(
            metavar="all|none|RATIO", rich_help_panel=SPLIT,
            help="Good images: all keeps every one (a model learns from them what not to flag, and nothing is lost), "
            "none leaves them out, 1 keeps one for each defective image, 0.1 one for ten.",
        ),
    ] = "all"  # fmt: skip
    balance: Annotated[
        Literal["none", "repeat-factor", "oversample"],
        typer.Option(
            help="Make rare classes of train more frequent: repeat-factor, after LVIS, by the square root of how rare; "
            "oversample, until each has as many images as the largest. Weights are in balance.json; what Ultralytics "
            "trains on is repeated.",
            rich_help_panel=SPLIT,
        ),
    ] = "none"
    repeat_threshold: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", show_default="share of the most frequent class", rich_help_panel=SPLIT,
            help="For repeat-factor: the share of train's images from which on a class is frequent enough.",
        ),
    ] = None  # fmt: skip
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", show_default="<dataset or category>-<format>", rich_help_panel=OUTPUT,
            help="Folder to write; an earlier export there is replaced, anything else is left alone.",
        ),
    ] = None  # fmt: skip
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh", rich_help_panel=OUTPUT,
            help="Do all of it again. Without it, a run goes on where one that was cut off had come to, and does "
            "nothing where nothing has changed.",
        ),
    ] = False  # fmt: skip
    hash: Annotated[
        bool,
        typer.Option(
            "--hash", rich_help_panel=OUTPUT,
            help="Tell by their content whether files have changed, not by size and time; reads all of them.",
        ),
    ] = False  # fmt: skip
    place: Annotated[
        Literal["link", "copy"] | None,
        typer.Option(
            help="link: hard links, which take no space (copies where the file system has none); copy: copies. "
            "--images link and --images copy say the same.",
            show_default="link", rich_help_panel=OUTPUT,
        ),
    ] = None  # fmt: skip

    def image_patterns(self) -> list[str]:
        """Where own images are; `--images copy` is about the images of the export."""
        return [pattern for pattern in super().image_patterns() if pattern not in PLACES]

    def placement(self) -> Literal["link", "copy"]:
        """How images get into the export."""
        asked = {self.place, *(given for given in self.image_files or () if given in PLACES)} - {None}
        if len(asked) > 1:
            raise SelectionError("images are linked or copied, not both", hint="leave one of them away")
        return "copy" if "copy" in asked else "link"

    def target(self, dataset: Dataset, suffix: str) -> Path:
        """Where to write: --out, else a folder here, named after what is exported."""
        if self.out is not None:
            return self.out
        return Path(f"{self.stem(dataset)}-{suffix}")

    def keywords(self) -> ExportKeywords:
        """The flags as the functions of `mvtec_convert.api` take them."""
        from mvtec_convert.runs.records import Records

        return {
            "names": self.names,
            "background": _background(self.background),
            "split": self.split,
            "ratios": self.ratios or (0.8, 0.2),
            "seed": self.seed,
            "split_from": self.split_from,
            "phrases": self.phrases,
            "regions": self.regions,
            "merge_distance": self.merge_distance,
            "min_area": self.min_area,
            "threshold": self.threshold,
            "images": self.placement(),
            "jobs": self.jobs,
            "balance": self.balance,
            "repeat_threshold": self.repeat_threshold,
            "skip_bad": self.skip_bad,
            "records": Records(records_folder(), by_content=self.hash, fresh=self.fresh),
        }


def _background(text: str) -> Literal["all", "none"] | float:
    if text == "all":
        return "all"
    if text == "none":
        return "none"
    try:
        return float(text)
    except ValueError:
        raise SelectionError(f"--background is all, none or a number, not {text!r}") from None


def sample_root() -> Path:
    """The built-in sample dataset in the user's cache folder, drawn on first use."""
    from platformdirs import user_cache_path

    from mvtec_convert.sample import SAMPLE_VERSION, write_sample

    folder = user_cache_path("mvtec-convert") / f"sample-{SAMPLE_VERSION}" / "sample"
    if not folder.is_dir():
        from mvtec_convert.runs.publish import staged

        with staged(folder) as staging:
            write_sample(staging)
    return folder


def records_folder() -> Path:
    """Where it is remembered what was exported, in the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("mvtec-convert") / "exports"


class RatiosCommand(commands.Command):
    """A command that takes `--ratios 0.8 0.2`: an option whose number of values is not fixed, which Click lacks."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write `--ratios 0.8 0.2` as `--ratios 0.8 --ratios 0.2`."""
        return super().parse_args(ctx, _repeated(args, "--ratios"))


def _repeated(arguments: list[str], option: str) -> list[str]:
    spread: list[str] = []
    inside = False
    for argument in arguments:
        inside = argument == option or (inside and _is_number(argument))
        if inside and argument != option:
            spread += [option, argument] if spread[-1] != option else [argument]
        else:
            spread.append(argument)
    return spread


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def with_flags(flags: type[Any]) -> Callable[[Command], Command]:
    """Let a command take all of `flags` besides its own options; it gets them as its first argument.

    They are spelled out by `spelled_out`, when the command is wanted: that takes longer than to list all commands.
    """

    def decorate(command: Command) -> Command:
        _flags_of[command] = flags
        return command

    return decorate


def spelled_out(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command as Typer takes it: one parameter for each of its flags, the shared ones among them."""
    flags = _flags_of.get(command)
    if flags is None:
        return command
    names = {entry.name for entry in dataclasses.fields(flags)}

    def wrapper(**values: Any) -> None:
        own = {name: value for name, value in values.items() if name not in names}
        command(flags(**{name: values[name] for name in names}), **own)

    wrapper.__doc__, wrapper.__name__ = command.__doc__, command.__name__
    own_options = {f"--{name.replace('_', '-')}" for name in inspect.signature(command).parameters}
    shared = _parameters(flags)  # type: ignore[arg-type]
    parameters = [*_parameters(command)[1:], *(_without(each, own_options) for each in shared)]
    # Typer takes a command's options from its signature.
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapper


def _without(parameter: inspect.Parameter, taken: set[str]) -> inspect.Parameter:
    """A parameter without those of its spellings that the command uses for something else (`sam --layout`)."""
    declared, option = parameter.annotation.__origin__, parameter.annotation.__metadata__[0]
    spellings = getattr(option, "param_decls", None) or ()
    if taken.isdisjoint(spellings):
        return parameter
    option = copy(option)
    option.param_decls = tuple(spelling for spelling in spellings if spelling not in taken)
    return parameter.replace(annotation=Annotated[declared, option])


@cache
def _parameters(declared: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    # Not get_type_hints: until Python 3.11 that made another type of what is None by default, without its option.
    return tuple(
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(declared, eval_str=True).parameters.values()
    )
