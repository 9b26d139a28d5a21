"""Which images a model learns from, and which it is judged by.

A split is decided by the images' keys and a seed alone: not by the order of files, the machine, the format, or what
else was selected. So every export of the same data with the same seed has the same split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mvtec_convert.dataset import SPLIT_NAMES, Dataset, Sample, SplitName
from mvtec_convert.errors import ExportError, SelectionError
from mvtec_convert.jsonio import load_json, save_json

Protocol = Literal["supervised", "official"]
"""How a split is made."""

Origin = Protocol | Literal["given"]
"""How a split came to be: by a protocol, or given image by image."""

FILE_NAME = "splits.json"
DEFAULT_RATIOS = (0.8, 0.2)


@dataclass(frozen=True, slots=True)
class Split:
    """Where each image goes.

    Attributes:
        protocol: `supervised` shares defective images out; `official` keeps the dataset's own split; `given`: a person
            said where each image goes.
        seed: of the shuffle, and of the draw of background.
        ratios: shares of train, val and, if there are three, test; empty for the others.
        assignments: split of each sample, by its key.
    """

    protocol: Origin
    seed: int
    ratios: tuple[float, ...]
    assignments: Mapping[str, SplitName]

    @property
    def names(self) -> tuple[SplitName, ...]:
        """The splits that occur, in the order train, val, test."""
        present = set(self.assignments.values())
        return tuple(name for name in SPLIT_NAMES if name in present)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Parts(Mapping[SplitName, Dataset]):
    """A dataset by split: `parts["train"]` is a dataset. Every `to_*` takes it as its `split`.

    Attributes:
        dataset: all of it.
        assigned: where each image goes, and how that came to be.
    """

    dataset: Dataset
    assigned: Split

    def __getitem__(self, name: SplitName) -> Dataset:
        if name not in self.assigned.names:
            raise KeyError(name)
        assignments = self.assigned.assignments
        return replace(self.dataset, samples=tuple(s for s in self.dataset if assignments[s.key] == name))

    def __iter__(self) -> Iterator[SplitName]:
        return iter(self.assigned.names)

    def __len__(self) -> int:
        return len(self.assigned.names)

    def __repr__(self) -> str:
        return f"Parts({', '.join(f'{name}: {len(part)} images' for name, part in self.items())})"


def parts(
    dataset: Dataset,
    protocol: Protocol = "supervised",
    ratios: Sequence[float] = DEFAULT_RATIOS,
    seed: int = 0,
    split_from: str | Path | None = None,
) -> Parts:
    """A dataset by split; see `Dataset.split`."""
    return Parts(
        dataset, made(dataset.samples, protocol, ratios, seed, None if split_from is None else Path(split_from))
    )


def made(
    samples: Sequence[Sample], protocol: Protocol, ratios: Sequence[float], seed: int, split_from: Path | None = None
) -> Split:
    """The split that these options ask for.

    Raises:
        SelectionError: ratios that are none, or a saved split that cannot be used.
    """
    if split_from is not None:
        return reuse(samples, load(split_from))
    if protocol == "official":
        return replace(official(samples), seed=seed)
    if protocol == "supervised":
        return supervised(samples, ratios, seed)
    raise SelectionError(f"no split {protocol!r}; there are: {', '.join(get_args(Protocol))}")


def given(parts: Mapping[SplitName, Iterable[Sample]], seed: int = 0) -> Split:
    """The split that datasets by name stand for; that of `Parts` is kept as it is.

    Raises:
        SelectionError: a name that is no split, or an image in two of them.
    """
    if isinstance(parts, Parts):
        return parts.assigned
    assignments: dict[str, SplitName] = {}
    for name, samples in parts.items():
        if name not in SPLIT_NAMES:
            raise SelectionError(f"no split {name!r}; there are: {', '.join(SPLIT_NAMES)}")
        for sample in samples:
            if assignments.setdefault(sample.key, name) != name:
                raise SelectionError(f"{sample.key} is in {assignments[sample.key]} and in {name}")
    return Split("given", seed, (), dict(sorted(assignments.items())))


def official(samples: Iterable[Sample]) -> Split:
    """The dataset's own split."""
    return Split("official", 0, (), {sample.key: sample.split for sample in samples})


