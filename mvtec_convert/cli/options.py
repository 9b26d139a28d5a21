"""Flags that several commands share, each declared once, and what they mean together."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand

from mvtec_convert.errors import DatasetNotFoundError, SelectionError

if TYPE_CHECKING:
    from mvtec_convert.api import ExportKeywords
    from mvtec_convert.dataset import Dataset

ROOT_VARIABLE = "MVTEC_ROOT"
USUAL_NAMES = (
    "mvtec_anomaly_detection", "mvtec-anomaly-detection", "mvtec_ad", "mvtec-ad", "mvtec", "MVTec", "MVTecAD",
    "MVTec-AD", "MVTec_AD",
)  # fmt: skip
USUAL_PARENTS = (".", "data", "datasets", "..")

DATASET, LABELS, SPLIT, OUTPUT = "Which data", "Regions and classes", "Split and background", "Output"

Flags = TypeVar("Flags")
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class DatasetFlags:
    """Which dataset, and what of it."""

    root: Annotated[
        Path | None,
        typer.Argument(
            metavar="ROOT",
            show_default=False,
            help="Folder of categories, or one category. Without it: $MVTEC_ROOT, else a folder called "
            "mvtec_anomaly_detection, mvtec_ad, ... here, in data or in datasets.",
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
        typer.Option("--jobs", "-j", min=0, help="Threads; 0: one for each core.", rich_help_panel=DATASET),
    ] = 0

    def load(self) -> Dataset:
        """The dataset that these flags select."""
        from mvtec_convert.layouts import load

        return load(self.find_root()).filter(category=self.category or None)

    def find_root(self) -> Path:
        """Where the dataset lies, by the flags, the environment, and the usual folder names, in this order."""
        if self.sample:
            if self.root is not None:
                raise SelectionError("ROOT and --sample exclude each other", hint="leave one of them away")
            return sample_root()
        if self.root is not None:
            return self.root
        if os.environ.get(ROOT_VARIABLE):
            return Path(os.environ[ROOT_VARIABLE])
        candidates = (Path(parent) / name for parent in USUAL_PARENTS for name in USUAL_NAMES)
        found = next((candidate for candidate in candidates if candidate.is_dir()), None)
        if found is None:
            raise DatasetNotFoundError(
                f"no dataset given, ${ROOT_VARIABLE} is not set, and no folder {USUAL_NAMES[0]} is here",
                hint="give its folder: mvtec-convert COMMAND /data/mvtec_anomaly_detection; or try the built-in "
                "sample: --sample; MVTec AD itself is at https://www.mvtec.com/company/research/datasets/mvtec-ad",
            )
        return found


@dataclass(frozen=True)
class ExportFlags(DatasetFlags):
    """What holds for an export in any format."""

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
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", show_default="<dataset or category>-<format>", rich_help_panel=OUTPUT,
            help="Folder to write; an earlier export there is replaced, anything else is left alone.",
        ),
    ] = None  # fmt: skip
    images: Annotated[
        Literal["link", "copy"],
        typer.Option(
            help="link: hard links, which take no space (copies where the file system has none); copy: copies.",
            rich_help_panel=OUTPUT,
        ),
    ] = "link"

    def target(self, dataset: Dataset, suffix: str) -> Path:
        """Where to write: --out, else a folder here, named after what is exported."""
        if self.out is not None:
            return self.out
        stem = dataset.categories[0] if len(dataset.categories) == 1 else dataset.root.resolve().name
        return Path(f"{'sample' if self.sample and len(dataset.categories) > 1 else stem}-{suffix}")

    def keywords(self) -> ExportKeywords:
        """The flags as the functions of `mvtec_convert.api` take them."""
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
            "images": self.images,
            "jobs": self.jobs,
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
        from mvtec_convert.publish import staged

        with staged(folder) as staging:
            write_sample(staging)
    return folder


class RatiosCommand(TyperCommand):
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


def with_flags(flags: type[Flags]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let a command take all of `flags` besides its own options; it gets them as its first argument."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        names = {entry.name for entry in dataclasses.fields(flags)}  # type: ignore[arg-type]

        def wrapper(**values: Any) -> None:
            own = {name: value for name, value in values.items() if name not in names}
            command(flags(**{name: values[name] for name in names}), **own)

        wrapper.__doc__, wrapper.__name__ = command.__doc__, command.__name__
        parameters = [*_parameters(command)[1:], *_parameters(flags)]
        # Typer takes a command's options from its signature.
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapper

    return decorate


def _parameters(declared: Callable[..., Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(declared, include_extras=True)
    return [
        inspect.Parameter(parameter.name, inspect.Parameter.KEYWORD_ONLY, default=parameter.default, annotation=hint)
        for parameter in inspect.signature(declared).parameters.values()
        if (hint := hints.get(parameter.name)) is not None
    ]