def supervised(samples: Iterable[Sample], ratios: Sequence[float] = DEFAULT_RATIOS, seed: int = 0) -> Split:
    """Share the images of each category and defect type (`good` is one) out by `ratios`.

    Each type with as many images as there are splits is in all of them; of fewer images, train gets the first, val
    the second. Good images of the dataset's train and test are one pool.

    Args:
        samples: the images to share out.
        ratios: shares of train, val and, if there are three, test; scaled to a sum of 1.
        seed: another seed, another split.

    Raises:
        SelectionError: not two or three positive ratios.
    """
    if len(ratios) not in (2, 3) or not all(0 < ratio < float("inf") for ratio in ratios):
        raise SelectionError(
            f"ratios are two or three positive numbers, not {' '.join(map(str, ratios)) or 'none'}",
            hint="for example --ratios 0.8 0.2, or --ratios 0.7 0.2 0.1 for a test split as well",
        )
    groups: dict[tuple[str, str], list[str]] = {}
    for sample in samples:
        groups.setdefault((sample.category, sample.defect_type), []).append(sample.key)
    assignments: dict[str, SplitName] = {}
    for keys in groups.values():
        shuffled = iter(shuffle(keys, seed))
        for name, count in zip(SPLIT_NAMES, _shares(len(keys), ratios), strict=False):
            assignments.update((next(shuffled), name) for _ in range(count))
    return Split("supervised", seed, tuple(ratios), dict(sorted(assignments.items())))


def shuffle(keys: Iterable[str], seed: int) -> list[str]:
    """Keys in an order that depends on nothing but each key and the seed."""
    return sorted(keys, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest())


def _shares(count: int, ratios: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to `ratios` that sum to `count`, none 0 while there is enough for all."""
    largest = max(ratios)  # very large ratios must not add up to infinity
    scale = sum(ratio / largest for ratio in ratios)
    exact = [count * (ratio / largest / scale) for ratio in ratios]
    shares = [int(share) for share in exact]
    by_remainder = sorted(range(len(ratios)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: count - sum(shares)]:
        shares[i] += 1
    first = min(count, len(ratios))
    for i in range(first):
        if shares[i] == 0:
            donors = [j for j in range(len(ratios)) if shares[j] > (j < first)]
            shares[max(donors, key=lambda j: shares[j])] -= 1
            shares[i] = 1
    return shares


def save(split: Split, folder: Path) -> None:
    """Write `splits.json`."""
    document = {
        "protocol": split.protocol,
        "seed": split.seed,
        "ratios": split.ratios,
        "assignments": dict(sorted(split.assignments.items())),
    }
    save_json(document, folder / FILE_NAME)


def load(path: Path) -> Split:
    """Read the split of an export, given its folder or the `splits.json` itself.

    Raises:
        SelectionError: there is none, or it is damaged.
    """
    from pydantic import ValidationError

    from mvtec_convert.schemas import problems
    from mvtec_convert.schemas.export import SplitsFile

    file = path / FILE_NAME if path.is_dir() else path
    hint = f"give a folder that this tool exported; it holds {FILE_NAME}"
    try:
        saved = SplitsFile.model_validate(load_json(file))
    except ExportError as error:
        raise SelectionError(f"no split to be read: {error.reason}", path=file, hint=hint) from None
    except ValidationError as error:
        raise SelectionError(f"not a saved split: {problems(error)[0]}", path=file, hint=hint) from None
    return Split(saved.protocol, saved.seed, tuple(saved.ratios), saved.assignments)


def reuse(samples: Iterable[Sample], saved: Split) -> Split:
    """A split that there is already, for these samples only.

    Raises:
        SelectionError: a sample is not in that split.
    """
    keys = [sample.key for sample in samples]
    unknown = [key for key in keys if key not in saved.assignments]
    if unknown:
        raise SelectionError(
            f"the {'given' if saved.protocol == 'given' else 'saved'} split knows nothing of {len(unknown)} of "
            f"{len(keys)} images, the first of them {unknown[0]}",
            hint="export the same categories as it was made of, or leave it (--split-from) away for a new split",
        )
    return Split(saved.protocol, saved.seed, saved.ratios, {key: saved.assignments[key] for key in keys})
